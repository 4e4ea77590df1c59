"""Errands beside solving: names of the catalogue, dropped configs, pasted questions and plans, files of a target."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from shardproof.instances import catalogue
from shardproof.instances.engine import EngineName
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.reading import check_nesting, refuse
from shardproof.solver.api.audited import audit as audit_plan
from shardproof.solver.api.audited import compare as compare_plans
from shardproof.solver.api.catalogued import catalog
from shardproof.solver.api.exported import export as export_plan
from shardproof.solver.api.fleets import solved_fleet
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.documents.sources import is_command
from shardproof.solver.exporters.export import EXPORTERS
from shardproof.solver.page.answers import question_of
from shardproof.solver.page.dropped import take
from shardproof.solver.page.questions import read_question
from shardproof.solver.search.settings import Settings

Tell = Callable[[Any], None]
LONGEST_TEXT = 1_000_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def names(options: Mapping[str, Any], settings: SolveSettings, tell: Tell) -> dict[str, Any]:
    """Return every name that a question may use, with what a list shows of it."""
    del options, settings, tell
    ids: dict[str, list[str]] = {name: [] for name in catalogue.model_names()}
    for alias, name in catalogue.aliases("models").items():
        ids[name].append(alias)
    return {
        "models": [{"name": name, "ids": sorted(found)} for name, found in ids.items()],
        "devices": list(catalog("devices").devices),
        "engines": list(get_args(EngineName)),
        "targets": list(EXPORTERS),
    }


def model(options: Mapping[str, Any], settings: SolveSettings, tell: Tell) -> dict[str, Any]:
    """Return what the catalogue knows of one model."""
    del settings, tell
    name = str(options.get("name"))[:300]
    if not catalogue.is_plain_name(name):
        raise refuse("page", "names a file, and a page opens none; drop the file on the page", field="model")
    return catalog("models", name).to_dict()


def drop(options: Mapping[str, Any], settings: SolveSettings, tell: Tell) -> dict[str, Any]:
    """Read a dropped file: a model, a trace, or loads of experts."""
    del settings, tell
    return take(options)


def read(options: Mapping[str, Any], settings: SolveSettings, tell: Tell) -> dict[str, Any]:
    """Read a pasted instance file or command line as the fields of the page."""
    del settings, tell
    return read_question(_text(options)).tree()


def audit(options: Mapping[str, Any], settings: SolveSettings, tell: Tell) -> dict[str, Any]:
    """Judge a plan that was pasted: claim by claim for the question to one device, a fleet as `compare` does."""
    del tell
    text, question = _text(options), question_of(options)
    if isinstance(question, Instance) and is_command(text.strip()):
        return audit_plan(text.strip(), question, time_limit=settings.time_limit_s).to_dict()
    with tempfile.TemporaryDirectory(prefix="shardproof-") as held:
        path = Path(held) / f"plan{_ending(text)}"
        path.write_text(text, encoding="utf-8")
        try:
            if isinstance(question, PoolsQuestion):
                best = solved_fleet(question, Settings(time_limit_s=settings.time_limit_s, certify=False))
                found = compare_plans(path, instance=best).to_dict()
                return {"fleet": found | {"plans": [plan | {"plan": "pasted fleet"} for plan in found["plans"]]}}
            return audit_plan(path, question, time_limit=settings.time_limit_s).to_dict()
        except InputError as error:
            raise InputError(str(error).replace(str(path), "pasted plan").replace(path.stem, "pasted plan")) from None


def _ending(text: str) -> str:
    """Say in which form a plan was pasted: JSON, YAML whose top is a mapping, or anything else that `audit` tells."""
    if text.lstrip()[:1] in ("{", "["):
        return ".json"
    try:
        check_nesting(text, "pasted plan")
        first = next(iter(yaml.compose_all(text, Loader=_LOADER)), None)
    except InputError:
        return ".yaml"  # whose reader says what is wrong
    except (yaml.YAMLError, RecursionError, ValueError):
        return ".txt"
    return ".yaml" if isinstance(first, yaml.MappingNode) else ".txt"


def export(options: Mapping[str, Any], settings: SolveSettings, tell: Tell) -> dict[str, Any]:
    """Return the files with which a target runs the plan of an answer."""
    del settings, tell
    plan = options.get("plan")
    if not isinstance(plan, Mapping):
        raise refuse("page", "send the plan of an answer", field="plan")
    question: Any = question_of(options)  # a plan of several devices is exported for the question about them
    return export_plan(dict(plan), question, to=str(options.get("target"))).to_dict()


def _text(options: Mapping[str, Any]) -> str:
    text = options.get("text")
    if not isinstance(text, str) or len(text) > LONGEST_TEXT:
        raise refuse("page", f"send a text of at most {LONGEST_TEXT:,} characters", field="text")
    return text
