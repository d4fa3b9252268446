"""The process in which Apprise runs: one check of a URL, or one message, and then it ends.

A URL of Apprise's may lead anywhere, also to files, by itself or by a redirect. Here every
connection is judged by the address that it goes to, at the moment when it is made; files are not
opened but for Python's own; nothing that Apprise logs gets out but into the answer; and whatever
a receiver does, whoever started this can end it.
"""

from __future__ import annotations

import io
import ipaddress
import json
import logging
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any, Final

import apprise

from incidents.addresses import is_permitted

# Those of Apprise's services that call any address, or this machine itself.
REFUSED_SCHEMAS: Final = frozenset(
    {
        *("json", "jsons", "xml", "xmls", "form", "forms", "apprise", "apprises"),
        *("dbus", "kde", "qt", "glib", "gnome", "macosx", "windows", "syslog", "rsyslog", "blink1"),
    }
)
READABLE: Final = (sys.prefix, sys.base_prefix, "/usr/lib", "/usr/share", "/etc/mime.types")
CONNECTIONS: Final = {"socket.connect", "socket.sendto", "socket.sendmsg"}
PROCESSES: Final = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}


class Refused(OSError):
    """What Apprise's services take for a network that does not let them."""


class Guard:
    """An audit hook, https://peps.python.org/pep-0578/; `refused` is the last address."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = list(allowed)
        self.refused = ""
        self.readable = tuple(os.path.realpath(path) for path in READABLE)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CONNECTIONS:
            self._judge(arguments[1])
        elif event == "open" and not self._may_open(arguments[0], arguments[2]):
            raise Refused("no files")
        elif event in PROCESSES:
            raise Refused("no processes")

    def _judge(self, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else address
        if host is None:  # a message on a socket that is connected
            return
        try:
            good = is_permitted(ipaddress.ip_address(host), self.allowed)
        except ValueError:  # a name, or a socket in the file system
            good = False
        if not good:
            self.refused = str(host)
            raise Refused("no public address")

    def _may_open(self, path: Any, flags: Any) -> bool:
        if isinstance(path, int):
            return True
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
            return False
        real = os.path.realpath(os.fsdecode(path))
        return any(real == place or real.startswith(f"{place}/") for place in self.readable)


def service(url: str) -> Any:
    """Apprise's for this URL, or None where it is not known. Raises ValueError if not offered."""
    asset = apprise.AppriseAsset(storage_mode=apprise.PersistentStoreMode.MEMORY)
    found = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if found is not None and schemas(found) & REFUSED_SCHEMAS:
        raise ValueError("This service is not offered. For JSON, use a webhook.")
    return found


def schemas(found: Any) -> set[str]:
    names = (found.protocol, found.secure_protocol)
    return {n for name in names for n in ([name] if isinstance(name, str) else name or ())}


def answer(order: dict[str, Any], guard: Guard, said: io.StringIO) -> dict[str, Any]:
    try:
        found = service(order["url"])
    except ValueError as error:
        return {"known": False, "error": str(error)}
    if found is None:
        return {"known": False, "error": "Apprise does not know such a URL."}
    if order["body"] is None:
        return {"known": True}
    sender = apprise.Apprise()
    sender.add(found)
    text = apprise.NotifyFormat.TEXT
    accepted = sender.notify(title=order["title"], body=order["body"], body_format=text)
    words = " ".join(said.getvalue().split())
    return {"known": True, "accepted": bool(accepted), "said": words, "refused": guard.refused}


def main() -> None:
    """Reads what to do, and writes what came of it, as JSON."""
    # Who stops the worker lets it end what it has begun.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    order = json.load(sys.stdin)
    signal.alarm(order["seconds"])  # also if whoever started it is gone
    said = io.StringIO()
    logging.basicConfig(stream=said, level=logging.WARNING, format="%(message)s")
    guard = Guard(order["allowed"])
    sys.addaudithook(guard)
    print(json.dumps(answer(order, guard, said)))  # noqa: T201


if __name__ == "__main__":
    main()
