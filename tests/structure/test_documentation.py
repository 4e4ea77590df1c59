"""Every document is found from the site's contents."""

from __future__ import annotations

import re

from tests.oracles.places import ROOT


def test_every_page_stands_in_the_contents() -> None:
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = re.findall(r":\s*([\w/.-]+\.md)$", contents, re.MULTILINE)
    pages = sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))
    assert sorted(listed) == pages, "add the page to nav in mkdocs.yml"
