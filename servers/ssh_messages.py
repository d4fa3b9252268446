"""How a check ended, in an operator's words. They never hold a secret."""

import errno
import re
import socket

import asyncssh

from servers.ssh_attempt import Attempt, Step, Target

UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
QUOTED_CHARACTERS = 300

HINTS = {
    Step.CONNECT: ": the port never answered",
    Step.BANNER: ": the port is open, but silent",
}


class CheckError(Exception):
    """A failure that already carries its message for the operator."""


def describe(attempt: Attempt, latency: float) -> str:
    """What a check did that went all the way; `latency` is in milliseconds."""
    target = attempt.target
    text = f"Logged in as {target.username} with {target.method} and ran `true`"
    if not target.host_key:
        text += f"; accepted the new host key {_label(attempt.presented)}"
    return f"{text} ({latency:.0f} ms)."


def explain(attempt: Attempt, error: Exception, timeout: float) -> str:
    """Which step failed and why."""
    target, step = attempt.target, attempt.reached()
    place, doing = target.place, step.value.format(target)
    match error:
        case CheckError():
            return str(error)
        case _ if attempt.key_refused:
            return _explain_host_key(attempt)
        case _ if step is Step.BANNER and attempt.heard:
            heard = quote(target, attempt.heard.decode(errors="replace"))
            return f"{place} did not answer as an SSH server, but with {heard}."
        case TimeoutError():
            return f"Timed out after {timeout:g} s while {doing}{HINTS.get(step, '')}."
        case OSError() | ValueError() if step is Step.RESOLVE:
            reason = error.strerror if isinstance(error, socket.gaierror) else error
            return f"The name {target.host} could not be resolved: {reason}."
        case OSError() if step is Step.CONNECT:
            return _explain_connect(place, error)
        case asyncssh.ConnectionLost() | OSError() if step is Step.BANNER:
            return f"{place} closed the connection before its SSH banner."
        case asyncssh.KeyExchangeFailed():
            # What we sent is a screenful; what the server has is what to look at.
            reason = re.sub(r", sent \S* and received ", "; the server offers ", error.reason)
            return f"The key exchange with {place} failed: {quote(target, reason)}."
        case asyncssh.PermissionDenied() if step is Step.LOGIN:
            return f"{place} refused the login of {target.username} with {target.method}."
        case asyncssh.ConnectionLost() | OSError():
            return f"The connection was lost while {doing}."
        case asyncssh.Error():
            return f"The server refused while {doing}: {quote(target, error.reason)}."
    return f"Failed while {doing}: {type(error).__name__}."


def quotable(target: Target) -> int:
    """How many characters show what is quoted, and any secret that begins in it."""
    return QUOTED_CHARACTERS + max(len(target.password), len(target.passphrase))


def quote(target: Target, text: str) -> str:
    """The server's words, fit for one line; a server may echo what was sent to it.

    Give it `quotable(target)` characters, if there are so many: a secret is known by all of it.
    """
    if any(secret in text for secret in (target.password, target.passphrase) if secret):
        return "(withheld: it holds a secret)"
    words = " ".join(text[:QUOTED_CHARACTERS].split())
    return "“" + "".join(letter if letter.isprintable() else "?" for letter in words) + "”"


def _explain_connect(place: str, error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"Connection refused by {place}: nothing listens there."
    if error.errno in UNREACHABLE:
        return f"No route to {place}: {error.strerror}."
    return f"Could not connect to {place}: {error.strerror or error}."


def _explain_host_key(attempt: Attempt) -> str:
    target, presented = attempt.target, _label(attempt.presented)
    if attempt.accepted is None:
        found = f"No host key of {target.place} has been accepted yet; it presented {presented}."
    else:
        accepted = _label(target.host_key)
        found = (
            f"The host key of {target.place} has changed: "
            f"accepted {accepted}, presented {presented}."
        )
    return f"{found} No login was tried."


def _label(host_key: str) -> str:
    key = asyncssh.import_public_key(host_key)
    return f"{key.get_algorithm()} {key.get_fingerprint()}"
