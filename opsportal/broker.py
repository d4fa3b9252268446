"""The folder that is the task broker where there is no Redis."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """A message appears whole. kombu's own is a file that is still empty for a moment: a worker
    that takes it then has lost it, and ends for the error."""

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Under a name that no queue has, until it is written. Raises ChannelError."""
        name = f"{time.monotonic_ns():020}_{uuid.uuid4()}.{queue}"
        draft = Path(self.data_folder_out, f"{name}.draft")
        try:
            draft.write_text(dumps(payload))
            draft.replace(draft.with_suffix(".msg"))
        except OSError as error:
            raise ChannelError(f"Cannot write a message to {self.data_folder_out!r}") from error


class Transport(filesystem.Transport):
    Channel = Channel
