"""The gzip coding of a stream, of which every piece is made once for all its readers. Pure.

Each chunk becomes a block of its own that refers to nothing before it and ends at a byte (a sync
flush), so blocks can be joined in any order behind a header, and each is readable as it comes. A
stream that ends at no certain place has no trailer. The formats are RFC 1951 and 1952.
"""

from __future__ import annotations

import zlib
from typing import Final

HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time, unknown system

_LEVEL: Final = 4
_WINDOW_BITS: Final = -14  # raw, of 16 KB: a chunk is hardly longer
_MEMORY_LEVEL: Final = 6  # most of the time goes into clearing what more would take


def deflated(chunk: bytes) -> bytes:
    """A block that inflates to the chunk, wherever in a stream it stands."""
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL)
    return deflater.compress(chunk) + deflater.flush(zlib.Z_SYNC_FLUSH)
