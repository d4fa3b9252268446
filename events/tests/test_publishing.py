"""Events from outside: what may not come in this way."""

import pytest
from rest_framework.exceptions import ValidationError

from events.publishing import parse


def test_nobody_outside_speaks_for_the_event_system_itself() -> None:
    data = {"user": "", "reason": "forged", "ended": True}
    with pytest.raises(ValidationError, match="internal"):
        parse({"type": "access.changed", "data": data})
