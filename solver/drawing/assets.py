"""The components' own files: modules and a style sheet, served by the page, written into the report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_FOLDER = Path(__file__).parent
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class)\b)", re.MULTILINE)


def files() -> Mapping[str, bytes]:
    """Return every module and style sheet by its name."""
    return {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in (".js", ".css")}


def one_script(paths: Iterable[Path]) -> str:
    """Return modules as one script, those before that later ones import from: a page of one file loads nothing."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", path.read_text(encoding="utf-8"))) for path in paths)


def component(name: str) -> Path:
    """Return the path of a component."""
    return _FOLDER / name
