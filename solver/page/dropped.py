"""Files dropped on a page: kept for as long as it is served, and named by what they hold, so that no name is a path.

A question names such a file as ``dropped-DIGEST-NAME``; only files of this page's own folder can be named so. A model's
``config.json`` is not kept: the question holds the model itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from shardproof.instances import catalogue
from shardproof.instances.errors import InputError
from shardproof.instances.load_profile.read import load_profile
from shardproof.instances.reading import parse_mapping, refuse
from shardproof.instances.traffic.trace import read_trace
from shardproof.solver.page.questions import Asked, asked_from_file
from shardproof.solver.page.refused import own_name

MOST_BYTES = 1_400_000
MOST_FILES = 100
FOLDER = "folder of dropped files"
"""Option of an errand under which its worker puts the folder; what a page sends under that name is overwritten."""

_CONFIG = frozenset({"architectures", "model_type", "kinds"})
_ASKED = frozenset({"workload", "scenarios", "models", "devices", "limits", "capacities"})
_TRACES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


def take(options: Mapping[str, Any]) -> dict[str, Any]:
    """Read a dropped file: an instance file, a model, a trace of requests, or loads of experts.

    Raises
    ------
    InputError
        If it is none of them, or too large.
    """
    raw, name = _bytes(options.get("data")), _plain(str(options.get("name") or "file"))
    if name.endswith((".yaml", ".yml")) or (name.endswith(".json") and _has_one_of(raw, _ASKED)):
        question = asked_from_file(parse_mapping(_text(raw, name), where=name))
        return {"question": question.tree(), "shown": "an instance file"}
    with tempfile.TemporaryDirectory(prefix="shardproof-") as held:
        path = Path(held) / ("dropped-model/config.json" if name == "config.json" else name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)
        try:
            if name.endswith(".json") and _has_one_of(raw, _CONFIG):
                model = catalogue.read_model(path)
                return {"model": model.model_dump(mode="json", exclude_none=True), "shown": model.name}
            field, shown = _facts(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from None
    if options.get(FOLDER) is None:
        raise refuse("page", "keeps no files", field="data")
    return {"field": field, "value": _keep(Path(str(options.get(FOLDER))), name, raw), "shown": shown}


def by_own_names(text: str, folder: str | None) -> str:
    """Return a message that names dropped files as their owner knows them, and no folder of the server."""
    if folder is None:
        return text
    return re.sub(re.escape(f"{folder}/") + r"dropped-[0-9a-f]{16}-", "", text)


def _facts(path: Path) -> tuple[str, str]:
    """Return the field that a file is for, and what it holds in words."""
    refused: InputError | None = None
    if path.name.endswith(_TRACES):
        try:
            trace = read_trace(path)
            return "trace", f"{len(trace.requests):,} requests in {trace.seconds:,.0f} s ({trace.form})"
        except InputError as error:
            refused = error
    try:
        profile = load_profile(str(path))
    except InputError as error:
        raise refused or error from None
    return "load_profile", f"loads of {profile.layers} layers x {profile.experts} experts"


def _has_one_of(raw: bytes, keys: Set[str]) -> bool:
    """Whether it is a JSON mapping with any of some keys."""
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(tree, dict) and bool(keys & tree.keys())


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise refuse(name, "is no text in UTF-8; save it so") from None


def _bytes(data: object) -> bytes:
    if not isinstance(data, str) or len(data) > MOST_BYTES * 4 // 3 + 4:
        raise refuse("page", f"send a file of at most {MOST_BYTES / 1e6:g} MB; compress or cut it", field="data")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise refuse("page", "is no base64", field="data") from None


def _plain(name: str) -> str:
    """Return a file's name without what a path or a terminal could mistake, its ending kept."""
    kept = "".join(mark if mark.isascii() and (mark.isalnum() or mark in "-_.") else "-" for mark in name[-80:])
    return kept.lstrip(".-_") or "file"


def _keep(folder: Path, name: str, raw: bytes) -> str:
    value = f"dropped-{hashlib.sha256(raw).hexdigest()[:16]}-{name}"
    oldest = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for path in oldest[: max(0, len(oldest) - MOST_FILES + 1)]:
        path.unlink(missing_ok=True)
    (folder / value).write_bytes(raw)
    return value


def placed(asked: Asked, options: Mapping[str, Any]) -> Asked:
    """Return a question whose dropped files are named by their paths.

    Raises
    ------
    InputError
        If one of them was dropped on another page.
    """
    folder = options.get(FOLDER)
    return replace(asked, fields=_placed(asked.fields, folder), rest=_placed(asked.rest, folder))


def _placed(tree: Any, folder: str | None) -> Any:
    if isinstance(tree, Mapping):
        return {key: _placed(value, folder) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_placed(value, folder) for value in tree]
    name = own_name(tree)
    if name is None:
        return tree
    path = Path(folder or "") / str(tree)
    if folder is None or not path.is_file():
        raise refuse("page", "was dropped on another page; drop it on this one", value=name)
    return str(path)
