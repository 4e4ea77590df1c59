"""`shardproof predict`: one document, both bases, intervals, and the fit behind it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import shardproof
from benchmarks.fidelity.hierarchy import Level, Prior, fit
from benchmarks.fidelity.serving_arrays import TERM_CLASSES, Arrays
from shardproof.formulations.costs.serving.factors import Setting
from shardproof.instances.errors import InputError
from shardproof.solver.commands.predict import command

PLAN = {
    "replicas": 1,
    "microbatch_tokens": 2048,
    "stages": [
        {"layers": [0, 79], "gpus": 4, "attn_tp": 4, "attn_dp": 1, "moe_tp": 4, "moe_ep": 1},
    ],
}
FLAGS = ["--model", "llama-3.1-70b-fp8", "--device", "b200-sxm", "--engine", "vllm", "--isl", "1024", "--osl", "1024"]


@pytest.fixture
def plan(tmp_path: Path) -> str:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN))
    return str(path)


def run(*arguments: str) -> dict[str, object]:
    found = CliRunner().invoke(command, [*arguments, "--json"], standalone_mode=False, catch_exceptions=False)
    tree: dict[str, object] = json.loads(found.stdout)
    return tree


def test_a_closed_loop_is_predicted_with_its_doubt(plan: str) -> None:
    tree = run(plan, *FLAGS, "--concurrency", "64", "--confidence", "90%")
    assert tree["basis"] == "serving factors fitted to measurements"
    operations = tree["operations"]
    assert isinstance(operations, list)
    assert sum(one["time_ns"] for one in operations) == pytest.approx(1e6 * float(str(tree["tpot_ms"])), rel=1e-4)
    interval = tree["confidence"]["tpot_ms"]  # type: ignore[index]
    assert interval["low"] < tree["tpot_ms"] < interval["high"]
    assert interval["standing"] == "known"
    assert tree["engine_memory"]["kv_tokens"] > 0  # type: ignore[index]


def test_a_burst_is_predicted_by_the_instance_itself(plan: str) -> None:
    tree = run(plan, *FLAGS, "--batch-size", "8", "--mfu", "0.5")
    assert tree["basis"] == "operations of the instance's clock"
    assert set(tree) >= {"ttft_s", "tpot_ms", "operations", "memory_bytes"}


def test_people_get_tables(plan: str) -> None:
    found = CliRunner().invoke(
        command, [plan, *FLAGS, "--concurrency", "8", "--confidence", "80%"], standalone_mode=False
    )
    assert "TPOT" in found.stdout
    assert "80% of measurements" in found.stdout


def synthetic(count: int) -> tuple[Arrays, np.ndarray]:
    source = np.random.default_rng(5)
    features = source.uniform(0.1, 2.0, (count, len(TERM_CLASSES)))
    truth = source.normal(0.0, 0.2, len(TERM_CLASSES))
    engines = [("fast", -0.3), ("slow", 0.3)]
    picks = source.integers(0, 2, count)
    shift = np.array([engines[pick][1] for pick in picks])
    target = np.log((np.exp(truth) * features).sum(axis=1)) + shift + source.normal(0.0, 0.01, count)
    settings = tuple(Setting("a", "d", "f", engines[pick][0], "bf16", "h") for pick in picks)
    return Arrays(features, np.zeros((count, 2)), target, settings, tuple("l" for _ in picks)), shift


def test_the_fit_recovers_a_known_hierarchy_and_shrinks_what_it_never_saw() -> None:
    rows, _ = synthetic(400)
    prior = Prior(np.zeros(len(TERM_CLASSES)), np.full(len(TERM_CLASSES), 0.5))
    fitted = fit(rows, [Level(("engine",), "all", (0.5,))], prior, scale=np.full(400, 0.02))
    assert float(np.median(np.abs(fitted.predict(rows) - rows.target))) < 0.02
    fast, slow = (float(fitted.deviations[0][name][0]) for name in ("fast", "slow"))
    assert slow - fast == pytest.approx(0.6, abs=0.05)
    stranger = Arrays(
        rows.features[:1], rows.floors[:1], rows.target[:1], (Setting("a", "d", "f", "new", "bf16", "h"),), ("l",)
    )
    assert np.allclose(fitted.logs(stranger)[0], fitted.base)


def judged(plan: str, *arguments: str) -> tuple[int, list[str]]:
    """Exit code, and the groups of what the plan breaks."""
    found = CliRunner().invoke(command, [plan, *arguments, "--json"], standalone_mode=False, catch_exceptions=False)
    return int(found.return_value), [broken["group"] for broken in json.loads(found.stdout)["violations"]]


def test_a_plan_that_starts_breaks_nothing(plan: str) -> None:
    assert judged(plan, *FLAGS, "--concurrency", "8") == (0, [])


@pytest.mark.parametrize(
    ("flags", "group"),
    [
        (["--concurrency", "8", "--max-gpus", "2"], "max_gpus"),
        (["--concurrency", "8", "--tpot", "1ms"], "tpot[main]"),
        (["--batch-size", "8", "--ttft", "1ms"], "ttft[main]"),
        (["--batch-size", "800", "--memory", "40 GB"], "memory[main]"),
        (["--batch-size", "64", "--max-num-seqs", "8"], "running[max_num_seqs]"),
        (["--concurrency", "1", "--memory", "18 GB"], "memory[main]"),
    ],
)
def test_every_limit_is_judged(plan: str, flags: list[str], group: str) -> None:
    code, groups = judged(plan, *FLAGS, *flags)
    assert code == 4
    assert group in groups


def test_requests_of_a_closed_loop_without_room_wait(plan: str) -> None:
    assert judged(plan, *FLAGS, "--concurrency", "4000") == (0, [])


def test_a_limit_of_running_requests_makes_the_others_wait(plan: str) -> None:
    asked = [*FLAGS, "--concurrency", "64"]
    free, told = run(plan, *asked), run(plan, *asked, "--max-num-seqs", "8")
    assert judged(plan, *asked, "--max-num-seqs", "8") == (0, [])
    assert (free["running_requests"], told["running_requests"]) == (64, 8)
    assert float(str(told["ttft_s"])) > float(str(free["ttft_s"]))
    assert float(str(told["tpot_ms"])) < float(str(free["tpot_ms"]))


def test_requests_that_wait_hold_no_cache(plan: str) -> None:
    """The table of memory shows what lies on a device, not what all requests would take."""
    device = [*FLAGS[:2], "--device", "h100-sxm", *FLAGS[4:6]]
    flags = [*device, "--isl", "60000", "--osl", "1024", "--concurrency", "100"]
    found = CliRunner().invoke(command, [plan, *flags, "--json"], standalone_mode=False, catch_exceptions=False)
    tree = json.loads(found.stdout)
    assert tree["running_requests"] < tree["requests_in_flight"] == 100
    assert sum(tree["memory_bytes"].values()) < 80 * 2**30


def test_engine_rules_are_judged(tmp_path: Path) -> None:
    """1536 / 8 = 192 is no multiple of the block of 128."""
    stage = {"layers": [0, 93], "gpus": 8, "attn_tp": 8, "attn_dp": 1, "moe_tp": 8, "moe_ep": 1}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN | {"stages": [stage]}))
    asked = ["--model", "qwen3-235b-a22b-fp8", "--device", "h100-sxm", "--isl", "1024", "--osl", "256"]
    code, groups = judged(str(path), *asked, "--concurrency", "4", "--engine", "vllm")
    assert code == 4
    assert any(group.startswith("engine:") for group in groups)


@pytest.mark.parametrize(
    ("layers", "words"),
    [([[0, 79]], "80 layers, llama-3.1-8b has 32"), ([[0, 9], [12, 31]], "starts at layer 12, where 10 is next")],
)
def test_a_plan_of_another_model_is_refused(tmp_path: Path, layers: list[list[int]], words: str) -> None:
    shape = {"gpus": 1, "attn_tp": 1, "attn_dp": 1, "moe_tp": 1, "moe_ep": 1}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN | {"stages": [shape | {"layers": pair} for pair in layers]}))
    flags = ["--model", "llama-3.1-8b", "--device", "h100-sxm", "--isl", "1024", "--osl", "256", "--batch-size", "4"]
    with pytest.raises(InputError, match=words):
        CliRunner().invoke(command, [str(path), *flags], standalone_mode=False, catch_exceptions=False)


def test_every_term_of_the_fit_has_words() -> None:
    """No term is printed by its name in the code."""
    from shardproof.formulations.costs.serving.work import TERMS
    from shardproof.solver.writers.term_words import WORDS

    assert set(TERMS) <= set(WORDS)


def test_the_chunk_that_a_line_states_is_the_engine_s() -> None:
    """Iterations of the default are what a line without the flag runs; smaller ones make a first token wait."""
    question = {
        "model": "qwen3-32b",
        "device": "h100-sxm",
        "engine": {"name": "vllm"},
        "workload": {"kind": "closed-loop", "concurrency": 48, "input_tokens": 1000, "output_tokens": 400},
    }
    line = "vllm serve Qwen/Qwen3-32B --tensor-parallel-size 8 --max-num-seqs 64"
    usual = shardproof.predict(line, question)
    told = shardproof.predict(f"{line} --max-num-batched-tokens 8192", question)
    small = shardproof.predict(f"{line} --max-num-batched-tokens 512", question)
    assert usual.ttft_s == told.ttft_s < small.ttft_s
