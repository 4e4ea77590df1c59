"""One question has one answer, through whichever verb, in whichever folder, on however busy a machine."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.load_profile.read import load_profile
from shardproof.instances.plan import Plan, Stage
from shardproof.instances.resolve import load_instance, resolve_tree
from shardproof.solver import problem
from shardproof.solver.analysis.conflicts import conflicts, has_plan
from shardproof.solver.analysis.inputs import inputs_of
from shardproof.solver.analysis.sensitivity import enough, plan_holds, step_at
from shardproof.solver.commands.explain import command as explain
from shardproof.solver.commands.predict import command as predict
from shardproof.solver.commands.verify import command as verify
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.proof.certificate import certificate_document
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve

CONFIDENT = {
    "model": "qwen3-30b-a3b",
    "device": "h100-sxm",
    "engine": "vllm",
    "confidence": "90%",
    "workload": {"kind": "closed-loop", "concurrency": 4, "input_tokens": 2048, "output_tokens": 512},
    "limits": {"max_gpus": 4},
}
FLAGS = (
    "--model qwen3-30b-a3b --device h100-sxm --engine vllm --isl 2048 --osl 512 --concurrency 4 --max-gpus 4 "
    "--confidence 90%"
).split()


def confident(**limits: str) -> Instance:
    return resolve_tree(CONFIDENT | {"limits": CONFIDENT["limits"] | limits}, where="x")  # type: ignore[operator]


@pytest.fixture(scope="module")
def between() -> int:
    """A TPOT limit, ns, that plans keep by the prediction but not with 90 % confidence."""

    def least(**changes: object) -> int:
        low, high = 100_000, 10**9
        while high - low > low // 50:
            middle = (low + high) // 2
            tree = CONFIDENT | changes | {"limits": {"max_gpus": 4, "tpot": f"{middle} ns"}}
            low, high = (low, middle) if has_plan(resolve_tree(tree, where="x")) else (middle, high)
        return high

    doubtful, plain = least(), least(confidence=None)
    assert plain * 11 < doubtful * 10
    return (doubtful + plain) // 2


def skewed(folder: Path, name: str, rows: list[list[float]], **changes: Any) -> Path:
    """An instance file beside a load profile."""
    folder.mkdir(exist_ok=True)
    profile = folder / name
    if name.endswith(".csv"):
        lines = (f"{layer},{e},{load}" for layer, row in enumerate(rows) for e, load in enumerate(row))
        profile.write_text("layer,expert,load\n" + "\n".join(lines))
    else:
        profile.write_text(json.dumps({"loads": rows}))
    tree = {
        "model": "qwen3-30b-a3b",
        "device": "l4",
        "max_stage_gpus": 4,
        "load_profile": name,
        "workload": {"kind": "burst", "batch_size": 16, "input_tokens": 1024, "output_tokens": 128},
        "limits": {"max_gpus": 4, "ttft": "60 s"},
    }
    file = folder / "case.yaml"
    file.write_text(yaml.safe_dump(tree | changes))
    return file


ROWS = [
    [1 + (expert * 7 + layer) % 13 + (900 if expert == layer else 0) for expert in range(128)] for layer in range(48)
]
"""Expert l of layer l takes more than all the others together."""

QUICK = Settings(certify=False, explain=False)


@pytest.fixture
def _little_effort(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Place experts with less effort: what is tested holds for any."""
    monkeypatch.setattr(problem, "PLACEMENT_EFFORT", 2_000_000)
    problem._placed.cache_clear()
    yield
    problem._placed.cache_clear()


pytestmark = pytest.mark.usefixtures("_little_effort")


def test_what_solve_cannot_do_explain_does_not_promise(between: int) -> None:
    """Every conflict's way out is one that `solve` takes, and one step less is none."""
    found = conflicts(confident(tpot=f"{between} ns"))
    needed = next(item.needed for item in found if item.name == "TPOT")
    assert needed is not None
    assert needed > between
    assert solve(confident(tpot=f"{needed} ns"), settings=QUICK).status == "optimal"
    assert solve(confident(tpot=f"{needed * 999 // 1000} ns"), settings=QUICK).status == "infeasible"


def test_explain_names_no_alternative_that_solve_refuses(between: int) -> None:
    asked_for = ["--tpot", f"{between}ns", *FLAGS]
    document = json.loads(CliRunner().invoke(explain, [*asked_for, "--json"], standalone_mode=False).output)
    assert document["status"] == "infeasible"
    plain = json.loads(CliRunner().invoke(explain, [*asked_for[:-2], "--json"], standalone_mode=False).output)
    assert plain["status"] == "optimal"
    for sentence in document["alternatives"]:
        gpus = int(sentence.split(": ")[1].split()[0])
        limits = {"max_gpus": 4, "tpot": f"{between} ns"}
        asked = resolve_tree(CONFIDENT | {"precision": {"kv_cache": "fp8"}, "limits": limits}, where="x")
        assert solve(asked, settings=QUICK).gpus == gpus


