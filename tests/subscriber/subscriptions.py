"""Notes each event of a server, and which process handled it."""

import os
from typing import Any

from events.api import subscribe
from tests.subscriber.models import Effect


@subscribe("server.*", name="tests.effects")
def note(event: dict[str, Any]) -> None:
    Effect(position=event["id"], worker=os.getpid()).save()
