"""From the words of the command line to profiles, rules and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from shardproof.formulations.placement.problem import PlacementRules, check_rules
from shardproof.instances.load_profile.formats import read_rows
from shardproof.instances.load_profile.profile import LoadProfile
from shardproof.instances.load_profile.read import fitted, load_profile, serve_profiles
from shardproof.instances.reading import is_file, refuse, validate
from shardproof.instances.units import parse_quantity, parse_ratio
from shardproof.solver.placement.exporters.placement_files import (
    PLACEMENT_EXPORTERS,
    PlacementExporter,
    placement_exporter,
)
from shardproof.solver.placement.subject import Subject, find_subject
from shardproof.solver.placement.work import PlaceSettings


@dataclass(frozen=True)
class PlaceRequest:
    """Everything that `shardproof place` was asked for."""

    subject: Subject
    profiles: tuple[LoadProfile, ...]
    rules: PlacementRules
    settings: PlaceSettings
    current: list[list[int]] | None
    max_imbalance: Fraction | None
    exports: tuple[tuple[PlacementExporter, Path], ...]
    current_file: str = "--from"


def place_request(options: dict[str, Any]) -> PlaceRequest:
    """Read and check the command's options; raises `InputError` before any search begins."""
    subject = find_subject(
        instance=options["instance"],
        model=options["model"],
        experts=options["experts"],
        layers=options["layers"],
    )
    fields = ("ranks", "redundant", "split", "distinct", "uneven", "groups", "nodes")
    exports = tuple(_export(text) for text in options["exports"])
    stated = {name: options[name] for name in fields}
    distinct = stated["distinct"] or any(exporter.distinct for exporter, _ in exports)
    rules = validate(PlacementRules, {**stated, "distinct": distinct}, where="placement")
    profiles = _profiles(options, subject)
    if options["max_imbalance"] is None:
        check_rules(rules, profiles[0].experts)
    return PlaceRequest(
        subject=subject,
        profiles=profiles,
        rules=rules,
        settings=_settings(options),
        current=_current(options["current"], profiles[0]),
        max_imbalance=_imbalance(options["max_imbalance"]),
        exports=exports,
        current_file=str(options["current"] or "--from"),
    )


def _profiles(options: dict[str, Any], subject: Subject) -> tuple[LoadProfile, ...]:
    if isinstance(subject.profile, LoadProfile) and not options["profiles"]:
        return (fitted(subject.profile, layers=subject.layers, experts=subject.experts),)
    sources: Sequence[str] = options["profiles"] or ((subject.profile,) if isinstance(subject.profile, str) else ())
    if not sources:
        raise refuse("place", "name a file, or uniform, zipf:0.9, lognormal:1.0", field="--profile")
    loaded = [
        load_profile(source, layers=subject.layers, experts=subject.experts, seed=options["seed"] + number)
        for number, source in enumerate(sources)
    ]
    weights = [_fraction(text, "--weights") for text in (options["weights"] or "").split(",") if text]
    return serve_profiles(loaded, serve="weighted" if weights else options["serve"], weights=weights)


def _settings(options: dict[str, Any]) -> PlaceSettings:
    try:
        seconds = float(parse_quantity(options["time_limit"], "duration")) / 1e9
    except ValueError as error:
        raise refuse("place", str(error), field="--time-limit", value=options["time_limit"]) from None
    gap = _fraction(options["target_gap"], "--gap")
    return PlaceSettings(time_limit=seconds, seed=options["seed"], workers=options["workers"], target_gap=float(gap))


def _imbalance(text: str | None) -> Fraction | None:
    if text is None:
        return None
    value = _fraction(text, "--max-imbalance")
    if value < 1:
        raise refuse("place", "is largest over mean rank load: 1 or more", field="--max-imbalance", value=text)
    return value


def _fraction(text: str, field: str) -> Fraction:
    try:
        value = parse_ratio(text)
    except ValueError as error:
        raise refuse("place", str(error), field=field, value=text) from None
    if value < 0:
        raise refuse("place", "must not be negative", field=field, value=text)
    return value


def _current(path: Path | None, profile: LoadProfile) -> list[list[int]] | None:
    """Read the placement in force: a `physical_to_logical_map` file, as SGLang takes and `place` prints."""
    if path is None:
        return None
    if not is_file(path):
        raise refuse(str(path), "no such file; give a JSON file with physical_to_logical_map", field="--from")
    rows = read_rows(path, key="physical_to_logical_map")
    wrong = next((cell for row in rows for cell in row if Fraction(cell).denominator != 1), None)
    if wrong is not None:
        raise refuse(str(path), "experts are whole numbers", field="physical_to_logical_map", value=str(wrong))
    if len(rows) > profile.layers:  # dense layers included, as in SGLang's file: the last ones are experts'
        rows = rows[len(rows) - profile.layers :]
    return [[int(cell) for cell in row] for row in rows]


def _export(text: str) -> tuple[PlacementExporter, Path]:
    name, _, path = text.partition("=")
    exporter = placement_exporter(name)
    known = ", ".join(found.name for found in PLACEMENT_EXPORTERS)
    if exporter is None and name.startswith("vllm"):
        remedy = f"upstream vLLM imports no placement (vllm-ascend does); write ENGINE=FILE with one of {known}"
        raise refuse("place", remedy, field="--export", value=text)
    if exporter is None or not path:
        raise refuse("place", f"write ENGINE=FILE with one of {known}", field="--export", value=text)
    return exporter, Path(path)
