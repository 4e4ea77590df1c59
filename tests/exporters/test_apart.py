"""Prefill and decode apart: servers know their pool, routers every server; what no router knows is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import shardproof
from shardproof.instances.errors import InputError
from shardproof.solver.documents.reader import parse_plans
from shardproof.solver.exporters.export import export
from tests.exporters.plans import question
from tests.oracles.consumers import refusals

LOAD = {"isl": 2000, "osl": 200, "batch_size": 64, "ttft": "3 s", "tpot": "30 ms", "serving": "apart"}


def files(target: str, name: str) -> dict[str, str]:
    return dict(export(*question(name), target).files)


def trees(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


def words_of(container: dict[str, Any]) -> list[str]:
    return [*container.get("command", []), *container.get("args", [])]


@pytest.mark.parametrize(
    ("name", "engine", "flag"),
    [("vllm-apart", "vllm", "NixlConnector"), ("sglang-apart", "sglang", "--disaggregation-mode {}")],
)
def test_scripts_say_their_pool(name: str, engine: str, flag: str) -> None:
    found = files(engine, name)
    for pool in ("prefill", "decode"):
        (script,) = (text for path, text in found.items() if path.endswith(f"-{pool}.sh"))
        assert flag.format(pool) in script
    assert "router.nginx.conf" not in found


def test_the_router_knows_every_server_by_the_port_of_its_seat() -> None:
    found = files("vllm", "vllm-apart")
    rows = [row.split("\t") for row in found["seats.tsv"].splitlines()]
    assert rows[0][-1] == "VLLM_NIXL_SIDE_CHANNEL_PORT"
    assert len({row[-1] for row in rows[1:]}) == 3  # three servers of one host
    ports = {row[1]: row[3].partition("--port ")[2] or "8000" for row in rows[1:]}
    assert ports["qwen3-32b-decode.sh"] == "8000"
    assert found["router.sh"].count("--prefill http://host-0:8") == 2
    assert "--decode http://host-0:8000" in found["router.sh"]


def test_sglangs_router_knows_the_ports_on_which_caches_are_asked_for() -> None:
    found = files("sglang", "sglang-apart")
    assert found["router.sh"].count(" 8998 ") == 2  # every server fills a host
    answer = shardproof.solve(model="qwen3-32b", device="h100-sxm", engine="sglang", **LOAD)
    made = shardproof.export(answer, to="sglang").files
    for row in made["seats.tsv"].splitlines()[1:]:
        if "prefill" in row:
            port, bootstrap = row.split("--port ")[1].split(" --disaggregation-bootstrap-port ")
            assert f"{port} {bootstrap} " in made["router.sh"]


def test_tensorrt_llm_is_told_by_its_files() -> None:
    found = files("trtllm", "trtllm-apart")
    prefill, decode = (yaml.safe_load(found[f"qwen3-32b-{pool}.config.yaml"]) for pool in ("prefill", "decode"))
    assert prefill["cache_transceiver_config"]["backend"] == decode["cache_transceiver_config"]["backend"] == "DEFAULT"
    assert prefill["disable_overlap_scheduler"] is True
    assert "disable_overlap_scheduler" not in decode
    router = yaml.safe_load(found["disaggregated.yaml"])
    assert (router["context_servers"]["num_instances"], router["generation_servers"]["num_instances"]) == (2, 1)


def test_dynamo_has_a_component_for_each_pool() -> None:
    for name, mode in (("vllm-apart", "--disaggregation-mode"), ("trtllm-apart", "--disaggregation-mode")):
        graph = next(tree for text in files("dynamo", name).values() if text.startswith(("---", "apiVersion"))
                     for tree in trees(text) if tree["kind"] == "DynamoGraphDeployment")  # fmt: skip
        workers = {part["type"]: part for part in graph["spec"]["components"]}
        assert list(workers) == ["frontend", "prefill", "decode"]
        assert [workers[pool]["replicas"] for pool in ("prefill", "decode")] == [2, 1]
        for pool in ("prefill", "decode"):
            words = words_of(workers[pool]["podTemplate"]["spec"]["containers"][0])
            assert words[words.index(mode) + 1] == pool


def test_llm_d_puts_a_sidecar_before_decode() -> None:
    (text,) = (text for path, text in files("llm-d", "vllm-apart").items() if path.endswith("values.yaml"))
    values = yaml.safe_load(text)
    assert values["routing"]["proxy"] == {"enabled": True, "connector": "nixlv2", "targetPort": 8200}
    ports = {pool: words_of(values[pool]["containers"][0])[-1] for pool in ("prefill", "decode")}
    assert ports == {"prefill": "8000", "decode": "8200"}
    assert values["decode"]["containers"][0]["ports"][0]["containerPort"] == 8200


def test_kserve_has_both_pools() -> None:
    (text,) = (text for path, text in files("kserve", "vllm-apart").items() if path.endswith(".yaml"))
    spec = yaml.safe_load(text)["spec"]
    assert (spec["prefill"]["replicas"], spec["replicas"]) == (2, 1)
    assert (spec["prefill"]["parallelism"]["tensor"], spec["parallelism"]["tensor"]) == (1, 2)
    names = [one["name"] for one in spec["template"]["containers"][0]["env"]]
    assert "VLLM_NIXL_SIDE_CHANNEL_HOST" in names


@pytest.mark.parametrize("name", ["vllm-apart", "vllm-apart-nodes", "sglang-apart", "trtllm-apart"])
def test_kubernetes_routes_to_servers_that_are_there(name: str) -> None:
    found = files("kubernetes", name)
    every = [tree for path, text in found.items() if path.endswith(".yaml") for tree in trees(text)]
    servers = {
        f"{tree['metadata']['name']}-{place}.{tree['metadata']['name']}:8000"
        for tree in every
        if tree["kind"] in ("StatefulSet", "LeaderWorkerSet")
        for place in range(tree["spec"]["replicas"])
    }
    told = found["router.yaml"]
    assert len(servers) == 3
    assert all(server in told for server in servers)
    headless = {tree["metadata"]["name"] for tree in every if tree.get("spec", {}).get("clusterIP") == "None"}
    assert headless == {tree["spec"]["serviceName"] for tree in every if tree["kind"] == "StatefulSet"}
    assert refusals(found) == []


def test_a_leader_worker_set_keeps_its_name_for_its_own_service() -> None:
    (text,) = (text for path, text in files("kubernetes", "vllm-nodes").items() if path.endswith(".yaml"))
    names = {tree["kind"]: tree["metadata"]["name"] for tree in trees(text)}
    assert names["Service"] == f"{names['LeaderWorkerSet']}-http"


def test_replicas_of_one_pool_that_differ_are_refused() -> None:
    instance, plan = question("vllm-apart")
    first, second = plan.groups
    wide = second.model_copy(update={"pool": "prefill"})
    mixed = plan.model_copy(update={"groups": (first, wide, second), "replicas": 4})
    for target in ("vllm", "dynamo", "llm-d", "kubernetes", "kserve"):
        with pytest.raises(InputError, match="replicas of the prefill pool differ"):
            export(instance, mixed, target)


@pytest.mark.parametrize("target", ["docker-compose", "slurm", "production-stack", "ray-serve"])
def test_targets_without_a_router_of_both_refuse(target: str) -> None:
    with pytest.raises(InputError, match="cannot express it: prefill and decode apart"):
        export(*question("vllm-apart"), target)


def test_two_config_maps_with_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    export(*question("trtllm-apart"), "dynamo").write(tmp_path)
    found = shardproof.audit(next(tmp_path.glob("qwen3-32b.yaml")), completion=False)
    assert [audit.document.number("tp") for audit in found.audits] == [1, 4]
    assert found.exit_code == 0


def test_the_routers_own_line_is_no_plan() -> None:
    line = "trtllm-serve disaggregated -c disagg.yaml\ntrtllm-serve Qwen/Qwen3-32B --tp_size 4 --port 8001\n"
    assert [plan.number("tp") for plan in parse_plans(line, name="run.sh", suffix=".sh")] == [4]
