"""Corrections: planted factors are found again, every verb takes them, and none is taken unsaid."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import shardproof
from shardproof.formulations.costs.roofline import Roofline
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.cells import own_prefill_step
from shardproof.instances.correction import Correction, read_corrections
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.commands.check import command
from tests.benchmarking.test_results import PLAN, QUESTION

BURST = QUESTION | {"workload": {"kind": "burst", "batch_size": 8, "input_tokens": 2048, "output_tokens": 64}}
OPEN = QUESTION | {"workload": {"kind": "requests", "rate": "5/s", "input_tokens": 512, "output_tokens": 64}}
FLAT = QUESTION | {"efficiency": "flat"}
OWN = {"device": "h100-sxm", "engine": "vllm", "model": "qwen3-8b"}


def correction(**factors: float | str) -> Correction:
    return Correction.model_validate(OWN | {"source": "planted"} | factors)


def under(question: dict[str, Any], planted: Correction | None) -> Instance:
    return resolve_tree(question, where="test").model_copy(update={"correction": planted})


def measured(question: dict[str, Any], planted: Correction, *, gaps: bool = False) -> dict[str, Any]:
    """A result as vLLM writes it, of a plan whose times are the prediction's under planted factors."""
    load = question["workload"]
    tree: dict[str, Any] = {"request_throughput": 1.0, "completed": 80, "failed": 0}
    tree |= {"total_input_tokens": 80 * load["input_tokens"], "total_output_tokens": 80 * load["output_tokens"]}
    if load["kind"] == "requests":
        outcome = shardproof.simulate(PLAN, under(question, planted), seeds=1).outcomes[0]
        times = {name: outcome.figure(name, None).value / 1e6 for name in ("ttft", "tpot")}
    else:
        found = shardproof.predict(PLAN, under(question, planted))
        times = {"ttft": found.ttft_s * 1e3, "tpot": found.tpot_ms}
        if gaps:
            beside = next((row["time_ns"] for row in found.to_dict()["operations"] if "others" in row["name"]), 0)
            tree |= {"median_itl_ms": times["tpot"] - beside / 1e6, "mean_itl_ms": times["tpot"]}
    return tree | {f"mean_{name}_ms": value for name, value in times.items()}


def written(tmp_path: Path, tree: dict[str, Any]) -> Path:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(tree))
    return path


CASES = [
    (QUESTION, {"decode": "1.25", "prefill": "1.25", "wait": "2"}, False),
    (QUESTION, {"decode": "0.9", "prefill": "3", "wait": "0.5"}, True),
    (QUESTION | {"workload": QUESTION["workload"] | {"concurrency": 1}}, {"decode": "1.1"}, False),  # type: ignore[dict-item]
    (FLAT, {"decode": "1.3", "prefill": "1.3", "wait": "4"}, False),
    (BURST, {"decode": "1.2", "prefill": "1.5"}, False),
    pytest.param(OPEN, {"decode": "1.5", "prefill": "2"}, False, marks=pytest.mark.slow(reason="services are played")),
]


@pytest.mark.parametrize(("question", "factors", "gaps"), CASES)
def test_planted_factors_are_found_again(
    question: dict[str, Any], factors: dict[str, str], gaps: bool, tmp_path: Path
) -> None:
    planted = correction(**factors)
    path = written(tmp_path, measured(question, planted, gaps=gaps))
    found = shardproof.check(PLAN, path, question, seeds=1, correct=True).correction
    assert found is not None
    assert found.subject == planted.subject
    for name in ("decode", "prefill", "wait"):
        assert float(getattr(found, name)) == pytest.approx(float(getattr(planted, name)), rel=0.02), name
    assert "predicted" in found.source


@pytest.mark.parametrize("question", [QUESTION, FLAT, BURST])
def test_every_verb_takes_the_correction_and_says_so(question: dict[str, Any], tmp_path: Path) -> None:
    planted = correction(decode="1.5", prefill="2", wait="3")
    file = tmp_path / "ours.yaml"
    path = written(tmp_path, measured(question, planted))
    shardproof.check(PLAN, path, question, seeds=1, correct=True).write(file)
    asked = question | {"calibrations": str(file)}
    before, after = shardproof.predict(PLAN, question), shardproof.predict(PLAN, asked)
    (run,) = [json.loads(path.read_text())]
    assert after.tpot_ms == pytest.approx(run["mean_tpot_ms"], rel=2e-3)
    assert after.ttft_s * 1e3 == pytest.approx(run["mean_ttft_ms"], rel=2e-3)
    assert after.tpot_ms > 1.4 * before.tpot_ms
    solved = shardproof.solve(asked)
    assert solved.plan is not None
    assert shardproof.predict(solved.plan, asked).tpot_ms == pytest.approx(solved.result.metrics.tpot_ms)
    said = [line for line in solved.result.assumptions if line.startswith("corrected by measurement")]
    assert len(said) == 1
    assert "decode iterations x1." in said[0]
    assert "run.json" in said[0]


