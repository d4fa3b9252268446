"""Follows a stream with PyPI's httpx-sse: `python -m tests.clients.follow URL TOKEN`.

Prints each frame as a line of JSON, [id, name, data]; when it is cut, returns with the last id.
"""

import json
import sys
import time
from contextlib import suppress

import httpx
from httpx_sse import connect_sse


def follow(url: str, token: str, last_id: str) -> str:
    """Prints the frames of one connection until it is cut; returns the last id."""
    headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": last_id} if last_id else {})
    with (
        suppress(httpx.TransportError),
        httpx.Client(timeout=None, trust_env=False) as client,
        connect_sse(client, "GET", url, headers=headers) as source,
    ):
        for event in source.iter_sse():
            last_id = event.id
            sys.stdout.write(json.dumps([event.id, event.event, event.json()]) + "\n")
    return last_id


def main(url: str, token: str) -> None:
    last_id = ""
    while True:
        last_id = follow(url, token, last_id)
        time.sleep(0.2)


if __name__ == "__main__":
    main(*sys.argv[1:])
