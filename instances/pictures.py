"""Whether a picture can be drawn: asked before the work whose outcome it shows."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from shardproof.instances.reading import refuse

ENDINGS = (".png", ".svg", ".pdf")


def check_picture(path: Path) -> None:
    """Refuse a file that no picture can be written to.

    Raises
    ------
    InputError
        If it has another ending, or matplotlib is not installed.
    """
    if path.suffix.lower() not in ENDINGS:
        raise refuse(str(path), f"ends in none of {', '.join(ENDINGS)}; name the picture so")
    if find_spec("matplotlib") is None:
        raise refuse(str(path), "drawing needs matplotlib: pip install 'shardproof[plot]'")
