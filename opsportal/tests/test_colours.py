"""The colours of the pages: what is written can be read, on whatever it may lie.

A page is looked at by axe-core in tests/test_accessibility.py, but a highlight is over in a moment.
"""

from __future__ import annotations

import re
from itertools import product

import pytest
from django.contrib.staticfiles import finders

TEXTS = ("text", "muted", "accent", "good", "bad", "warm", "calm", "still")
GROUNDS = ("page", "surface", "hover", "highlight")
LEAST = 4.5  # https://www.w3.org/TR/WCAG22/#contrast-minimum


def palette(scheme: str) -> dict[str, str]:
    """The colours of `portal.css` by name, as six digits."""
    with open(str(finders.find("opsportal/portal.css"))) as sheet:
        light, dark = sheet.read().split("prefers-color-scheme: dark", 1)
    found = {}
    for part in (light, dark.split("\n}\n")[0])[: 1 if scheme == "light" else 2]:
        for name, digits in re.findall(r"--([\w-]+): #([0-9a-f]{3,6});", part):
            found[name] = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    return found


def luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    shares = [int(colour[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_can_be_read(scheme: str) -> None:
    colours = palette(scheme)
    poor = {}
    for text, ground in product(TEXTS, GROUNDS):
        darker, lighter = sorted(luminance(colours[name]) for name in (text, ground))
        contrast = (lighter + 0.05) / (darker + 0.05)
        if contrast < LEAST:
            poor[text, ground] = round(contrast, 2)
    assert not poor


def test_the_admin_has_the_same_highlight() -> None:
    with open(str(finders.find("opsportal/admin.css"))) as sheet:
        [pair] = re.findall(r"--highlight: light-dark\(#(\w+), #(\w+)\);", sheet.read())
    assert list(pair) == [palette(scheme)["highlight"] for scheme in ("light", "dark")]
