"""What people write stands on pages, and harms nobody."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.utils.html import escape
from hypothesis import given, settings
from hypothesis import strategies as st

from incidents.markdown import LARGEST, LONGEST, SCHEMES, TAGS, render

HOSTILE = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//x.example></sCrIpT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    "![x](javascript:alert(1))",
    '![x](x "onerror=alert(1)")',
    "<svg/onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><mtext><table><mglyph><style><img src onerror=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href='javascript:alert(1)'>x</a>",
    "<details open ontoggle=alert(1)>",
    "<style>*{background:url(//x.example)}</style>",
    "<base href=//x.example>",
    "<meta http-equiv=refresh content=0;url=//x.example>",
    "<form action=//x.example><input></form>",
    "<!--><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](<java\nscript:alert(1)>)",
    "[x](&#106;avascript:alert(1))",
    "[x](&#x6A&#x61;vascript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](javascript&#58;alert(1))",
    "[x](\\javascript:alert(1))",
    "[x](%6Aavascript:alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](data:image/svg+xml,<svg/onload=alert(1)>)",
    "[x](file:///etc/passwd)",
    "[x](blob:https://x.example/1)",
    "[x](\x01javascript:alert(1))",
    "<javascript:alert(1)>",
    "<data:text/html,x>",
    '[x](https://x.example" onmouseover="alert(1))',
    "[x](https://x.example 'y\" onmouseover=\"alert(1)')",
    "[x]\n\n[x]: javascript:alert(1)",
    "[a]: data:text/html,x\n\n[![b][a]][a]",
    "```js onload=alert(1)\n<script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "`<script>alert(1)</script>`",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "| a |\n| - |\n| <script>alert(1)</script> |",
    "> <img src=x onerror=alert(1)>",
    "* <img src=x onerror=alert(1)>",
    "[<script>](https://x.example)",
    "[x](https://x.example '<script>')",
]

ENDLESS = {
    "brackets": "[" * LONGEST,
    "links": "[a](" * (LONGEST // 4),
    "images": "![a" * (LONGEST // 3),
    "stars": "**a*" * (LONGEST // 4),
    "quotes": "> " * (LONGEST // 2),
    "quotes and lists": "> - " * (LONGEST // 4),
    "lists": "- " * (LONGEST // 2),
    "parentheses": "[a](" + "(" * (LONGEST - 4),
    "cells": "|" * 5000 + "\n" + "|-" * 2500 + "|\n" + "|\n" * 5000,
    "angles": "<" * LONGEST,
    "entities": "&" * LONGEST,
    "backticks": " ".join("`" * count for count in range(1, 199)),
    "nul": "\0" * LONGEST,
}


# As browsers find it in what they are given, WHATWG URL 4.4.
SCHEME = re.compile(r"[\x00-\x20]*([A-Za-z][A-Za-z0-9+.-]*):")


class Page(HTMLParser):
    """What a browser would find in it. Fails at what may not be there."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        for name, value in attributes:
            assert (tag, name) in {("a", "href"), ("a", "rel"), ("ol", "start")}
            if name == "href":
                self.links.append(value or "")
                scheme = SCHEME.match(re.sub(r"[\t\n\r]", "", value or ""))
                assert scheme is None or scheme[1].lower() in SCHEMES

    def handle_data(self, text: str) -> None:
        self.text += text

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_script_comes_through(text: str) -> None:
    for wrapped in (text, f"**{text}**", f"- {text}", f"[{text}](https://x.example)"):
        Page(render(wrapped))


@pytest.mark.parametrize("name", ENDLESS)
def test_what_is_made_to_keep_the_parser_busy_comes_through_harmless(name: str) -> None:
    Page(render(ENDLESS[name]))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from([*HOSTILE, *"<>[]()`*_~|&\"'\\\n\t :!#-", "a", "http:"])))
def test_nor_does_any_mixture(parts: list[str]) -> None:
    Page(render("".join(parts)))


def test_what_is_too_long_to_be_parsed_is_shown_as_it_was_typed() -> None:
    longest = "*" + "x" * (LONGEST - 2) + "*"
    assert "<em>" in render(longest)
    page = render(f"<b>*{longest}")
    assert page.startswith("<pre>&lt;b&gt;**xxx")
    assert Page(page).text == f"<b>*{longest}"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* **c** `d` ~~e~~", "<em>b</em> <strong>c</strong> <code>d</code> <s>e</s>"),
        ("a\nb", "<p>a<br>\nb</p>"),
        ("# a", "<h1>a</h1>"),
        ("3. a", '<ol start="3">\n<li>a</li>\n</ol>'),
        ("> a", "<blockquote>\n<p>a</p>\n</blockquote>"),
        ("| a |\n| - |\n| b |", "<td>b</td>"),
        ("    a < b", "<pre><code>a &lt; b\n</code></pre>"),
        ("<b>a</b>", "&lt;b&gt;a&lt;/b&gt;"),
        ("[a](/servers/1/)", 'href="/servers/1/"'),
        (
            "[a](https://x.example/?b=1&c=2)",
            '<a href="https://x.example/?b=1&amp;c=2" rel="nofollow noopener noreferrer">a</a>',
        ),
        ("<ops@x.example>", 'href="mailto:ops@x.example"'),
    ],
)
def test_what_people_mean_is_what_they_see(text: str, html: str) -> None:
    assert html in render(text)


TABLES = {
    "wide": "|" * 2501 + "\n" + "|-" * 2500 + "|\n" + "|\n" * 5000,
    "padded": "|" * 51 + "\n" + "|-" * 50 + "|\n" + "|\n" * 130,
    "quoted": "> " + "|" * 51 + "\n> " + "|-" * 50 + "|\n" + "> |\n" * 130,
    "with carriage returns": "|" * 51 + "\r" + "|-" * 50 + "|\r" + "|\r" * 130,
    "many": ("a|b\n-|-\n" + "|\n" * 20 + "\n") * 300,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_too_many_cells_is_shown_as_it_was_typed(name: str) -> None:
    text = TABLES[name][:LONGEST]
    assert render(text) == f"<pre>{escape(text)}</pre>"


def test_a_table_of_some_hundred_rows_is_a_table() -> None:
    page = render("| a | b | c | d |\n|:--|--:|:-:|---|\n" + "| 1 | 2 | 3 | 4 |\n" * 500)
    assert page.count("<td>") == 2000


def test_what_would_fill_a_page_is_shown_as_it_was_typed() -> None:
    text = "[](a)" * (LONGEST // 5)
    assert render(text) == f"<pre>{text}</pre>"
    text = text[: LONGEST // 3]
    assert "<a " in render(text)
    assert len(render(text)) <= LARGEST


def test_an_image_is_not_fetched_from_anywhere() -> None:
    assert "<img" not in render("![a](https://x.example/pixel.png)")
