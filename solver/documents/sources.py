"""Sources: what a user names as a plan: a file, a folder of files, or an engine's command line itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from shardproof.instances.errors import InputError
from shardproof.solver.documents.commands import engine_of
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.reader import parse_plans, read_plans, suffix_of
from shardproof.solver.documents.statement import Document, Unread
from shardproof.solver.documents.text import MAX_BYTES, printable, read_document_text
from shardproof.solver.documents.variables import read_variables

MAX_FILES = 400
SUFFIXES = frozenset({
    ".md", ".markdown", ".txt", ".yaml", ".yml", ".json", ".sh", ".bash", ".slurm", ".sbatch", ".py", ".ipynb", ".env",
    ".service", ".conf", ".rst", ".dockerfile",
})  # fmt: skip
_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "venv"})


@dataclass(frozen=True)
class Source:
    """All plans of a source with the file of each, and the files in which there is none."""

    name: str
    plans: tuple[tuple[str, Document], ...]
    skipped: tuple[Unread, ...] = ()
    is_folder: bool = False


def read_source(source: str | Path) -> Source:
    """Read a file, every file of a folder, or a command line.

    Raises
    ------
    InputError
        If there is no plan in it.
    """
    path = Path(source)
    if isinstance(source, str) and is_command(source):
        return Source("command line", tuple(("", plan) for plan in parse_plans(source, name="command", suffix=".sh")))
    if _is_folder(path):
        return _folder(path)
    return Source(path.name, tuple((path.name, plan) for plan in read_plans(path)))


def is_command(source: str) -> bool:
    """Whether a text is an engine's command line and no path."""
    return " " in source.strip() and bool(engine_of(source) or "docker run" in source) and not _exists(source)


def _exists(source: str) -> bool:
    try:
        return os.path.exists(source)
    except ValueError:
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _folder(folder: Path) -> Source:
    """Read every file whose ending can hold a plan; what one file says of files and variables, all may use."""
    files, left_out = _files(folder)
    texts: dict[Path, str] = {}
    skipped: list[Unread] = []
    for path in files:
        try:
            texts[path] = read_document_text(path)
        except InputError as error:
            skipped.append(Unread(0, _shown(path, folder), _reason(error)))
    plans: list[tuple[str, Document]] = []
    for path, text in texts.items():
        try:
            found = parse_plans(text, name=path.name, suffix=suffix_of(path), known=_known(path, texts))
            plans += [(_shown(path, folder), plan) for plan in found]
        except InputError as error:
            skipped.append(Unread(0, _shown(path, folder), _reason(error)))
    if left_out:
        skipped.append(Unread(0, f"{left_out} more files", f"a folder is read up to {MAX_FILES} files"))
    if not plans:
        first = skipped[0].reason if skipped else "no file in it has an ending that is read"
        raise InputError(f"{printable(str(folder))}: no plan was found in the folder; {first}")
    return Source(folder.name or str(folder), tuple(plans), tuple(skipped), is_folder=True)


def _files(folder: Path) -> tuple[list[Path], int]:
    found: list[Path] = []
    beyond = 0
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS)
        for name in sorted(names):
            path = Path(root) / name
            if path.suffix.lower() in SUFFIXES or suffix_of(path) in SUFFIXES:
                if len(found) < MAX_FILES and path.is_file():
                    found.append(path)
                else:
                    beyond += 1
    return found, beyond


def _known(path: Path, texts: dict[Path, str]) -> Known:
    """Files of the folder by name, and the variables of the ``.env`` beside."""
    near = {other.name: (text, 1) for other, text in texts.items() if other != path and len(text) < MAX_BYTES}
    own = texts.get(path.parent / ".env", "")
    return Known(files=near, variables=read_variables(own).values)


def _shown(path: Path, folder: Path) -> str:
    return printable(str(path.relative_to(folder)), limit=100)


def _reason(error: InputError) -> str:
    return printable(str(error).partition("; see docs")[0], limit=200)
