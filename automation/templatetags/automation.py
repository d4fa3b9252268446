"""How the automations' pages put things, in the words of their scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import template

from automation.models import Run, Target
from automation.models.run import FAILURES
from servers.templatetags.servers import span

register = template.Library()

SHORT: Final = 10  # seconds below which tenths are told
LONG: Final = 3_600  # seconds from which on seconds are not told any more


@register.filter
def lasted(thing: Run | Target) -> str:
    """How long it took; nothing for what has not ended."""
    seconds = thing.duration
    if seconds is None:
        return "—" if thing.finished_at else ""
    if 60 <= seconds < LONG:
        return f"{seconds // 60:.0f} min {int(seconds % 60)} s"
    return f"{seconds:.1f} s" if seconds < SHORT else span(seconds)


@register.filter
def done(counts: Mapping[str, int]) -> int:
    waiting = counts.get(Target.Status.PENDING, 0) + counts.get(Target.Status.RUNNING, 0)
    return counts.get("total", 0) - waiting


@register.filter
def tally(counts: Mapping[str, int]) -> str:
    """`12 of 20, 1 failed`."""
    failed = sum(counts.get(status, 0) for status in FAILURES)
    text = f"{done(counts)} of {counts.get('total', 0)}"
    return f"{text}, {failed} failed" if failed else text


@register.filter
def plural(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


@register.filter
def seconds(number: int) -> str:
    return span(number)


@register.filter
def unlocalised(value: Any) -> str:
    """As it is, without the separators of thousands that a reader's language may have."""
    return "" if value is None else str(value)


@register.filter
def exit(target: Target) -> str:
    if target.exit_signal:
        return target.exit_signal
    return "—" if target.exit_code is None else str(target.exit_code)


@register.filter
def described(one: Mapping[str, Any]) -> str:
    """What a parameter takes: `a whole number from 1 to 5, by default 3`."""
    parts = [KINDS[one["type"]] + _range(one)]
    if one.get("choices"):
        parts = [f"one of {', '.join(one['choices'])}"]
    if "default" in one:
        parts.append(f"by default {one['default']}")
    elif one.get("required"):
        parts.append("required")
    return ", ".join(parts)


KINDS = {
    "string": "a text",
    "integer": "a whole number",
    "choice": "a choice",
    "secret": "a secret",
}


def _range(one: Mapping[str, Any]) -> str:
    ends = [f"{word} {one[name]}" for word, name in RANGE if name in one]
    return f" {' '.join(ends)}" if ends else ""


RANGE = [("from", "minimum"), ("to", "maximum")]
