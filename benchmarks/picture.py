"""Draw a terminal run as an SVG picture: ``python -m benchmarks.picture OUT.svg -- solve CASE``."""

from __future__ import annotations

import io
import re
import sys
from contextlib import redirect_stdout, suppress
from unittest.mock import patch


def draw(arguments: list[str]) -> str:
    """Run ``shardproof`` with colours and return its output as SVG without outside fonts."""
    from rich.console import Console
    from rich.text import Text

    from shardproof.solver import cli
    from shardproof.solver.commands import solve

    out = io.StringIO()
    with patch.object(solve, "_colour", lambda: True), redirect_stdout(out), suppress(SystemExit):
        cli.main(arguments)
    console = Console(record=True, width=84, file=io.StringIO())
    console.print(Text.from_ansi(f"$ shardproof {' '.join(arguments)}\n{out.getvalue()}"))
    picture = console.export_svg(title="shardproof")
    return re.sub(r"@font-face\s*{[^}]*}", "", picture)


if __name__ == "__main__":
    target, rest = sys.argv[1], sys.argv[3:]
    with open(target, "w", encoding="utf-8") as file:
        file.write(draw(rest))
