"""Results of four tools are read in one form, and held against the prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import shardproof
from shardproof.instances.errors import InputError
from shardproof.solver.benchmarking.results import read_results

QUESTION = {
    "name": "t",
    "model": "Qwen/Qwen3-8B",
    "device": "h100-sxm",
    "engine": "vllm",
    "workload": {"kind": "closed-loop", "concurrency": 16, "input_tokens": 512, "output_tokens": 64},
}
PLAN = {
    "replicas": 1,
    "microbatch_tokens": 8192,
    "model": "qwen3-8b",
    "engine": "vllm",
    "stages": [{"layers": [0, 35], "gpus": 1, "attn_tp": 1, "attn_dp": 1, "moe_tp": 1, "moe_ep": 1}],
}

VLLM = {
    "mean_ttft_ms": 100.0, "median_ttft_ms": 90.0, "p99_ttft_ms": 200.0,
    "mean_tpot_ms": 10.0, "median_tpot_ms": 9.5, "p99_tpot_ms": 12.0,
    "mean_e2el_ms": 730.0, "median_e2el_ms": 720.0, "p99_e2el_ms": 800.0,
    "request_throughput": 20.0, "output_throughput": 1280.0, "completed": 80, "failed": 0,
    "max_concurrency": 16, "total_input_tokens": 40960, "total_output_tokens": 5120, "request_rate": "inf",
}  # fmt: skip
AIPERF: dict[str, Any] = {
    "time_to_first_token": {"unit": "ms", "avg": 100.0, "p50": 90.0, "p99": 200.0, "min": 1.0, "std": 2.0},
    "inter_token_latency": {"unit": "ms", "avg": 10.0, "p50": 9.5, "p99": 12.0},
    "request_latency": {"unit": "s", "avg": 0.73, "p50": 0.72, "p99": 0.8},
    "request_throughput": {"unit": "requests/sec", "avg": 20.0},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 1280.0},
    "request_count": {"unit": "requests", "avg": 80},
    "input_sequence_length": {"unit": "tokens", "avg": 512.0},
    "output_sequence_length": {"unit": "tokens", "avg": 64.0},
}
GENAI_PERF = AIPERF | {"input_config": {"subcommand": "profile", "artifact_dir": "artifacts/genai-perf"}}


def _distribution(mean: float, p50: float, p99: float) -> dict[str, Any]:
    return {"successful": {"mean": mean, "count": 80, "percentiles": {"p01": 1.0, "p50": p50, "p99": p99}}}


GUIDELLM = {
    "benchmarks": [
        {
            "metrics": {
                "time_to_first_token_ms": _distribution(100.0, 90.0, 200.0),
                "inter_token_latency_ms": _distribution(10.0, 9.5, 12.0),
                "time_per_output_token_ms": _distribution(11.4, 11.0, 13.0),
                "request_latency": _distribution(0.73, 0.72, 0.8),
                "requests_per_second": {"successful": {"mean": 20.0}},
                "output_tokens_per_second": {"successful": {"mean": 1280.0}},
                "request_concurrency": {"successful": {"mean": 15.9}},
            }
        }
    ]
}
# Older and newer forms of the same tools: aiperf before 0.2 put metrics under records, with short tags;
# GuideLLM gives the median beside percentiles of tenths, GenAI-Perf 0.0.3 named lengths otherwise.
AIPERF_OLD: dict[str, Any] = {
    "records": {
        "ttft": {"tag": "ttft", "header": "Time to First Token"} | AIPERF["time_to_first_token"],
        **{name: {"tag": name, **value} for name, value in AIPERF.items() if name != "time_to_first_token"},
    },
    "errors_by_type": [],
    "was_cancelled": False,
}
AIPERF_LIST = {"records": list(AIPERF_OLD["records"].values())}
GENAI_PERF_OLD = {
    {"input_sequence_length": "num_input_token", "output_sequence_length": "num_output_token"}.get(name, name): value
    for name, value in GENAI_PERF.items()
}
VLLM_OLD = {key: value for key, value in VLLM.items() if key not in ("failed", "max_concurrency", "request_rate")}


def _old(mean: float, median: float, p99: float) -> dict[str, Any]:
    percentiles = {"p001": 0.1, "p01": 1.0, "p05": 2.0, "p25": 50.0, "p75": 120.0, "p99": p99, "p999": p99 + 1}
    return {"successful": {"mean": mean, "median": median, "count": 80, "percentiles": percentiles}}


GUIDELLM_OLD = {
    "benchmarks": [
        {
            "metrics": {
                **GUIDELLM["benchmarks"][0]["metrics"],
                "time_to_first_token_ms": _old(100.0, 90.0, 200.0),
                "inter_token_latency_ms": _old(10.0, 9.5, 12.0),
                "request_latency": _old(0.73, 0.72, 0.8),
            }
        }
    ]
}
OLDER = {
    "vllm bench serve": VLLM_OLD,
    "aiperf": AIPERF_OLD,
    "aiperf as a list": AIPERF_LIST,
    "GenAI-Perf": GENAI_PERF_OLD,
    "GuideLLM": GUIDELLM_OLD,
}

RESULTS = {"vllm bench serve": VLLM, "aiperf": AIPERF, "GenAI-Perf": GENAI_PERF, "GuideLLM": GUIDELLM}


def written(tmp_path: Path, tree: Any) -> Path:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(tree))
    return path


@pytest.mark.parametrize(("tool", "tree"), RESULTS.items())
def test_four_tools_say_the_same(tool: str, tree: dict[str, Any], tmp_path: Path) -> None:
    (found,) = read_results(written(tmp_path, tree))
    assert found.tool == tool
    assert {at: found.figures["ttft"][at] for at in ("mean", "p50", "p99")} == {"mean": 100, "p50": 90, "p99": 200}
    assert {at: found.figures["tpot"][at] for at in ("mean", "p50", "p99")} == {"mean": 10, "p50": 9.5, "p99": 12}
    assert found.figures["e2e"]["p99"] == pytest.approx(800)
    assert dict(found.rates) == {"requests_per_s": 20, "output_tokens_per_s": 1280}
    assert found.completed == 80


@pytest.mark.parametrize(("name", "tree"), OLDER.items())
def test_older_versions_say_the_same(name: str, tree: dict[str, Any], tmp_path: Path) -> None:
    (found,) = read_results(written(tmp_path, tree))
    assert found.tool == name.removesuffix(" as a list")
    assert {at: found.figures["ttft"][at] for at in ("mean", "p50", "p99")} == {"mean": 100, "p50": 90, "p99": 200}
    assert found.figures["tpot"]["mean"] == 10
    assert found.figures["e2e"]["p50"] == pytest.approx(720)
    if name == "GuideLLM":
        assert found.figures["ttft"]["p99.9"] == 201
        assert found.figures["ttft"]["p0.1"] == 0.1
    if "aiperf" in name or name == "GenAI-Perf":
        assert (found.input_tokens, found.output_tokens) == (512, 64)


def _statistics(mean: float, p50: float, p99: float, units: str = "ms") -> dict[str, Any]:
    return {"units": units, "mean": mean, "p50": p50, "p99": p99, "p99p9": p99 + 1, "stddev": 1.0}


LATENCY = {
    "time_to_first_token": _statistics(100.0, 90.0, 200.0),
    "time_per_output_token": _statistics(0.01, 0.0095, 0.012, "s/token"),
    "inter_token_latency": _statistics(11.0, 9.0, 30.0, "ms/token"),
    "request_latency": _statistics(0.73, 0.72, 0.8, "s"),
}
LENGTHS = {"input_length": {"mean": 512.0}, "output_length": {"mean": 64.0}}
REPORTS: dict[str, dict[str, Any]] = {
    "0.1": {
        "version": "0.1",
        "scenario": {"load": {"name": "vllm-benchmark", "args": {"max_concurrency": 16, "request_rate": "inf"}}},
        "metrics": {
            "latency": LATENCY,
            "requests": {"total": 80, **LENGTHS},
            "throughput": {"requests_per_sec": 20.0, "output_tokens_per_sec": 1280.0},
        },
    },
    "0.2": {
        "version": "0.2.1",
        "run": {"uid": "x"},
        "scenario": {"load": {"standardized": {"tool": "vllm-benchmark", "concurrency": 16, "rate_qps": float("inf")}}},
        "results": {
            "request_performance": {
                "aggregate": {
                    "latency": LATENCY,
                    "requests": {"total": 83, "failures": 3, **LENGTHS},
                    "throughput": {"request_rate": {"mean": 20.0}, "output_token_rate": {"mean": 1280.0}},
                }
            }
        },
    },
}


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
@pytest.mark.parametrize(("version", "tree"), REPORTS.items())
def test_benchmark_reports_are_read(version: str, tree: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"report{suffix}"
    path.write_text(json.dumps(tree) if suffix == ".json" else yaml.safe_dump(tree))
    (found,) = read_results(path)
    assert found.figures["ttft"] == {"mean": 100, "p50": 90, "p99": 200, "p99.9": 201}
    assert found.figures["tpot"]["p99"] == pytest.approx(12)
    assert found.figures["itl"]["mean"] == 11
    assert found.figures["e2e"]["mean"] == pytest.approx(730)
    assert (found.concurrency, found.rate, found.input_tokens) == (16, None, 512)
    assert (found.completed, found.failed) == (80, 3 if version == "0.2" else 0)
    assert found.rates == {"requests_per_s": 20, "output_tokens_per_s": 1280}


@pytest.mark.parametrize("tool", ["guidellm", "aiperf"])
def test_a_report_of_tools_whose_gaps_are_per_request(tool: str, tmp_path: Path) -> None:
    tree = json.loads(json.dumps(REPORTS["0.1"]))
    tree["scenario"]["load"]["name"] = tool
    (found,) = read_results(written(tmp_path, tree))
    assert found.figures["tpot"]["mean"] == 11
    assert "itl" not in found.figures


def test_appended_results_are_several_runs(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text("\n".join(json.dumps(VLLM | {"max_concurrency": count}) for count in (8, 16)) + "\n")
    assert [run.concurrency for run in read_results(path)] == [8, 16]
    with pytest.raises(InputError, match="holds 2 runs"):
        shardproof.check(PLAN, path, QUESTION, seeds=1, correct=True)


@pytest.mark.parametrize("tree", [{}, {"benchmarks": []}, {"request_throughput": 3}, {"time_to_first_token": {}}])
def test_other_files_are_refused_with_what_is_read(tree: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="GuideLLM or GenAI-Perf"):
        read_results(written(tmp_path, tree))


def test_a_measurement_like_the_prediction_is_inside(tmp_path: Path) -> None:
    predicted = shardproof.predict(PLAN, QUESTION)
    tree = VLLM | {"mean_tpot_ms": predicted.tpot_ms, "mean_ttft_ms": predicted.ttft_s * 1e3}
    kept = {key: value for key, value in tree.items() if "p99" not in key and "median" not in key}
    found = shardproof.check(PLAN, written(tmp_path, kept), QUESTION, seeds=1)
    verdicts = {row["quantity"]: row["verdict"] for row in found.rows() if row["at"] == "mean"}
    assert (verdicts["tpot"], verdicts["ttft"]) == ("inside", "inside")
    assert verdicts["requests_per_s"] == "no interval"
    assert found.exit_code == 0


def test_a_measurement_far_from_the_prediction_is_outside_and_named(tmp_path: Path) -> None:
    tree = VLLM | {"mean_tpot_ms": 400.0}
    found = shardproof.check(PLAN, written(tmp_path, tree), QUESTION, seeds=1)
    assert found.exit_code == 4
    assert any("tpot is off" in said and "decode" in said for said in found.parts[0].findings)


def test_another_load_is_said(tmp_path: Path) -> None:
    tree = VLLM | {"max_concurrency": 64, "total_input_tokens": 81920, "failed": 3}
    said = " ".join(shardproof.check(PLAN, written(tmp_path, tree), QUESTION, seeds=1).parts[0].findings)
    assert "requests in flight: 64, the plan is for 16" in said
    assert "prompt tokens: 1024, the plan is for 512" in said
    assert "3 requests failed" in said


def test_requests_that_come_by_themselves_are_held_against_the_played_plan(tmp_path: Path) -> None:
    load = {"kind": "requests", "rate": "5/s", "input_tokens": 512, "output_tokens": 64}
    found = shardproof.check(
        PLAN, written(tmp_path, VLLM | {"request_rate": 9.0}), QUESTION | {"workload": load}, seeds=1
    )
    said = " ".join(found.parts[0].findings)
    assert {row["verdict"] for row in found.rows()} == {"no interval"}
    assert "nothing is called inside or outside" in said
    assert "requests per second sent: 9, the plan is for 5" in said


def test_neither_result_nor_log_is_an_input_error() -> None:
    with pytest.raises(InputError, match="--log"):
        shardproof.check(PLAN, None, QUESTION)
