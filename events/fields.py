"""JSON kept as text, letter for letter."""

import json
from typing import TYPE_CHECKING, Any

from django.db import models

from events.wire import encode_json

if TYPE_CHECKING:
    _TextField = models.TextField[Any, Any]
else:
    _TextField = models.TextField


class JSONTextField(_TextField):
    """A JSON value in a text column.

    PostgreSQL's jsonb sorts keys and refuses U+0000; an event that is replayed must be the bytes
    that were sent live, whatever its texts hold.
    """

    def from_db_value(self, value: str | None, *_: Any) -> Any:
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else encode_json(value).decode()

    def value_to_string(self, obj: models.Model) -> str:
        return encode_json(self.value_from_object(obj)).decode()
