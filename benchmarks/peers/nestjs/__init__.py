"""NestJS with `@Sse` and an RxJS Subject as its bus, fed from Redis; main.js is the server.

`npm ci` in this folder, as `make .venv-bench/stamp` does it, installs what it needs.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent


def missing() -> str:
    """What is not on this machine, or nothing."""
    if not shutil.which("node"):
        return "Node.js"
    return "" if (FOLDER / "node_modules").exists() else "npm's packages"