def test_a_correction_of_something_else_is_not_taken_and_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(yaml.safe_dump({"calibrations": [OWN | {"device": "l40s", "decode": 2, "source": "x"}]}))
    asked = resolve_tree(QUESTION | {"calibrations": [str(file)]}, where="test")
    assert asked.correction is None
    assert any("not corrected" in line for line in asked.assumptions)
    assert asked.fingerprint == resolve_tree(QUESTION, where="test").fingerprint


def test_factors_determine_the_answer_and_sources_do_not() -> None:
    plain, one, other = (under(QUESTION, item) for item in (None, correction(decode="2"), correction(decode="3")))
    again = under(QUESTION, correction(decode="2", source="another run"))
    assert len({plain.fingerprint, one.fingerprint, other.fingerprint}) == 3
    assert again.fingerprint == one.fingerprint


def test_a_file_keeps_what_it_holds_of_others(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    other = OWN | {"model": "qwen3-32b", "decode": 2, "source": "x"}
    file.write_text(yaml.safe_dump({"calibrations": [other, OWN | {"wait": 9, "source": "old"}]}))
    path = written(tmp_path, measured(QUESTION, correction(decode="1.2", prefill="1.2")))
    question, plan = tmp_path / "question.yaml", tmp_path / "plan.yaml"
    question.write_text(yaml.safe_dump(QUESTION))
    plan.write_text(yaml.safe_dump(PLAN))
    words = [str(plan), str(path), "-i", str(question), "-o", str(file), "--seeds", "1"]
    shown = CliRunner().invoke(command, words, standalone_mode=False)
    assert shown.exception is None, shown.exception
    assert "decode iterations x1.2" in shown.output
    held = read_corrections(file)
    assert [one.model for one in held] == ["qwen3-32b", "qwen3-8b"]
    assert held[1].wait == 1


def test_what_is_no_run_of_the_plan_corrects_nothing(tmp_path: Path) -> None:
    good = measured(QUESTION, correction())
    for change, said in (
        ({"mean_tpot_ms": 5000.0}, "this is no run of the plan"),
        ({"total_input_tokens": 80 * 4000}, "another load"),
        ({"failed": 10}, "10 requests failed"),
    ):
        with pytest.raises(InputError, match=said):
            shardproof.check(PLAN, written(tmp_path, good | change), QUESTION, seeds=1, correct=True)
    log = tmp_path / "log"
    log.write_text("INFO: GPU KV cache size: 1,000 tokens\n")
    with pytest.raises(InputError, match="tells no times"):
        shardproof.check(PLAN, None, QUESTION, log=log, correct=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"decode": 0}, "decode"), ({"prefill": 21}, "prefill"), ({"wait": -1}, "wait"), ({"decoding": 1}, "decoding")],
)
def test_factors_beyond_belief_are_refused(change: dict[str, float], said: str, tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(yaml.safe_dump({"calibrations": [OWN | {"source": "x"} | change]}))
    with pytest.raises(InputError, match=said):
        read_corrections(file)
    file.write_text(yaml.safe_dump({"calibrations": [OWN | {"source": "x"}] * 2}))
    with pytest.raises(InputError, match="stands twice"):
        read_corrections(file)


@pytest.mark.parametrize("question", [QUESTION, FLAT, BURST])
def test_no_correction_passes_the_datasheet(question: dict[str, Any]) -> None:
    lowest = under(question, correction(decode="0.05", prefill="0.05", wait="0"))
    cells = Deployment(lowest)
    option, step = Option(1, 1, 1, 1), own_prefill_step(lowest.scenarios[0])
    (kind,) = cells.kind_names
    roofline = Roofline(lowest.device)
    least = sum(map(roofline.picoseconds, cells.operations(kind, option, step)))
    assert cells.layer_time(kind, option, step) * 1000 >= least
    plain = Deployment(under(question, None)).layer_time(kind, option, step)
    assert Fraction(cells.layer_time(kind, option, step), plain) >= Fraction(1, 20)
