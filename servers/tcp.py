"""TCP for a check: a name looked up, and a socket opened that keeps what it heard first."""

import asyncio
import socket
import threading
from concurrent.futures import Future
from typing import Any

HEARD_BYTES = 300

# What socket.getaddrinfo answers: family, type, protocol, canonical name, socket address.
AddressInfo = tuple[int, int, int, str, Any]


class Line(socket.socket):
    """A socket that keeps the first bytes the other side said.

    asyncssh skips text before the SSH banner, yet that text is what tells an operator that the
    port belongs to a web server, or that sshd is turning connections away.
    """

    heard = b""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = super().recv(bufsize, flags)
        if len(self.heard) < HEARD_BYTES:
            self.heard += data[:HEARD_BYTES]
        return data


async def resolve(host: str, port: int) -> list[AddressInfo]:
    """The addresses of a name, the likeliest first. Raises what socket.getaddrinfo raises.

    In asyncio's own executor a name server that never answers would hold up the end of the loop,
    long after the timeout; a daemon thread does not.
    """
    answer: Future[list[AddressInfo]] = Future()
    answer.set_running_or_notify_cancel()  # so that the thread can answer one who left

    def look_up() -> None:
        try:
            answer.set_result(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    return await asyncio.wrap_future(answer)


async def connect(addresses: list[AddressInfo], timeout: float) -> Line:
    """A connection to the first address that takes one. Raises OSError where none does."""
    failures: list[OSError] = []
    for address in addresses:
        try:
            # A share each, so that a dead IPv6 route leaves time for IPv4.
            async with asyncio.timeout(timeout / len(addresses)):
                return await _dial(address)
        except OSError as error:
            failures.append(error)
    # The resolver sorts the likeliest address first, so its failure tells most.
    raise failures[0]


async def _dial(info: AddressInfo) -> Line:
    family, kind, protocol, _, address = info
    line = Line(family, kind, protocol)
    try:
        line.setblocking(False)
        await asyncio.get_running_loop().sock_connect(line, address)
    except BaseException:
        line.close()
        raise
    return line
