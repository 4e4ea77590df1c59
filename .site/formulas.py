"""Formulas of the documentation become MathML while the site is built: browsers draw it themselves, nothing is loaded.

The same hook refuses a page that would load anything from another host.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
ELSEWHERE = r'="(?:https?:)?//[^"]+"'
LOADED = re.compile(rf"<(?:script|img|iframe|source|embed)[^>]+src{ELSEWHERE}|<link[^>]+href{ELSEWHERE}")


def on_page_content(content: str, *, page: Any, **_: Any) -> str:
    """Turn every formula of a page into MathML."""

    def mathml(found: re.Match[str]) -> str:
        display = "block" if found[1] == "div" else "inline"
        try:
            return convert(html.unescape(found[2]).strip(), display=display)
        except Exception as error:
            raise PluginError(f"{page.file.src_path}: no formula: {found[2]!r} ({error!r})") from error

    return FORMULA.sub(mathml, content)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Refuse a page that loads anything from elsewhere."""
    found = [link for link in LOADED.findall(output) if 'rel="canonical"' not in link]
    if found:
        raise PluginError(f"{page.file.src_path}: loads from elsewhere: {found[0]}")
    return output
