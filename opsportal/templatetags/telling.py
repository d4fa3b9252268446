"""How the pages put events, in the words of their scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from opsportal import feed, sentences
from opsportal.reading import Reading

register = template.Library()


@register.simple_tag(takes_context=True)
def what_happens(context: template.Context) -> dict[str, Any]:
    """The feed, and the cursor from before it, for pages that have no other state to keep true."""
    reading = Reading.of(context["user"])
    types = feed.types(reading)
    return {
        "cursor": reading.head.position,
        "types": types,
        "events": feed.last(reading, types),
        "most": feed.MOST,
        "telling": sentences.for_scripts(),
    }


@register.simple_tag
def sentence(event: Mapping[str, Any], links: bool = True) -> SafeString:
    """What the event tells, or its type where nothing tells of it."""
    found = sentences.sentence_of(event)
    if found is None:
        return format_html("<code>{}</code>", event["type"])
    path = sentences.page_of(event["subject"]) if links else ""
    return format_html_join(
        "",
        "{}",
        (
            [
                format_html('<a href="{}">{}</a>', path, part.text)
                if part.is_link and path
                else part.text
            ]
            for part in sentences.parts(found, event["data"])
        ),
    )


@register.filter
def tone(event: Mapping[str, Any]) -> str:
    found = sentences.sentence_of(event)
    return found.tone if found else ""


@register.filter
def page_of(event: Mapping[str, Any]) -> str:
    """The path of the page about the event's subject, where there is one."""
    return sentences.page_of(event["subject"])


@register.filter
def time_of(event: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(event["timestamp"])


@register.filter
def as_json(event: Mapping[str, Any]) -> str:
    """As the scripts write it: two spaces a level."""
    return json.dumps(event, indent=2, ensure_ascii=False)
