"""Becomes Node.js, or writes into Redis, as sse-starlette's writer does."""

from __future__ import annotations

import os

from benchmarks.peers import work
from benchmarks.peers.nestjs import FOLDER
from benchmarks.peers.published import send


def serve(port: int, redis_url: str) -> None:
    environment = {**os.environ, "NODE_ENV": "production"}
    os.execvpe("node", ["node", str(FOLDER / "main.js"), str(port), redis_url], environment)


work.main(serve, send)
