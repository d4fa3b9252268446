"""What the remote shell is told, over its standard input: nothing of it is in a process list.

POSIX sh only: it runs on dash, busybox and bash alike. Pure: no SSH, nothing of ours.

The shell answers in lines that begin with a random token. `printf` puts them together, so that a
command which only repeats its input, as a forced command may, gives no answer.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

COMMAND: Final = "exec sh -s"  # for any login shell
GRACE: Final = 5  # seconds between SIGTERM and SIGKILL
MARK: Final = "OPSPORTAL_MARK"  # in the environment of all that a script begins

SHELL: Final = b"shell"
BEGUN: Final = b"begun"
UNWRITABLE: Final = b"unwritable"
LEFT: Final = b"left"


@dataclass(frozen=True, slots=True)
class Program:
    """A script, what runs it, and the variables that it finds in its environment.

    `mark` is a text by which its processes can be told from all others of the machine.
    """

    interpreter: str
    script: str
    variables: Mapping[str, str] = field(repr=False)
    mark: str


def greeting(token: str) -> bytes:
    """Asks whether a shell reads this; it answers `token:shell`. No secret is told before."""
    return f"printf '%s:%s\\n' {token} shell\n".encode()


def text(program: Program, token: str) -> bytes:
    """Runs the program; the shell ends as the interpreter does.

    On standard output it answers `token:begun:PID:group` before the script begins, where PID is its
    process group, or `token:begun:PID:process` where it has none of its own; on standard error
    `token:begun`. Where the script cannot be written down, it answers `token:unwritable`.
    """
    return "\n".join(_lines(program, token)).encode()


def _lines(program: Program, token: str) -> Iterator[str]:
    script = program.script.removesuffix("\n")
    yield "opsportal_umask=$(umask); umask 077"
    yield "trap 'rm -rf \"$opsportal\"' EXIT"
    yield "trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM"
    yield 'opsportal=$(mktemp -d "${TMPDIR:-/tmp}/opsportal.XXXXXXXXXX") &&'
    # A quoted delimiter: the shell takes the script letter for letter.
    yield f"cat >\"$opsportal/script\" <<'{token}'"
    yield f"{script}\n{token}"
    yield f"[ $? -eq 0 ] || {{ printf '%s:%s\\n' {token} unwritable; exit 1; }}"
    yield 'umask "$opsportal_umask"; unset opsportal_umask'  # the account's own, for the script
    for name, value in program.variables.items():
        yield f"{name}={shlex.quote(value)}; export {name}"
    # What a shell says of a child that was killed is not the script's output.
    yield "exec 3>&1 4>&2 >/dev/null 2>&1"
    yield "if command -v setsid; then opsportal_group=setsid; else opsportal_group=; set -m; fi"
    # In the foreground: what a shell has in its background ignores SIGINT. In a subshell, as dash
    # would redirect its own words with the command's.
    yield (
        f"({MARK}={program.mark}; export {MARK}; exec $opsportal_group"
        f" sh -c {shlex.quote(_BEGIN)} opsportal {token} {program.interpreter}"
        ' "$opsportal/script") </dev/null >&3 2>&4 3>&- 4>&-'
    )
    yield "exit $?\n"


# The first of its arguments is the token, the others are the command. Whether it leads a group,
# kill tells.
_BEGIN: Final = """opsportal=$1; shift
if kill -0 "-$$" 2>/dev/null; then set -- group "$@"; else set -- process "$@"; fi
printf '%s:begun:%s:%s\\n' "$opsportal" "$$" "$1"
printf '%s:begun\\n' "$opsportal" >&2
shift; unset opsportal
exec "$@"
"""


def stopping(pid: int, kind: str, mark: str, token: str) -> bytes:
    """Ends what was begun: by SIGTERM, and after GRACE seconds by SIGKILL.

    The shell answers `token:left:HOW:STATE:PIDS`: HOW is `term` or `kill`; STATE `gone`, or `alive`
    where something of it is left; PIDS, separated by spaces, are those of other processes that it
    began and that have groups of their own, as far as they can be found.
    """
    values = {"pid": str(pid), "target": f"-{pid}" if kind == "group" else str(pid)}
    values |= {"column": "pgid" if kind == "group" else "pid", "mark": f"{MARK}={mark}"}
    given = "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
    return f"{given}\ntoken={token}; grace={GRACE}\n{_STOP}".encode()


# A process that has ended and that nobody has waited for is no process any more. Behind a process's
# name, which may hold anything, `stat` has its state, parent and group: busybox's ps takes no -p.
# Its grep reads a line up to a NUL.
_STOP: Final = r"""alive() {
  kill -0 "$target" 2>/dev/null || return 1
  ps -A -o "$column=" -o stat= 2>/dev/null | {
    known=
    while read -r number state; do
      known=1
      if [ "$number" = "$pid" ]; then case $state in Z*) ;; *) exit 0 ;; esac; fi
    done
    [ -z "$known" ]
  }
}
pause() { sleep 0.2 2>/dev/null || { sleep 1; passed=$((passed + 4)); }; passed=$((passed + 1)); }
marked() {
  if printf 'a\0b' | grep -qF b; then
    grep -lF -- "$mark" /proc/[0-9]*/environ
  else
    for file in /proc/[0-9]*/environ; do
      tr '\0' '\n' <"$file" | grep -qF -- "$mark" && printf '%s\n' "$file"
    done
  fi 2>/dev/null
}
how=term passed=0
kill -TERM "$target" 2>/dev/null
while alive; do
  if [ "$passed" -ge $((grace * 5)) ]; then
    [ "$how" = term ] || break
    how=kill passed=$((grace * 5 - 10))
    kill -KILL "$target" 2>/dev/null
  fi
  pause
done
if alive; then state=alive; else state=gone; fi
strays=
for file in $(marked); do
  file=${file%/environ} number=${file#/proc/}
  stat=$(cat "$file/stat" 2>/dev/null)
  set -- ${stat##*) }
  group=$3
  [ -z "$group" ] || [ "$group" = "$pid" ] || strays="$strays $number"
done
printf '%s:left:%s:%s:%s\n' "$token" "$how" "$state" "${strays# }"
exit 0
"""
