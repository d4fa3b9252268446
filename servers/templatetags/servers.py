"""How the servers' pages put things, in the words of their scripts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django import template
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString

from servers import history, ssh
from servers.models import StatusPeriod

register = template.Library()

UNITS: Final = [("d", 86_400), ("h", 3_600), ("min", 60)]
NOTHING: Final = "–"


@register.filter
def span(seconds: float) -> str:
    """The two largest units: `3 h 12 min`."""
    for number, (unit, length) in enumerate(UNITS):
        if seconds >= length:
            text = f"{seconds // length:.0f} {unit}"
            smaller, size = (*UNITS, ("s", 1))[number + 1]
            rest = seconds % length // size
            return f"{text} {rest:.0f} {smaller}" if rest and smaller != "s" else text
    return f"{int(seconds)} s"


@register.filter
def length_of(period: StatusPeriod) -> float:
    return history.duration(period)


@register.filter
def percent(ratio: float) -> str:
    """Never rounded up to 100: what was down for a moment was down."""
    return f"{int(ratio * 10_000) / 100:.2f} %"


@register.filter
def fingerprint(host_key: str) -> str:
    try:
        return ssh.fingerprint(host_key)
    except ValueError:
        return "unreadable"


@register.filter
def algorithm(host_key: str) -> str:
    return host_key.partition(" ")[0]


@register.simple_tag
def moment(time: datetime | None, shown_as: str = "age") -> SafeString:
    """A time for times.js, which shows it as an age, a span since or what is left until it."""
    if not time:  # also where a template lacks what it would be read from
        return format_html('<time data-as="{}">{}</time>', shown_as, "—")
    return format_html(
        '<time datetime="{}" data-as="{}" title="{}">{}</time>',
        time.isoformat(),
        shown_as,
        f"{time:%-d %b %Y, %H:%M:%S %Z}",
        f"{time:%-d %b, %H:%M}",
    )


@register.filter
def told(value: Any, field: str) -> str | SafeString:
    """A field's value in an event's changes."""
    if value in (None, "", []):
        return NOTHING
    if field == "host_key":
        return fingerprint(str(value))
    if field == "maintenance_until" and (end := parse_datetime(str(value))):
        return moment(end, "moment")
    return ", ".join(value) if isinstance(value, list) else str(value)


@register.filter
def words(field: str) -> str:
    return field.replace("_", " ")
