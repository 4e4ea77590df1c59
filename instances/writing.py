"""Writing files so that no half of one is ever seen: beside its place first, then moved there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from shardproof.instances.reading import refuse


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file; it appears whole or not at all, and one that stood there stays until then.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    raw = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe: nothing to move there
            path.write_bytes(raw)
            return
        beside.write_bytes(raw)
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path.resolve())
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise refuse(str(path), f"cannot be written ({error.strerror}); free some space or name another") from None


def write_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Write files by their paths below a folder; those that end in ``.sh`` may be run.

    A folder that is made appears with all of them or not at all; in one that stands there each file appears whole.

    Raises
    ------
    InputError
        If something else stands in their place, or they cannot be written.
    """
    place = folder if folder.is_dir() else folder.absolute().parent
    staged = place / f".{folder.name[:200]}.{os.getpid()}.part"
    try:
        for name, text in files.items():
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755 if name.endswith(".sh") else 0o644)
        if folder.exists():
            _move_into(folder, staged, files)
        else:
            staged.rename(folder)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        at = error.filename2 or error.filename
        raise refuse("--output", f"{at} cannot be made, another kind of file is there") from None
    except OSError as error:
        raise refuse(str(folder), f"cannot be written ({error.strerror}); free some space or name another") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _move_into(folder: Path, staged: Path, files: Mapping[str, str]) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / name).replace(folder / name)
