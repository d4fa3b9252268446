"""How the incidents' pages put things, in the words of their scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django import template

from servers.templatetags.servers import span

register = template.Library()


@register.filter
def as_json(value: Any) -> str:
    """For a data attribute; what is no text of its own is told by its text."""
    return json.dumps(list(map(str, value)), ensure_ascii=False)


@register.filter
def after(end: datetime | None, begin: datetime) -> str:
    """How long it took from `begin` to `end`."""
    return f"after {span((end - begin) / timedelta(seconds=1))}" if end else "—"


@register.filter
def at(mapping: Mapping[str, Any], key: str) -> Any:
    return mapping.get(key)
