"""Intervals: they nest, they fall back to wider groups, and conformal quantiles cover what they say."""

from __future__ import annotations

import random

import numpy as np
import pytest

from benchmarks.fidelity.fit_confidence import LEAST_ROWS, LEVELS, Held, by_group, conformal, residual_quantiles
from shardproof.formulations.costs.serving.architecture import device_key
from shardproof.formulations.costs.serving.confidence import (
    find_residuals,
    interval,
    load_confidence,
    parse_level,
    upper_bound,
)
from shardproof.instances.catalogue import load_device
from shardproof.instances.errors import InputError


@pytest.mark.parametrize("known", [True, False])
def test_intervals_nest_and_hold_the_prediction(known: bool) -> None:
    inner = interval(10.0, 0.5, engine="vllm", device="h200-sxm", known=known)
    outer = interval(10.0, 0.9, engine="vllm", device="h200-sxm", known=known)
    assert outer.low < inner.low < 10.0 < inner.high < outer.high
    assert outer.standing == ("known" if known else "unseen")


def test_upper_bounds_grow_with_the_level() -> None:
    bounds = [upper_bound(10.0, level, engine="vllm", device="h200-sxm") for level in (0.5, 0.8, 0.9, 0.95)]
    assert bounds == sorted(bounds)


def test_unknown_devices_fall_back_to_the_engine_and_then_to_all() -> None:
    assert find_residuals(engine="vllm", device="mi300x", quantity="tpot", known=True)[0] == "vllm|any"
    assert find_residuals(engine="mindie", device="mi300x", quantity="tpot", known=True)[0] == "any|any"


def test_the_catalogue_is_monotone() -> None:
    catalogue = load_confidence()
    assert catalogue.source
    for standings in catalogue.quantities.values():
        for groups in standings.values():
            for residuals in groups.values():
                assert list(residuals.absolute) == sorted(residuals.absolute)
                assert list(residuals.upper) == sorted(residuals.upper)
                assert len(residuals.absolute) == len(catalogue.levels)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_conformal_quantiles_cover_what_they_say(level: float) -> None:
    source = random.Random(7)
    draws = np.array([source.gauss(0.0, 0.1) * (3.0 if source.random() < 0.1 else 1.0) for _ in range(4000)])
    covered = []
    for start in range(0, 4000, 200):
        bound = conformal(np.abs(draws[start : start + 100]), level)
        covered.append(float((np.abs(draws[start + 100 : start + 200]) <= bound).mean()))
    assert float(np.mean(covered)) == pytest.approx(level, abs=0.03)


def test_quantiles_of_few_residuals_stay_within_them() -> None:
    found = residual_quantiles(np.array([0.1, -0.3, 0.2]), 3)
    assert found["count"] == 3
    assert max(found["absolute"]) == 0.3
    assert len(found["upper"]) == len(LEVELS)


@pytest.mark.parametrize(("text", "level"), [("90%", 0.9), ("0.8", 0.8), ("97.5%", 0.975)])
def test_levels_are_read(text: str, level: float) -> None:
    assert parse_level(text) == pytest.approx(level)


@pytest.mark.parametrize("text", ["100%", "ten", "0.2", "-5%", ""])
def test_levels_that_no_residual_supports_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_level(text)


def draws(engine: str, device: str, spread: float, count: int, seed: int) -> Held:
    values = np.random.default_rng(seed).normal(0.0, spread, count)
    return Held(
        values, np.full(count, engine), np.full(count, device), np.array([str(one % 20) for one in range(count)])
    )


def joined(*parts: Held) -> Held:
    return Held(*(np.concatenate([getattr(part, name) for part in parts]) for name in Held.__dataclass_fields__))


def test_a_wider_device_has_a_wider_interval_and_its_engine_still_covers() -> None:
    narrow, wide = draws("e", "narrow", 0.05, 400, 1), draws("e", "wide", 0.2, 400, 2)
    few = draws("e", "few", 0.05, LEAST_ROWS - 1, 3)
    found = by_group(joined(narrow, wide, few), draws("e", "x", 0.3, 100, 4))
    assert found["e|wide"]["absolute"][8] > 2 * found["e|narrow"]["absolute"][8]
    assert "e|few" not in found
    for place, level in ((0, 0.5), (8, 0.9)):
        inside = [np.abs(held.residual) <= found[f"e|{held.devices[0]}"]["absolute"][place] for held in (narrow, wide)]
        assert float(np.mean(inside)) == pytest.approx(level, abs=0.03)


def test_nothing_is_narrower_where_less_is_known() -> None:
    for standings in load_confidence().quantities["tpot"].values():
        for name, group in standings.items():
            engine = name.split("|")[0]
            for wider in (f"{engine}|any", "any|any"):
                pairs = zip(standings[wider].absolute, group.absolute, strict=True)
                assert wider not in standings or all(outer >= inner for outer, inner in pairs)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("device", ["h200-sxm", "l40s", "mi300x"])
@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "mindie"])
def test_a_higher_level_is_never_narrower(engine: str, device: str, known: bool) -> None:
    key = device_key(load_device(device))
    levels = [0.5 + 0.005 * step for step in range(99)]
    bounds = [upper_bound(1.0, level, engine=engine, device=key, known=known) for level in levels]
    widths = [interval(1.0, level, engine=engine, device=key, known=known).high for level in levels]
    assert bounds == sorted(bounds)
    assert widths == sorted(widths)
