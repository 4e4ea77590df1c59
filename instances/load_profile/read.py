"""Load profiles from a file or by name, fitted to a model, and several of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from pathlib import Path

from shardproof.instances.errors import InputError, Problem
from shardproof.instances.load_profile.profile import LoadProfile, Serve
from shardproof.instances.load_profile.synthetic import EXAMPLES, is_synthetic, synthetic_profile
from shardproof.instances.reading import is_file


def load_profile(source: str, *, layers: int | None = None, experts: int | None = None, seed: int = 0) -> LoadProfile:
    """Read a profile from a file, or make the synthetic one that ``source`` names.

    ``layers`` and ``experts`` are what the model has: a synthetic profile needs them, a file must
    match them. Raises `InputError` for a file that cannot be read or has another shape.
    """
    from shardproof.instances.load_profile.formats import read_rows

    if is_synthetic(source):
        return synthetic_profile(source, layers=layers or 1, experts=_needed(source, experts), seed=seed)
    path = Path(source)
    if not is_file(path):
        names = ", ".join(EXAMPLES)
        raise InputError([Problem(source, "profile", "", f"no such file; synthetic profiles are {names}")])
    rows = read_rows(path)
    profile = profile_from_rows(rows, name=path.stem, source=str(path))
    return fitted(profile, layers=layers, experts=experts)


def profile_from_rows(rows: Sequence[Sequence[int | Fraction]], *, name: str, source: str) -> LoadProfile:
    """Bring exact loads to integers over their common denominator, refusing what is no load."""
    _refuse_bad_rows(rows, source=source)
    denominator = lcm(*(Fraction(load).denominator for row in rows for load in row))
    loads = tuple(tuple(int(load * denominator) for load in row) for row in rows)
    return LoadProfile(name=name, source=source, loads=loads, denominator=denominator)


def serve_profiles(
    profiles: Sequence[LoadProfile], *, serve: Serve = "average", weights: Sequence[Fraction | int] = ()
) -> tuple[LoadProfile, ...]:
    """Return the profiles that a placement has to serve, over one denominator.

    ``average`` and ``weighted`` give one mixed profile, ``worst`` all of them: the largest rank load
    over all profiles then counts, in the profiles' own unit. Raises `InputError` for different shapes.
    """
    shapes = {(profile.layers, profile.experts) for profile in profiles}
    if len(shapes) != 1:
        found = ", ".join(f"{profile.name}: {profile.layers} x {profile.experts}" for profile in profiles)
        raise InputError([Problem("profiles", "shape", found, "give profiles of the same layers x experts")])
    if serve == "weighted":
        _refuse_bad_weights(weights, count=len(profiles))
    if serve != "worst":
        shares = [Fraction(weight) for weight in weights] if serve == "weighted" else [Fraction(1)] * len(profiles)
        return (_mixed(profiles, [share / sum(shares) for share in shares]),)
    denominator = lcm(*(profile.denominator for profile in profiles))
    return tuple(_over(profile, denominator) for profile in profiles)


def _mixed(profiles: Sequence[LoadProfile], shares: Sequence[Fraction]) -> LoadProfile:
    if len(profiles) == 1:
        return profiles[0]
    factors = [share / profile.denominator for share, profile in zip(shares, profiles, strict=True)]
    rows = [
        [
            sum((factor * load for factor, load in zip(factors, loads, strict=True)), start=Fraction(0))
            for loads in zip(*layer, strict=True)
        ]
        for layer in zip(*(profile.loads for profile in profiles), strict=True)
    ]
    name = "+".join(profile.name for profile in profiles)
    return profile_from_rows(rows, name=name, source=", ".join(profile.source for profile in profiles))


def _over(profile: LoadProfile, denominator: int) -> LoadProfile:
    factor = denominator // profile.denominator
    loads = tuple(tuple(load * factor for load in row) for row in profile.loads)
    return profile.model_copy(update={"loads": loads, "denominator": denominator})


def _needed(source: str, experts: int | None) -> int:
    if experts is None:
        raise InputError(
            [Problem(source, "experts", "", "a synthetic profile needs the number of experts: name a model")]
        )
    return experts


def fitted(profile: LoadProfile, *, layers: int | None, experts: int | None) -> LoadProfile:
    """Return the profile, after refusing one of another shape than the model's."""
    if experts is not None and profile.experts != experts:
        raise InputError(
            [Problem(profile.source, "experts", str(profile.experts), f"the model has {experts} per layer")]
        )
    if layers is not None and profile.layers != layers:
        raise InputError(
            [
                Problem(
                    profile.source,
                    "layers",
                    str(profile.layers),
                    f"the model has {layers} mixture-of-experts layers; leave dense layers out",
                )
            ]
        )
    return profile


def _refuse_bad_rows(rows: Sequence[Sequence[int | Fraction]], *, source: str) -> None:
    if not rows or not rows[0]:
        raise InputError([Problem(source, "loads", "empty", "give one row of loads per layer")])
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise InputError(
            [Problem(source, "loads", f"rows of {sorted(widths)} experts", "every layer needs the same number")]
        )
    problems = [
        Problem(source, f"loads[{layer}][{expert}]", str(load), "a load is zero or more")
        for layer, row in enumerate(rows)
        for expert, load in enumerate(row)
        if load < 0
    ]
    if problems:
        raise InputError(problems[:10])


def _refuse_bad_weights(weights: Sequence[Fraction | int], *, count: int) -> None:
    if len(weights) != count or min(weights) < 0 or sum(weights) <= 0:
        given = ", ".join(map(str, weights)) or "none"
        raise InputError([Problem("profiles", "weights", given, f"give {count} weights, none negative, not all zero")])
