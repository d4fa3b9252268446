"""Markdown from people, as HTML that can stand on a page.

CommonMark without raw HTML, and then only what is known to be harmless.
"""

from __future__ import annotations

import re
from typing import Final

import nh3
from django.utils.html import escape
from markdown_it import MarkdownIt

TAGS: Final = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "a"),
    *("ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
SCHEMES: Final = {"http", "https", "mailto"}
LONGEST: Final = 20_000  # characters; what the parser takes for the worst of them is bearable
CELLS: Final = 5_000  # of tables: each row is filled up to as many as its head has
LARGEST: Final = 100_000  # characters of HTML

# What stands below a table's head, perhaps in a quotation.
_RULER: Final = re.compile(r"^[ \t>]*([|:\- \t]*\|[|:\- \t]*)$", re.MULTILINE)

_parser = MarkdownIt("commonmark", {"html": False, "breaks": True})
_parser.enable(["table", "strikethrough"]).disable("image")


def render(text: str) -> str:
    """HTML without scripts, styles, images, or links to anything but SCHEMES.

    What is longer than LONGEST, or would fill a page of LARGEST, is shown as it was typed.
    """
    if len(text) > LONGEST or _cells(text) > CELLS:
        return _as_typed(text)
    html = clean(_parser.render(text))
    return html if len(html) <= LARGEST else _as_typed(text)


def _cells(text: str) -> int:
    """How many there are at most, if all lines belong to the widest table."""
    lines = text.replace("\r", "\n")
    columns = max((found[1].count("|") + 1 for found in _RULER.finditer(lines)), default=0)
    return columns * (lines.count("\n") + 1)


def _as_typed(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def clean(html: str) -> str:
    """Takes out whatever could do harm: of HTML that comes from anywhere."""
    return nh3.clean(
        html,
        tags=TAGS,
        attributes={"a": {"href"}, "ol": {"start"}, "*": set()},
        url_schemes=SCHEMES,
        link_rel="nofollow noopener noreferrer",
    )
