"""A reader of many event streams, in a process of its own, that costs as little as Python can.

Most connections are only counted: bytes, and the blank lines that end frames. A few are samples,
which are read in full: HTTP chunks, gzip, frames, JSON; each event's number must be the one that
follows the last one's, and its latency is from the writer's clock to the end of its parsing.

It is driven by lines of JSON on its standard input, and answers each with one:

- first a Job: it opens the streams and answers once each has begun;
- `{"read": s}`: reads for s seconds;
- `{"reopen": true}`: drops all connections at once and opens them anew with their last ids;
- `{"expect": n, "patience": s}`: reads until each stream has had n events since it was opened
  first, or no sample has had one for s seconds, and answers with what it has seen. Its seconds,
  and its own CPU, are from the first event of a sample to the last.

Connections come from several addresses of 127.0.0.0/8, as one has 28,000 ports.
"""

from __future__ import annotations

import json
import re
import resource
import select
import socket
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

AT_ONCE: Final = 2_000  # connections that are being opened: as many as a listener holds
RECEIVE: Final = 1 << 18  # bytes
LATEST: Final = 4096  # bytes that a stream which will return keeps: more than a frame has
PORTS: Final = 20_000  # connections from one address
# The port is chosen by connect(), so that those of connections just closed can be used for another
# server. Linux's name, which Python's socket has from 3.12 on.
IP_BIND_ADDRESS_NO_PORT: Final = 24
BUSY: Final = 0.85  # of one core: from there on this process is what limits a measurement
EVENT: Final = re.compile(r"bench (\d+) (\d+)")  # number and nanoseconds, in some text of the event


@dataclass(frozen=True)
class Job:
    """What to open: `paths[i % len(paths)]` with `tokens[i % len(tokens)]`, the first `samples` in
    full."""

    port: int
    streams: int
    samples: int
    paths: list[str]
    tokens: list[str] = field(default_factory=lambda: [""])
    gzip: bool = False
    resume: bool = False  # also the streams that are only counted return with their last ids


class Sample:
    """The whole reading of one stream: what it had, and when."""

    def __init__(self, gzip: bool) -> None:
        self.numbers: list[int] = []
        self.latencies: list[float] = []  # milliseconds
        self.last_id = ""
        self.chunked = True
        self.chunks = 0  # writes of the server
        self.begin(gzip)

    def begin(self, gzip: bool) -> None:
        """A new connection: what an old one was cut off in is sent again."""
        self._inflater = zlib.decompressobj(31) if gzip else None
        self._encoded = b""
        self._text = b""

    def feed(self, data: bytes) -> None:
        self._encoded += data
        for piece in self._chunks() if self.chunked else self._rest():
            self._text += self._inflater.decompress(piece) if self._inflater else piece
        *frames, self._text = self._text.split(b"\n\n")
        for frame in frames:
            self._parse(frame)

    def _chunks(self) -> Iterator[bytes]:
        """RFC 9112, 7.1."""
        while (end := self._encoded.find(b"\r\n")) >= 0:
            size = int(self._encoded[:end], 16)
            if len(self._encoded) < end + size + 4:
                return
            self.chunks += 1
            yield self._encoded[end + 2 : end + 2 + size]
            self._encoded = self._encoded[end + size + 4 :]

    def _rest(self) -> Iterator[bytes]:
        """Of a body that goes on until the connection ends (RFC 9112, 6.3)."""
        rest, self._encoded = self._encoded, b""
        yield rest

    def _parse(self, frame: bytes) -> None:
        data = b""
        for line in frame.split(b"\n"):
            name, _, value = line.partition(b": ")
            if name == b"id":
                self.last_id = value.decode()
            elif name == b"data":
                data = value
        if found := data and EVENT.search(json.dumps(json.loads(data))):
            self.numbers.append(int(found[1]))
            self.latencies.append((time.time_ns() - int(found[2])) / 1e6)


