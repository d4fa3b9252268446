"""The floor: a bare epoll loop that writes each batch of events to each socket, and does no more.

It knows neither rights nor cursors nor slow readers, so no server can cost less. Its writer reaches
it over Redis, as the project's does, and it gathers for the same flush window.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable

import redis

from benchmarks.peers import work

WINDOW = 0.04  # seconds, the project's EVENTS_FLUSH_WINDOW
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHANNEL = "bench"


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def serve(port: int, redis_url: str) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    listener.setblocking(False)
    subscription = redis.Redis.from_url(redis_url).pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(CHANNEL)
    subscription.get_message(timeout=1)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    poll.register(subscription.connection._sock, select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    gathered: list[bytes] = []
    due = 0.0
    while True:
        timeout = max(0.0, due - time.monotonic()) if gathered else 1.0
        for file, _ in poll.poll(timeout):
            if file == listener.fileno():
                accept(listener, poll, clients)
            elif file in clients:
                greet_or_close(poll, clients, file)
            else:
                while message := subscription.get_message():
                    if not gathered:
                        due = time.monotonic() + WINDOW
                    gathered.append(message["data"])
        if gathered and time.monotonic() >= due:
            body = chunk(b"".join(gathered))
            gathered.clear()
            for client in clients.values():
                client.send(body)


def accept(listener: socket.socket, poll: select.epoll, clients: dict[int, socket.socket]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return
        client.setblocking(False)
        poll.register(client, select.EPOLLIN)
        clients[client.fileno()] = client


def greet_or_close(poll: select.epoll, clients: dict[int, socket.socket], file: int) -> None:
    if clients[file].recv(65536):
        clients[file].send(HEAD)
    else:
        poll.unregister(file)
        clients.pop(file).close()


def send(port: int, redis_url: str, batches: Iterable[list[tuple[int, str]]]) -> None:
    client = redis.Redis.from_url(redis_url)
    for batch in batches:
        client.publish(CHANNEL, b"".join(work.frame(number, data) for number, data in batch))


if __name__ == "__main__":
    work.main(serve, send)
