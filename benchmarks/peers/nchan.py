"""nchan, a module of nginx in C, with one worker process, and its events published over HTTP.

Debian's packages nginx and libnginx-mod-nchan, with nchan's defaults but for what makes the work
the same: as many events are kept as in the project's ring, and streams begin with the next event.
Each published event is a request to the worker that serves the streams, and counted as its cost.
"""

from __future__ import annotations

import http.client
import os
import resource
import shutil
import tempfile
from collections.abc import Iterable
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
HEADERS = {"Content-Type": "application/json", "X-EventSource-Event": "server.status_changed"}


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
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for batch in batches:
        for _, data in batch:
            connection.request("POST", "/publish", data.encode(), HEADERS)
            with connection.getresponse() as response:
                response.read()
            if response.status not in (201, 202):
                raise RuntimeError(f"nchan answered {response.status}")


if __name__ == "__main__":
    work.main(serve, send)
