"""Exported files: consumers' schemas take them, `audit` reads the plan in them, what cannot be said is refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import shardproof
from shardproof.instances.errors import InputError
from shardproof.instances.plan import Group
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.exporters.export import EXPORTERS, export
from tests.exporters.plans import APART, CASES, NAMES, question
from tests.oracles.consumers import refusals

NODES = {"vllm-nodes", "vllm-dp-nodes", "vllm-dp-three-nodes", "sglang-nodes", "trtllm-nodes"}
OTHERS = {name for name in NAMES if name.startswith(("sglang", "trtllm"))}
CANNOT = {
    "docker-compose": NODES | {"vllm-amd"} | set(APART),
    "slurm": set(APART),
    "kubernetes": {"trtllm-nodes"},
    "kserve": OTHERS | {"mixed"},
    "dynamo": {"mixed", "vllm-amd"},
    "llm-d": OTHERS | {"mixed"},
    "production-stack": NODES | OTHERS | {"mixed"} | set(APART),
    "ray-serve": OTHERS | set(APART) | {"mixed", "vllm-amd", "vllm-dp", "vllm-dp-nodes", "vllm-dp-three-nodes"},
}
ENGINES = ("vllm", "sglang", "trtllm")
TIGHT = 30
"""Requests that one L4 holds by the account of vLLM 0.19 and not by that of 0.33."""


def expressible(target: str) -> list[str]:
    names = [name for name in NAMES if name not in CANNOT.get(target, set())]
    engine = {"mixed": "vllm"}
    if target in ENGINES:
        return [name for name in names if engine.get(name, name.split("-")[0]) == target]
    return names


PAIRS = [(target, name) for target in EXPORTERS for name in expressible(target)]


def documents(files: dict[str, str]) -> list[dict[str, Any]]:
    return [tree for name, text in files.items() if name.endswith(".yaml") for tree in yaml.safe_load_all(text)]


@pytest.mark.parametrize(("target", "name"), PAIRS)
def test_files_are_what_their_consumers_take(target: str, name: str) -> None:
    made = export(*question(name), target)
    assert refusals(made.files) == []
    assert "README.md" in made.files


@pytest.mark.parametrize(("target", "name"), PAIRS)
def test_audit_reads_the_plan_in_the_files(target: str, name: str, tmp_path: Path) -> None:
    instance, plan = question(name)
    export(instance, plan, target).write(tmp_path)
    found = shardproof.audit(tmp_path, completion=False)
    assert [claim.statement for claim in found.wrong] == []
    assert found.exit_code == 0
    read = [
        one for (file, _), one in zip(found.review.source.plans, found.audits, strict=True) if not file.endswith(OURS)
    ]
    told = [{claim.statement.field: claim.statement.value for claim in one.claims} for one in read]
    for part in plan.parts:
        wanted = degrees(instance.engine, part)
        assert any(wanted.items() <= fields.items() for fields in told), (wanted, told)
    assert {one.context.facts.model.name for one in read if one.context.facts.model} == {instance.model.name}


OURS = ("README.md", "plan.json")


def degrees(engine: str, part: Group) -> dict[str, object]:
    """What files must say of a plan, in the words of its engine."""
    option, counts = part.stages[0].option, tuple(last - first + 1 for first, last in (s.layers for s in part.stages))
    wide = {"tp": option.attn_tp if engine == "vllm" else option.gpus, "pp": len(part.stages)}
    wide |= {"dp": option.attn_dp} if option.attn_dp > 1 and engine == "vllm" else {}
    spread = {"dp": option.attn_dp, "attention_dp_enabled": True}  # the form that every release of SGLang takes
    wide |= spread if option.attn_dp > 1 and engine == "sglang" else {}
    wide |= {"ep": option.moe_ep} if option.moe_ep > 1 and engine != "vllm" else {}
    partition = {"layers_per_stage": counts} if len(counts) > 1 and engine != "trtllm" else {}
    return wide | partition


@pytest.mark.parametrize(("target", "names"), CANNOT.items())
def test_what_a_target_cannot_express_is_refused_with_the_reason(target: str, names: set[str]) -> None:
    for name in names:
        with pytest.raises(InputError, match=f"{target} cannot express it: "):
            export(*question(name), target)


@pytest.mark.parametrize("target", ENGINES)
def test_an_engine_is_given_no_plan_of_another(target: str) -> None:
    other = "sglang-one" if target == "vllm" else "vllm-one"
    with pytest.raises(InputError, match="export it to"):
        export(*question(other), target)


def test_an_unknown_target_is_answered_with_all() -> None:
    with pytest.raises(InputError, match="docker-compose"):
        export(*question("vllm-one"), "heroku")


def test_vllm_takes_no_map_of_experts() -> None:
    instance, plan = question("vllm-experts")
    placed = plan.model_copy(update={"placement": tuple(tuple(range(128)) for _ in range(94))})
    with pytest.raises(InputError, match="which expert lives where"):
        export(instance, placed, "vllm")


def test_sglang_takes_the_map_of_experts_by_its_one_key() -> None:
    instance, plan = question("sglang-dp")
    rows = tuple(() if layer < 3 else tuple(range(256)) for layer in range(61))
    files = export(instance, plan.model_copy(update={"placement": rows}), "sglang").files
    (name,) = [name for name in files if name.endswith("placement.json")]
    tree = json.loads(files[name])
    assert list(tree) == ["physical_to_logical_map"]
    assert {len(row) for row in tree["physical_to_logical_map"]} == {256}
    assert name in files["deepseek-r1.sh"]


def test_a_mixed_fleet_is_routed_by_its_shares() -> None:
    files = export(*question("mixed"), "kubernetes").files
    (rule,) = yaml.safe_load(files["route.yaml"])["spec"]["rules"]
    assert [backend["weight"] for backend in rule["backendRefs"]] == [2, 6]  # replicas x requests of each, reduced
    script = export(*question("mixed"), "vllm").files["router.nginx.conf"]
    assert script.count("weight=1;") == 2
    assert script.count("weight=6;") == 1


def test_replicas_share_hosts_and_never_a_gpu() -> None:
    rows = export(*question("vllm-copies"), "vllm").files["seats.tsv"].splitlines()[1:]
    seats = [tuple(row.split("\t")[0::2]) for row in rows]
    assert seats == [("host-0", "0,1"), ("host-0", "2,3"), ("host-0", "4,5"), ("host-0", "6,7"), ("host-1", "0,1")]


def test_ranks_of_more_than_two_nodes_follow_the_place_in_the_group() -> None:
    tree = next(
        tree
        for tree in documents(dict(export(*question("vllm-dp-three-nodes"), "kubernetes").files))
        if tree["kind"] == "LeaderWorkerSet"
    )
    template = tree["spec"]["leaderWorkerTemplate"]
    (words,) = template["workerTemplate"]["spec"]["containers"][0]["args"]
    assert template["size"] == 4
    assert "--data-parallel-start-rank $((8 * LWS_WORKER_INDEX))" in words
    assert "--data-parallel-address $LWS_LEADER_ADDRESS" in words
    assert len(shlex.split(words)) > 10


def test_weights_that_no_flag_makes_of_the_checkpoint_are_refused() -> None:
    instance, plan = question("trtllm-one")
    other = resolve_tree(CASES["trtllm-one"].tree | {"precision": {"weights": "fp8"}}, where="test")
    assert export(instance, plan, "trtllm").files
    with pytest.raises(InputError, match="quantise the checkpoint first"):
        export(other, plan, "trtllm")


def test_services_beside_the_router_are_known_by_name() -> None:
    files = export(*question("vllm-copies"), "docker-compose").files
    servers = [line.split()[1] for line in files["router.nginx.conf"].splitlines() if "weight" in line]
    assert servers == [*(f"qwen3-8b-{place}:8000" for place in range(4)), "host-1:8000"]


def test_solve_exports_too(tmp_path: Path) -> None:
    answer = shardproof.solve(
        model="qwen3-8b", device="h100-sxm", isl=512, osl=16, batch_size=4, ttft="2 s", engine="vllm"
    )
    made = shardproof.export(answer, to="docker-compose")
    made.write(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(made.files)
    assert len(made.rows()) == len(made.files)


def on_one_l4(batch: int, version: str | None) -> shardproof.Solved:
    """As many requests on one device of 24 GB, under a version of vLLM."""
    engine = {"name": "vllm"} | ({"version": version} if version else {})
    load = {"kind": "burst", "batch_size": batch, "input_tokens": 1024, "output_tokens": 128}
    tree = {"model": "qwen3-8b", "device": "l4", "engine": engine, "workload": load, "limits": {"max_gpus": 1}}
    return shardproof.solve(tree)


@pytest.mark.parametrize(
    ("batch", "version", "started"),
    [(4, None, "0.33.0"), (TIGHT, None, "0.19.0"), (4, "0.19", "0.19.0"), (4, "v0.11.0", "0.11.0")],
)
def test_an_export_starts_the_release_whose_account_its_plan_keeps(
    batch: int, version: str | None, started: str, tmp_path: Path
) -> None:
    asked = on_one_l4(batch, version)
    made = shardproof.export(asked, to="kubernetes")
    assert f"the release is vllm {started}, and memory is accounted as of it" in made.files["README.md"]
    (text,) = (text for name, text in made.files.items() if name.endswith(".yaml"))
    assert f"image: vllm/vllm-openai:v{started}" in text
    note = made.export.note
    assert (note is not None) is (batch == TIGHT)
    if note is not None:
        assert "by the account of 0.33.0 a device lacks" in note
        assert "--engine vllm@0.33.0" in note
        assert on_one_l4(batch, "0.33.0").status == "infeasible"
    made.write(tmp_path)
    audited = shardproof.audit(next(tmp_path.glob("*.yaml")), asked.instance, completion=False)
    best = audited.audit.context.best
    assert audited.exit_code == 0
    assert best is not None
    assert best.plan.launched is not None
    assert best.plan.launched.version == started
