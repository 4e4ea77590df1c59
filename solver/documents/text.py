"""Untrusted text: read within limits, and made harmless before it is shown."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from shardproof.instances.errors import InputError, Problem

MAX_BYTES = 512_000
MAX_LINES = 60_000
MAX_LINE = 600

_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")
_SPACES = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f\u3000"), " ")
_MARKS = {ord("×"): "x", ord("·"): "*", ord("≤"): "<=", ord("≥"): ">=", ord("≈"): "~", ord("µ"): "u"}
_PLAIN = {**_DASHES, **_SPACES, **_MARKS}


def read_document_text(path: Path) -> str:
    """Read a document of sane size as text; what is no UTF-8 is replaced, never guessed.

    Raises
    ------
    InputError
        If the file cannot be read, is binary or larger than `MAX_BYTES`.
    """
    try:
        if path.is_dir():
            raise _refuse(path, "is a folder; name a plan in it")
        if path.stat().st_size > MAX_BYTES:
            raise _refuse(path, f"is larger than {MAX_BYTES // 1000} kB; this is no plan document")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the name is not valid"
        raise _refuse(path, f"cannot be read ({reason}); check the path") from None
    return decode(raw, name=str(path))


def decode(raw: bytes, *, name: str) -> str:
    """Turn the bytes of a document into text."""
    if len(raw) > MAX_BYTES:
        raise _refuse(name, f"is larger than {MAX_BYTES // 1000} kB; this is no plan document")
    if b"\x00" in raw:
        raise _refuse(name, "is binary; give a plan as text (Markdown, YAML, JSON or a command line)")
    text = raw.decode("utf-8", errors="replace").removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.count("\n") > MAX_LINES:
        raise _refuse(name, f"has more than {MAX_LINES} lines; this is no plan document")
    if text.count("\ufffd") > max(20, len(text) // 20):
        raise _refuse(name, "is not UTF-8 text; save it as UTF-8")
    return text


def printable(text: str, *, limit: int = 160) -> str:
    """Return text without control, format and direction characters, shortened for display."""
    shown = "".join(
        "\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else character
        for character in text[: limit * 2].replace("\t", " ")
    ).strip()
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def plain(text: str) -> str:
    """Replace typographic dashes, spaces and signs by their ASCII form, character by character."""
    return text.translate(_PLAIN)


def _refuse(where: object, remedy: str) -> InputError:
    return InputError([Problem(where=printable(str(where)), field="", value="", remedy=remedy)])
