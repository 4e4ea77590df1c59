"""The page: one HTML file with everything inside, made from a template that escapes every name."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shardproof.solver.batch.answer import STATUSES
from shardproof.solver.drawing.assets import component, one_script
from shardproof.solver.report.content import Content

_FOLDER = Path(__file__).parent
_STATIC_ROWS = 500
"""Rows of the plain table that a browser without scripts shows."""


def page(content: Content) -> str:
    """Return the whole page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    counts = Counter(row.status for row in content.rows)
    return environment.get_template("template.html.j2").render(
        content=content,
        counts=[(status, counts[status]) for status in (*STATUSES, "open") if counts[status]],
        static_rows=content.rows[:_STATIC_ROWS],
        payload=_payload(content),
        script=_script(),
        style=_style(),
    )


def _payload(content: Content) -> Markup:
    """Return the rows and plans as JSON that no text inside can end early."""
    tree: dict[str, Any] = {"swept": content.swept, "rows": content.columns(), "plans": content.plans}
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _script() -> Markup:
    """Return the components and the report's own script as one."""
    return Markup(one_script([*map(component, ("dom.js", "plots.js", "groups.js", "plan.js")), _FOLDER / "page.js"]))


def _style() -> Markup:
    return Markup(component("theme.css").read_text(encoding="utf-8"))
