"""nchan, a module of nginx in C, with one worker process, and its events published over HTTP.

Debian's packages nginx and libnginx-mod-nchan, with nchan's defaults but for what makes the work
the same: as many events are kept as in the project's ring, and streams begin with the next event.
Each published event is a request to the worker that serves the streams, and counted as its cost.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.peers import work

MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
CONFIGURATION = """
load_module {module};
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        keepalive_requests 1000000;  # of the publisher
        nchan_channel_id events;
        location = /events {{
            nchan_subscriber eventsource;
            nchan_subscriber_first_message newest;
        }}
        location = /publish {{
            nchan_publisher;
            nchan_message_buffer_length 10000;
        }}
    }}
}}
"""
REQUEST = (
    b"POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"X-EventSource-Event: server.status_changed\r\nContent-Length: %d\r\n\r\n%b"
)

LAST = b"GET /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


def missing() -> str:
    """What is not on this machine, or nothing."""
    if not program():
        return "nginx"
    return "" if MODULE.exists() else "libnginx-mod-nchan"


def serve(port: int, redis_url: str) -> None:
    """Becomes nginx, whose only child serves."""
    nginx = program()
    assert nginx
    directory = Path(tempfile.mkdtemp())
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = CONFIGURATION.format(module=MODULE, port=port, connections=min(files, 20_000))
    (directory / "nginx.conf").write_text(text)
    os.execv(nginx, ["nginx", "-p", str(directory), "-e", "stderr", "-c", "nginx.conf"])


def send(port: int, redis_url: str, batches: Iterable[list[tuple[int, str]]]) -> None:
    """Publishes on one connection, and waits for no answer before the next event is due."""
    with socket.create_connection(("127.0.0.1", port)) as connection, ThreadPoolExecutor() as pool:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answered = pool.submit(created, connection)
        sent = 0
        for batch in batches:
            connection.sendall(b"".join(request(data.encode()) for _, data in batch))
            sent += len(batch)
        connection.sendall(LAST)
        if answered.result() != sent:
            raise RuntimeError(f"nchan accepted {answered.result()} of {sent} events")


def request(body: bytes) -> bytes:
    return REQUEST % (len(body), body)


def created(connection: socket.socket) -> int:
    """How many answers say that an event was published to somebody."""
    text = bytearray()
    while data := connection.recv(65536):
        text += data
    return text.count(b"HTTP/1.1 201 ")


if __name__ == "__main__":
    work.main(serve, send)
