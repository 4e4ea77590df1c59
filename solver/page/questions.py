"""Questions as the page holds them: fields as people type them, devices side by side, and what no field says.

A page may name catalogue items only: a path in a question, which a link may have brought, is refused.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from shardproof.instances.instance import Instance
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.reading import parse_mapping, refuse
from shardproof.solver.api.question import FIELDS, Fields, asked_from, tree_of, whole_number
from shardproof.solver.page.refused import own_name, refuse_files

MOST_DEVICES = 40
LONGEST_FIELD, LONGEST_LIST = 300, 4000
_WORKLOADS = {"burst": "batch_size", "closed-loop": "concurrency", "requests": "request_rate"}


@dataclass(frozen=True)
class Asked:
    """A question to the page: fields under the names of flags, without the device; ``rest`` as in an instance file."""

    fields: Mapping[str, Any]
    devices: tuple[str, ...] = ()
    rest: Mapping[str, Any] = field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"fields": dict(self.fields), "devices": list(self.devices), "rest": dict(self.rest)}


def asked_of(tree: Any) -> Asked:
    """Read a question that a page sent.

    Raises
    ------
    InputError
        If it is no question, or a field is unknown, too long or of another kind.
    """
    if not isinstance(tree, Mapping):
        raise refuse("page", "is no question; send a mapping with fields and devices")
    fields, devices, rest = tree.get("fields", {}), tree.get("devices", ()), tree.get("rest", {})
    if not (isinstance(fields, Mapping) and isinstance(devices, list | tuple) and isinstance(rest, Mapping)):
        raise refuse("page", "is no question; send fields and rest as mappings, and a list of devices")
    if len(devices) > MOST_DEVICES:
        raise refuse("page", f"at most {MOST_DEVICES} side by side", field="devices", value=str(len(devices)))
    return Asked(
        fields={name: value for name in fields if (value := _typed(str(name), fields[name])) is not None},
        devices=tuple(_short("device", device) for device in devices),
        rest=dict(rest),
    )


def _typed(name: str, value: Any) -> Any:
    """Read what was typed into a field as the kind that the field has (``None``: nothing)."""
    if name not in FIELDS or name == "device":
        raise refuse("page", f"is no field; fields: {', '.join(FIELDS)}", field=name[:40])
    if value is None or value == "":
        return None
    kind = _kind(name)
    if kind.startswith("bool"):
        return _yes_or_no(name, value)
    text = _short(name, value).strip()
    if not text:
        return None
    return whole_number(text, name) if kind.startswith("int") else text


def _kind(name: str) -> str:
    stated = Fields.__annotations__[name]
    return str(getattr(stated, "__forward_arg__", stated))


def _yes_or_no(name: str, value: Any) -> bool:
    known = {"true": True, "false": False, "yes": True, "no": False}
    found = known.get(str(value).lower())
    if found is None:
        raise refuse("page", "write true or false", field=name, value=_short(name, value))
    return found


def _short(name: str, value: Any) -> str:
    most = LONGEST_LIST if name == "devices" else LONGEST_FIELD
    if isinstance(value, list | Mapping) or len(str(value)) > most:
        raise refuse("page", f"write at most {most} characters", field=name)
    return str(value)


def tree_for(asked: Asked, device: str | None) -> dict[str, Any]:
    """Return the fields of the instance file that asks this of one device.

    Raises
    ------
    InputError
        If a field is wrong, or names a file.
    """
    fields = dict(asked.fields) | ({"device": device} if device else {})
    tree = tree_of(asked.rest or None, fields)[0]
    refuse_files(tree)
    return tree


def question_for(
    asked: Asked, device: str | None, place: Callable[[Asked], Asked] = lambda question: question
) -> Instance | PoolsQuestion:
    """Return the resolved question to one device, or to a fleet; ``place`` turns names of dropped files into paths.

    Raises
    ------
    InputError
        If the question is wrong or incomplete, or names a file that was not dropped.
    """
    refuse_files(tree_for(asked, device))
    found = place(asked)
    fields = dict(found.fields) | ({"device": device} if device else {})
    return asked_from(dict(found.rest) or None, fields)


def written(asked: Asked, device: str | None) -> dict[str, Any]:
    """Return the question as an instance file and as a command line."""
    tree = _by_own_names(tree_for(asked, device))
    tree["name"] = "page" if tree.get("name") in (None, "command-line") else tree["name"]
    plain = json.loads(json.dumps(tree, default=str))
    words = ["shardproof", "solve"]
    if asked.rest:
        words.append("question.yaml")
    for name in FIELDS:
        value = device if name == "device" else _by_own_names(asked.fields.get(name))
        if value is None or value is False:
            continue
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return {
        "file": yaml.safe_dump(plain, sort_keys=False, allow_unicode=True),
        "command": shlex.join(words),
        "needs_file": bool(asked.rest),
    }


def _by_own_names(tree: Any) -> Any:
    """Name dropped files as their owner knows them."""
    if isinstance(tree, Mapping):
        return {key: _by_own_names(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_by_own_names(value) for value in tree]
    return own_name(tree) or tree


def read_question(text: str) -> Asked:
    """Read an instance file (YAML or JSON) or a ``shardproof solve`` command line that was pasted.

    Raises
    ------
    InputError
        If it is neither.
    """
    stripped = text.strip()
    if not stripped:
        raise refuse("pasted text", "is empty; paste an instance file or a shardproof command line")
    if _is_command(stripped):
        return _from_command(stripped)
    return asked_from_file(parse_mapping(stripped, where="pasted text"))


def _is_command(text: str) -> bool:
    first = text.lstrip("$ ").split(None, 1)[0]
    return first.startswith("--") or first.rsplit("/", 1)[-1] == "shardproof"


def _from_command(text: str) -> Asked:
    try:
        words = shlex.split(text.lstrip("$ ").replace("\\\n", " "))
    except ValueError as error:
        raise refuse("pasted command", f"{error}; paste the whole line") from None
    words = words[2:] if words and not words[0].startswith("--") else words
    fields: dict[str, Any] = {}
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if not word.startswith("--"):
            raise refuse(
                "pasted command", "names a file, and a page opens none; paste the file's text", value=word[:80]
            )
        if name not in FIELDS:
            raise refuse("pasted command", "is no flag of a question", field=word[:60])
        if _kind(name).startswith("bool") and not equals:
            fields[name] = True
        elif equals or words:
            fields[name] = value if equals else words.pop(0)
        else:
            raise refuse("pasted command", "needs a value", field=word[:60])
    device = fields.pop("device", None)
    return asked_of({"fields": fields, "devices": [] if device is None else [device]})


def asked_from_file(tree: Mapping[str, Any]) -> Asked:
    """Split an instance file into what fields say and the rest.

    Raises
    ------
    InputError
        If a field is wrong.
    """
    rest = json.loads(json.dumps(dict(tree), default=str))
    if isinstance(rest.get("engine"), str):
        name, at, version = rest["engine"].partition("@")
        rest["engine"] = {"name": name} | ({"version": version} if at else {})
    engine = rest.get("engine")
    if isinstance(engine, dict) and "name" in engine and "version" in engine:
        engine["name"] = f"{engine['name']}@{engine.pop('version')}"
    fields, devices = _taken(rest), []
    if isinstance(fields.get("device"), str):
        devices.append(fields.pop("device"))
    if set(rest) <= {"name"}:
        rest = {}
    return asked_of({"fields": fields, "devices": devices, "rest": rest})


def _taken(rest: dict[str, Any]) -> dict[str, Any]:
    """Take the fields out of a tree, with the branches that are then empty, and the kind that a field implies."""
    fields: dict[str, Any] = {}
    for name, path in FIELDS.items():
        branch: Any = rest
        for key in path[:-1]:
            branch = branch.get(key) if isinstance(branch, dict) else None
        if isinstance(branch, dict) and isinstance(branch.get(path[-1]), str | int | float):
            fields[name] = branch.pop(path[-1])
    workload = rest.get("workload")
    if isinstance(workload, dict) and _WORKLOADS.get(workload.get("kind", "")) in fields:
        workload.pop("kind")
    for key in [key for key, value in rest.items() if value == {}]:
        rest.pop(key)
    return fields
