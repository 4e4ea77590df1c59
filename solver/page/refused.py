"""What a question on a page may not name: a file of this machine, since questions may come from links."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shardproof.instances.catalogue import is_plain_name
from shardproof.instances.load_profile.synthetic import is_synthetic
from shardproof.instances.reading import refuse
from shardproof.instances.speculative import canonical

REMEDY = "names a file, and a page opens none; drop the file on the page, or ask on the command line"
_DROPPED = re.compile(r"dropped-[0-9a-f]{16}-(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,80})")


def own_name(value: object) -> str | None:
    """Return the name of a file that was dropped on the page; ``None`` for whatever names none."""
    match = _DROPPED.fullmatch(value) if isinstance(value, str) else None
    return None if match is None else match["name"]


def refuse_files(tree: Mapping[str, Any]) -> None:
    """Refuse what would read a file of this machine.

    Raises
    ------
    InputError
        Naming the field.
    """
    for field, name in _offered(tree.get("devices")):
        if not is_plain_name(name):
            raise refuse("page", REMEDY, field=field, value=name[:80])
    models = tree.get("models")
    _refuse_in(tree, "")
    for place, asked in enumerate(models if isinstance(models, list | tuple) else ()):
        if isinstance(asked, Mapping):
            _refuse_in(asked, f"models.{place}.")


def _offered(devices: object) -> Iterator[tuple[str, str]]:
    """Yield every device that is offered: as text ``NAME[:phase][=count][@price],...``, or one by one."""
    listed = devices.split(",") if isinstance(devices, str) else devices
    for place, offer in enumerate(listed if isinstance(listed, list | tuple) else ()):
        device = offer.get("device") if isinstance(offer, Mapping) else offer
        if isinstance(device, str):
            name = device if isinstance(offer, Mapping) else re.split("[=@:]", device)[0]
            yield f"devices.{place}.device", name.strip()


def _refuse_in(tree: Mapping[str, Any], before: str) -> None:
    """Refuse files in what is said of one model, or of all."""
    for name, value in (*((name, tree.get(name)) for name in ("model", "device")), _draft(tree)):
        if isinstance(value, str) and not is_plain_name(value):
            raise refuse("page", REMEDY, field=f"{before}{name}", value=value[:80])
    if tree.get("calibrations"):
        raise refuse("page", REMEDY, field=f"{before}calibrations")
    profile = tree.get("load_profile")
    made_up = isinstance(profile, str) and is_synthetic(profile)
    if profile is not None and not made_up and own_name(profile) is None:
        raise refuse("page", f"{REMEDY}; zipf:0.9 and the like are made up", field=f"{before}load_profile")
    scenarios = tree.get("scenarios")
    for holder in (tree, *(scenarios if isinstance(scenarios, list | tuple) else ())):
        workload = holder.get("workload") if isinstance(holder, Mapping) else None
        trace = workload.get("trace") if isinstance(workload, Mapping) else None
        if trace is not None and own_name(trace) is None:
            raise refuse("page", REMEDY, field=f"{before}workload.trace")


def _draft(tree: Mapping[str, Any]) -> tuple[str, object]:
    """Return the field that names what guesses tokens ahead, and its value, whatever it is called there."""
    try:
        told = canonical(tree.get("speculative"))
    except ValueError:
        told = None  # refused where the question is read
    return "speculative.draft_model", told.get("draft_model") if isinstance(told, dict) else None
