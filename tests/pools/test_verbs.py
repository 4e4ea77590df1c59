"""Explanations, prices at which the answer changes, and batches of questions about pools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import shardproof
from tests.oracles.places import ROOT

MELANGE = ROOT / "instances" / "cases" / "pools" / "melange-default.yaml"


def priced(small: float, large: float) -> dict[str, Any]:
    """The published default at other prices."""
    tree: dict[str, Any] = yaml.safe_load(MELANGE.read_text(encoding="utf-8"))
    for offer, price in zip(tree["devices"], (small, large), strict=True):
        offer["price_per_hour"] = f"{price:.6f} USD/h"
    return tree


def groups(question: Any) -> list[tuple[str, int]]:
    found = shardproof.solve(question)
    assert isinstance(found, shardproof.SolvedFleet)
    assert found.plan is not None
    return sorted((group.offer, group.replicas) for group in found.plan.groups)


def test_the_answer_changes_at_the_prices_that_are_said() -> None:
    found = shardproof.sensitivity(MELANGE)
    assert isinstance(found, shardproof.FleetSensitivity)
    small, large = found.offers
    assert small["highest"] == 3.67
    assert large["lowest"] == pytest.approx(1.01)
    base = groups(MELANGE)
    for place, offer in enumerate((small, large)):
        for end, step in (("lowest", -1e-3), ("highest", 1e-3)):
            prices = [1.01, 3.67]
            prices[place] = offer[end] - step
            assert groups(priced(*prices)) == base
            prices[place] = offer[end] + step
            assert groups(priced(*prices)) != base
    assert found.growth == 1


def test_an_explanation_says_what_a_cheaper_fleet_carries_and_what_binds() -> None:
    text = str(shardproof.explain(MELANGE))
    assert "a fleet that costs less than 4.68 USD/h carries at most 83% of the demand" in text
    assert "without a10g: 7.34 USD/h" in text
    tree = priced(1.01, 3.67)
    tree["devices"][1]["available"] = {"gpus": 1}
    tree["devices"][0]["available"] = {"gpus": 3}
    tree["requests"]["long-short"] = "20/s"
    said = shardproof.explain(tree)
    assert said.exit_code == 0
    tree["devices"][0]["available"] = {"gpus": 1}
    said = shardproof.explain(tree)
    assert said.exit_code == 1
    assert any("of the demand" in reason for reason in said.reasons)
    assert any(reason.startswith("with one more node of a10g") for reason in said.reasons)


def test_a_batch_takes_fleets_as_rows(tmp_path: Path) -> None:
    sweep = {
        "name": "fleets",
        "base": {key: value for key, value in priced(1.01, 3.67).items() if key not in ("name", "devices")},
        "cross": {
            "devices": {
                "both": priced(1.01, 3.67)["devices"],
                "large": priced(1.01, 3.67)["devices"][1:],
                "cheap": priced(0.20, 3.67)["devices"],
            }
        },
    }
    sweep["base"]["capacities"] = priced(1.01, 3.67)["capacities"]
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep), encoding="utf-8")
    found = shardproof.batch(path, out=tmp_path / "run")
    rows = {row["devices"]: row for row in found.rows()}
    assert rows["both"]["price_per_hour"] == pytest.approx(4.68)
    assert rows["both"]["status"] == "optimal"
    assert rows["cheap"]["price_per_hour"] < 4.68
    assert rows["large"]["status"] == "refused"
    page = shardproof.report(tmp_path / "run")
    page.write(tmp_path / "report.html")
    assert "a10g + a100-80-sxm" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_plans_of_fleets_are_held_against_their_question() -> None:
    best = shardproof.solve(MELANGE)
    assert isinstance(best, shardproof.SolvedFleet)
    assert best.plan is not None
    tree = best.plan.model_dump(mode="json")
    two = {**tree, "groups": [dict(tree["groups"][0], replicas=2, takes=[{"name": "long-short", "rate_per_s": 2.5}])]}
    two["groups"].append(tree["groups"][1])
    two["nodes"] = [dict(node) for node in tree["nodes"]]
    two["nodes"][0] = dict(two["nodes"][0], seats=[*two["nodes"][0]["seats"], {"group": 0, "replica": 1, "gpus": [1]}])
    greedy = {**tree, "groups": [tree["groups"][0], dict(tree["groups"][1], takes=tree["groups"][1]["takes"][1:])]}
    found = shardproof.compare(best, two, greedy, instance=MELANGE)
    assert isinstance(found, shardproof.ComparedFleets)
    assert [plan.broken for plan in found.plans[:2]] == [(), ()]
    assert [plan.value for plan in found.plans[:2]] == [4.68, pytest.approx(5.69)]
    assert found.plans[2].broken == ("0.0% of short-short is carried",)
    assert "1.01 USD/h from the best" in str(found)
    assert found.exit_code == 4
