"""Markdown from people, as HTML that can stand on a page.

CommonMark without raw HTML, and then only what is known to be harmless.
"""

from __future__ import annotations

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

_parser = MarkdownIt("commonmark", {"html": False, "breaks": True})
_parser.enable(["table", "strikethrough"]).disable("image")


def render(text: str) -> str:
    """HTML without scripts, styles, images, or links to anything but SCHEMES.

    What is longer than LONGEST is shown as it was typed.
    """
    if len(text) > LONGEST:
        return f"<pre>{escape(text)}</pre>"
    return nh3.clean(
        _parser.render(text),
        tags=TAGS,
        attributes={"a": {"href"}, "ol": {"start"}, "*": set()},
        url_schemes=SCHEMES,
        link_rel="nofollow noopener noreferrer",
    )
