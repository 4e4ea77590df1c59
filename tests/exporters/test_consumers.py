"""Consumers refuse what is wrong: a mistake planted into an exported file is found by whoever reads that file."""

from __future__ import annotations

import json

import pytest

from benchmarks.exports.lines import lines
from benchmarks.exports.schemas import record
from shardproof.solver.exporters.contract import check_words
from shardproof.solver.exporters.export import EXPORTERS, export
from tests.exporters.plans import question
from tests.exporters.test_exports import PAIRS
from tests.oracles import consumers
from tests.oracles.consumers import has, refusals

PLANTED = [
    ("kubernetes", "vllm-nodes", "size: 2", "sise: 2"),
    ("kubernetes", "vllm-nodes", "RecreateGroupOnPodRestart", "Always"),
    ("kubernetes", "mixed", "weight: 6", "weight: six"),
    ("kserve", "vllm-one", "tensor: 1", "tensor: one"),
    ("kserve", "vllm-stages", "pipeline: 2", "pipelines: 2"),
    ("dynamo", "vllm-one", "type: worker", "type: workers"),
    ("dynamo", "vllm-nodes", "nodeCount: 2", "nodeCount: 1"),
    ("dynamo", "vllm-one", "vllm-runtime:1.5.0", "vllm-runtime:latest"),
    ("llm-d", "vllm-one", "type: nvidia", "kind: nvidia"),
    ("llm-d", "vllm-one", "dataLocal", "localData"),
    ("production-stack", "vllm-copies", "replicaCount: 5", "replicaCount: five"),
    ("production-stack", "vllm-copies", "shmSize", "sharedMemory"),
    ("ray-serve", "vllm-one", "groupName", "group"),
    ("slurm", "vllm-nodes", "--gpus-per-node", "--gpus-each-node"),
]
OTHERS = [
    ("kubernetes", "vllm-one", "replicas: 1", "replicaz: 1", "kubernetes_validate"),
    ("kubernetes", "vllm-one", "containerPort: 8000", "containerPort: http", "kubernetes_validate"),
    ("kubernetes", "vllm-one", "sizeLimit: 8Gi", "sizeLimit: 8GiB", "kubernetes_validate"),
    ("dynamo", "vllm-one", "valueFrom", "valuesFrom", "kubernetes_validate"),
    ("docker-compose", "vllm-one", "capabilities", "capabilitiez", "compose_spec"),
    ("docker-compose", "vllm-one", "retries: 6", "retries: many", "compose_spec"),
]


def planted(target: str, name: str, right: str, wrong: str) -> list[str]:
    files = dict(export(*question(name), target).files)
    assert any(right in text for text in files.values())
    return refusals({path: text.replace(right, wrong) for path, text in files.items()})


@pytest.mark.parametrize(("target", "name", "right", "wrong"), PLANTED)
def test_a_planted_mistake_is_found(target: str, name: str, right: str, wrong: str) -> None:
    assert planted(target, name, right, wrong)


@pytest.mark.parametrize(("target", "name", "right", "wrong", "package"), OTHERS)
def test_a_planted_mistake_is_found_by_the_validator(
    target: str, name: str, right: str, wrong: str, package: str
) -> None:
    if not has(package):
        pytest.skip(f"{package} is not installed")
    assert planted(target, name, right, wrong)


@pytest.mark.parametrize("target", EXPORTERS)
def test_every_line_in_every_file_keeps_the_contract(target: str) -> None:
    found = 0
    for name in [name for one, name in PAIRS if one == target]:
        instance, plan = question(name)
        for _, words in lines(export(instance, plan, target).files, instance.engine):
            layers = instance.model.layer_count
            check_words(words, instance.engine, environment={}, layers=layers)
            found += 1
    assert found > 0 or target == "trtllm"


def test_a_field_that_the_project_dropped_is_said(tmp_path, monkeypatch) -> None:
    source = tmp_path / "values.schema.json"
    source.write_text(json.dumps({"type": "object", "properties": {"decode": {"type": "object", "properties": {}}}}))
    monkeypatch.setattr("benchmarks.exports.schemas.SCHEMAS", tmp_path)
    record("llm-d", source, [{"decode": {}}], "abc")
    held = json.loads((tmp_path / "llm-d.json").read_text())
    assert held["source"].endswith("at abc")
    assert held["schema"]["additionalProperties"] is False
    with pytest.raises(ValueError, match=r"llm-d.decode.create: the project knows no such field"):
        record("llm-d", source, [{"decode": {"create": True}}], "abc")


def test_schemas_name_their_sources() -> None:
    for path in consumers.SCHEMAS.glob("*.json"):
        assert " at " in json.loads(path.read_text())["source"]
