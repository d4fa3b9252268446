"""Markdown from people, as HTML that can stand on a page.

CommonMark without raw HTML, and then only what is known to be harmless.
"""

from __future__ import annotations

from typing import Final

import nh3
from markdown_it import MarkdownIt

TAGS: Final = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "a"),
    *("ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
SCHEMES: Final = {"http", "https", "mailto"}

_parser = MarkdownIt("commonmark", {"html": False, "breaks": True})
_parser.enable(["table", "strikethrough"]).disable("image")


def render(text: str) -> str:
    """HTML without scripts, styles, images, or links to anything but SCHEMES."""
    return nh3.clean(
        _parser.render(text),
        tags=TAGS,
        attributes={"a": {"href"}, "ol": {"start"}},
        url_schemes=SCHEMES,
        link_rel="nofollow noopener noreferrer",
    )