class Connection:
    """One stream. `count` is its whole frames, the stream's own among them."""

    __slots__ = ("bytes", "count", "head", "index", "latest", "sample", "socket", "tail")

    def __init__(self, index: int, sample: Sample | None) -> None:
        self.index = index
        self.sample = sample
        self.socket: socket.socket | None = None
        self.head: bytes | None = b""
        self.bytes = self.count = 0
        self.tail = False  # whether the last byte was the first half of a blank line
        self.latest = b""  # the last bytes, where the last id is found

    @property
    def last_id(self) -> str:
        """Of the last whole frame: a server writes only whole ones in a chunk."""
        if self.sample:
            return self.sample.last_id
        whole = self.latest[: self.latest.rfind(b"\n\n") + 1]
        found = whole[whole.rfind(b"id: ") + 4 :].partition(b"\n")[0]
        return found.decode() if found.isdigit() else ""


class Load:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.poll = select.epoll()
        self.connections = [
            Connection(i, Sample(job.gzip) if i < job.samples else None) for i in range(job.streams)
        ]
        self.by_file: dict[int, Connection] = {}
        self.unsent: dict[int, bytes] = {}  # requests of connections that are not there yet
        self.buffer = bytearray(RECEIVE)
        self.view = memoryview(self.buffer)
        self.refused: dict[str, int] = {}
        self.frames = self.received = 0

    def open_all(self) -> dict[str, Any]:
        """Opens every stream, at most AT_ONCE at a time, and waits until all have begun."""
        started = time.perf_counter()
        waiting = list(reversed(self.connections))
        opening: set[Connection] = set()
        while waiting or opening:
            while waiting and len(opening) < AT_ONCE:
                opening.add(connection := waiting.pop())
                self._open(connection)
            for connection in self._read(1.0):
                # Until its first frame a stream has no id that it could return with.
                begun = connection.bytes if self.job.resume else connection.head is None
                if begun or connection.socket is None:
                    opening.discard(connection)
        return {"open": len(self.by_file), "refused": self.refused, **_since(started)}

    def read_for(self, seconds: float) -> dict[str, Any]:
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            self._read(0.05)
        return _since(started)

    def reopen_all(self) -> dict[str, Any]:
        for connection in self.connections:
            self._close(connection)
        return self.open_all()

    def _open(self, connection: Connection) -> None:
        job, index = self.job, connection.index
        connection.head = b""
        connection.socket = client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((f"127.0.0.{2 + index // PORTS}", 0))
        client.connect_ex(("127.0.0.1", job.port))
        lines = [
            f"GET {job.paths[index % len(job.paths)]} HTTP/1.1",
            "Host: 127.0.0.1",
            "Accept: text/event-stream",
        ]
        if token := job.tokens[index % len(job.tokens)]:
            lines.append(f"Authorization: Bearer {token}")
        if job.gzip:
            lines.append("Accept-Encoding: gzip")
        if connection.last_id:
            lines.append(f"Last-Event-ID: {connection.last_id}")
        if connection.sample:
            connection.sample.begin(job.gzip)
        request = "\r\n".join([*lines, "", ""]).encode()
        self.by_file[client.fileno()] = connection
        self.poll.register(client, select.EPOLLIN | select.EPOLLOUT)
        connection.tail = False
        self.unsent[client.fileno()] = request

    def _close(self, connection: Connection) -> None:
        if connection.socket is not None:
            self.poll.unregister(connection.socket)
            del self.by_file[connection.socket.fileno()]
            connection.socket.close()
            connection.socket = None

    def _read(self, timeout: float) -> list[Connection]:
        """Takes what there is, once around; returns the connections that had something."""
        had = []
        for file, event in self.poll.poll(timeout):
            connection = self.by_file.get(file)
            if connection is None or connection.socket is None:
                continue
            if event & select.EPOLLOUT and file in self.unsent:
                connection.socket.send(self.unsent.pop(file))
                self.poll.modify(file, select.EPOLLIN)
            if event & ~select.EPOLLOUT:
                self._receive(connection)
                had.append(connection)
        return had

    def _receive(self, connection: Connection) -> None:
        assert connection.socket is not None
        try:
            size = connection.socket.recv_into(self.buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self.refused["closed"] = self.refused.get("closed", 0) + 1
            self._close(connection)
            return
        start = 0
        if connection.head is not None:
            start = self._take_head(connection, size)
        self.received += size - start
        connection.bytes += size - start
        if connection.sample is not None and start < size:
            connection.sample.feed(bytes(self.view[start:size]))
        elif self.job.resume and start < size:
            connection.latest = (connection.latest + self.view[start:size])[-LATEST:]
        # A blank line may be cut in two.
        found = self.buffer.count(b"\n\n", start, size)
        if connection.tail and self.buffer[start : start + 1] == b"\n":
            found += 1
        connection.tail = not self.buffer.endswith((b"\n\n", b"\r\n"), 0, size) and (
            self.buffer[size - 1] == 10
        )
        connection.count += found
        self.frames += found

    def _take_head(self, connection: Connection, size: int) -> int:
        """Where the body begins in the buffer."""
        assert connection.head is not None
        before = len(connection.head)
        connection.head += bytes(self.view[:size])
        end = connection.head.find(b"\r\n\r\n")
        if end < 0:
            return size
        status = connection.head[9:12].decode()
        if connection.sample is not None:
            fields = connection.head[:end].lower()
            connection.sample.chunked = b"\r\ntransfer-encoding: chunked" in fields
        connection.head = None
        if status != "200":
            self.refused[status] = self.refused.get(status, 0) + 1
            self._close(connection)
            return size
        return end + 4 - before

    def wait(self, expect: int, patience: float) -> dict[str, Any]:
        """Reads until the samples have had their events and nobody lacks any."""
        samples = [c.sample for c in self.connections if c.sample]
        first = last = time.perf_counter()
        first_cpu = last_cpu = time.process_time()
        had = 0  # events: many servers keep silent streams alive, which is no progress
        while time.perf_counter() - last < patience:
            self._read(0.05)
            if (events := sum(len(sample.numbers) for sample in samples)) != had:
                last, last_cpu = time.perf_counter(), time.process_time()
                if not had:
                    first, first_cpu = last, last_cpu
                had = events
            if self._all_have(expect, samples) and not self._read(0.2):
                break
        seconds = last - first
        busy = (last_cpu - first_cpu) / max(seconds, 0.001)
        return self._report(expect, samples) | {
            "seconds": round(seconds, 3),
            "load generator cores": round(busy, 2),
            "limited by the load generator": busy > BUSY,
        }

    def _all_have(self, expect: int, samples: list[Sample]) -> bool:
        if any(len(sample.numbers) < expect for sample in samples):
            return False
        # Of those that are only counted, a stream that returns cannot be told by its silence.
        return not self.job.resume or all(c.count >= expect for c in self.connections)

    def _report(self, expect: int, samples: list[Sample]) -> dict[str, Any]:
        latencies = [ms for sample in samples for ms in sample.latencies]
        wanted = list(range(expect))
        counts = sorted(connection.count for connection in self.connections)
        return {
            "open": len(self.by_file),
            "refused": self.refused,
            "bytes": self.received,
            "frames": self.frames,
            "frames of a stream": [counts[0], counts[len(counts) // 2], counts[-1]],
            "sampled": len(samples),
            "chunks of a sample": round(
                sum(sample.chunks for sample in samples) / max(len(samples), 1), 1
            ),
            "lost": sum(len(set(wanted) - set(s.numbers)) for s in samples),
            "doubled": sum(len(s.numbers) - len(set(s.numbers)) for s in samples),
            "disordered": sum(s.numbers != sorted(s.numbers) for s in samples),
            "latency ms": percentiles(latencies, 50, 90, 99, 100),
        }


def percentiles(values: Iterable[float], *shares: int, digits: int = 1) -> dict[str, float]:
    """By name, as p99. Of nothing: nothing."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        f"p{share}": round(ordered[min(len(ordered) * share // 100, last)], digits)
        for share in shares
        if ordered
    }


def raise_open_files_limit() -> None:
    """Of this process, and of those that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _since(started: float) -> dict[str, float]:
    return {"seconds": round(time.perf_counter() - started, 3)}


def answer(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def main() -> None:
    raise_open_files_limit()
    load = Load(Job(**json.loads(sys.stdin.readline())))
    answer(load.open_all())
    for line in sys.stdin:
        command = json.loads(line)
        if "reopen" in command:
            answer(load.reopen_all())
        elif "read" in command:
            answer(load.read_for(command["read"]))
        else:
            answer(load.wait(**command))


if __name__ == "__main__":
    main()