def test_sensitivity_keeps_the_confidence(between: int) -> None:
    instance = confident(tpot="40 ms")
    result = solve(instance, settings=QUICK)
    assert result.plan is not None
    assert result.gpus is not None
    assert plan_holds(instance, result.plan)
    assert step_at(instance, 0).gpus == result.gpus
    tpot = next(item for item in inputs_of(instance) if item.name == "tpot limit")
    assert enough(tpot.changed(40_000_000), result.gpus)
    assert not has_plan(tpot.changed(between))
    tight = tpot.changed(int(result.metrics.tpot_ms * 1e6) + 1)
    assert not plan_holds(tight, result.plan)


def test_predict_takes_the_confidence_of_the_file(tmp_path: Path) -> None:
    file, plan = tmp_path / "case.yaml", tmp_path / "plan.json"
    file.write_text(yaml.safe_dump(CONFIDENT | {"limits": {"max_gpus": 4}}))
    result = solve(load_instance(file), settings=QUICK)
    plan.write_text(json.dumps(result.to_json()))
    run = CliRunner().invoke(predict, [str(plan), "-i", str(file), "--json"], standalone_mode=False)
    assert json.loads(run.output)["confidence"]["tpot_ms"]["level"] == 0.9


def test_every_figure_of_a_skewed_plan_is_the_one_that_was_solved(tmp_path: Path) -> None:
    instance = load_instance(skewed(tmp_path, "loads.json", ROWS))
    result = solve(instance, settings=QUICK)
    assert result.plan is not None
    assert evaluate(instance, result.plan).ttft == round(result.metrics.ttft_s * 1e9)
    wide = Stage(layers=(0, 47), gpus=4, attn_tp=1, attn_dp=4, moe_tp=1, moe_ep=4)
    plan = Plan(replicas=1, microbatch_tokens=16384, stages=(wide,))
    equal = instance.model_copy(update={"load_profile": None})
    assert evaluate(instance, plan).ttft > 1.2 * evaluate(equal, plan).ttft


def test_a_load_profile_counts_by_its_loads(tmp_path: Path) -> None:
    one = load_instance(skewed(tmp_path / "one", "loads.json", ROWS))
    other = load_instance(skewed(tmp_path / "other", "elsewhere.csv", ROWS))
    assert one.fingerprint == other.fingerprint
    changed = [[*ROWS[0][:-1], ROWS[0][-1] + 1], *ROWS[1:]]
    assert load_instance(skewed(tmp_path / "third", "loads.json", changed)).fingerprint != one.fingerprint


def test_price_and_place_determine_nothing(tmp_path: Path) -> None:
    plain = load_instance(skewed(tmp_path / "one", "loads.json", ROWS))
    dear = load_instance(skewed(tmp_path / "two", "loads.json", ROWS, hardware={"price_per_hour": "9 USD/h"}))
    assert plain.fingerprint == dear.fingerprint


def test_a_missing_profile_is_refused_when_the_instance_is_read(tmp_path: Path) -> None:
    file = skewed(tmp_path, "loads.json", ROWS)
    (tmp_path / "loads.json").unlink()
    with pytest.raises(InputError, match=r"load_profile: loads\.json: is no file"):
        load_instance(file)


@pytest.mark.slow(reason="a plan of a skewed model is solved, certified and verified")
def test_a_certificate_holds_in_another_folder_and_without_haste(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = skewed(tmp_path / "here", "loads.json", ROWS)
    instance = load_instance(file)
    result = solve(instance, settings=Settings(explain=False))
    assert result.evidence is not None
    certificate = tmp_path / "cert.json"
    certificate.write_text(json.dumps(certificate_document(result.evidence, instance)))
    shutil.move(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    problem._placed.cache_clear()
    run = CliRunner().invoke(verify, [str(certificate), "--instance", "case.yaml"], standalone_mode=False)
    assert run.return_value == 0, run.output


def test_placement_is_the_same_however_the_clock_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = load_profile("zipf:0.9", layers=4, experts=128)
    usual = problem._placed(profile, 32)
    problem._placed.cache_clear()
    ticks = itertools.count(time.monotonic(), 100.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    assert problem._placed(profile, 32) == usual
    problem._placed.cache_clear()
    monkeypatch.setattr(problem, "PLACEMENT_EFFORT", 0)
    assert problem._placed(profile, 32) != usual
