"""Details of deployment forms: where each form hides model, degrees, GPUs and engine, one small text each."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from shardproof.solver.audit.audit import audit_document
from shardproof.solver.audit.review import review
from shardproof.solver.documents.reader import parse_plans
from shardproof.solver.documents.statement import Document


def plans(text: str, suffix: str = ".yaml") -> tuple[Document, ...]:
    return parse_plans(text, name="x" + suffix, suffix=suffix)


def said(plan: Document, *fields: str) -> list[object]:
    found: list[object] = []
    for field in fields:
        statement = plan.first(field)
        value = None if statement is None else statement.value
        found.append(int(value) if isinstance(value, Fraction) else value)
    return found


def wrong(plan: Document) -> list[str]:
    return [claim.statement.field for claim in audit_document(plan).wrong]


SCRIPTS = {
    "variables joined to a command": (
        'MODEL=Qwen/Qwen3-32B\nCMD="vllm serve ${MODEL}"\n[ -n "$T" ] || CMD+=" --tensor-parallel-size 2"\nexec $CMD\n',
        ["vllm", "Qwen/Qwen3-32B", 2],
    ),
    "eval": ('C="vllm serve Qwen/Qwen3-32B"\neval "$C -tp 4"\n', ["vllm", "Qwen/Qwen3-32B", 4]),
    "a shell in a shell": (
        "ssh node bash -c 'cd /x && python3 -m sglang.launch_server --model-path Qwen/Qwen3-32B --tp=2'\n",
        ["sglang", "Qwen/Qwen3-32B", 2],
    ),
    "mpirun": (
        "mpirun -n 4 trtllm-llmapi-launch trtllm-serve Qwen/Qwen3-32B --tp_size 4 --max_batch_size 64\n",
        ["trtllm", "Qwen/Qwen3-32B", 4],
    ),
    "an entry point of one's own": (
        "podman run --device nvidia.com/gpu=all --entrypoint python3 my/image -m vllm.entrypoints.openai.api_server "
        "--model Qwen/Qwen3-32B --tensor-parallel-size 2\n",
        ["vllm", "Qwen/Qwen3-32B", 2],
    ),
    "an image that holds several tools": (
        "docker run --gpus all lmsysorg/sglang:latest python3 -m sglang.launch_server --model Qwen/Qwen3-32B --tp 2\n",
        ["sglang", "Qwen/Qwen3-32B", 2],
    ),
    "an abbreviated flag": ("vllm serve Qwen/Qwen3-32B --tensor-parallel 2\n", ["vllm", "Qwen/Qwen3-32B", 2]),
    "the cache of the hub": (
        "vllm serve /models/hub/models--Qwen--Qwen3-32B/snapshots/abc -tp 2\n",
        ["vllm", "Qwen/Qwen3-32B", 2],
    ),
    "a path that is served under a name": (
        "vllm serve /mnt/w --served-model-name Qwen/Qwen3-32B -tp 2\n",
        ["vllm", "Qwen/Qwen3-32B", 2],
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts(name: str) -> None:
    text, expected = SCRIPTS[name]
    (plan,) = plans(text, ".sh")
    assert said(plan, "engine", "model", "tp") == expected


def test_a_load_generator_starts_no_engine() -> None:
    text = "vllm serve Qwen/Qwen3-32B -tp 2\nvllm bench serve --model Qwen/Qwen3-32B --dataset-name random --tp 4\n"
    (plan,) = plans(text, ".sh")
    assert said(plan, "tp") == [2]


CODE = {
    "SGLang": (
        "import sglang as sgl\nllm = sgl.Engine(model_path='Qwen/Qwen3-32B', tp_size=2)\n",
        ["sglang", "Qwen/Qwen3-32B", 2, None],
    ),
    "TensorRT-LLM": (
        "from tensorrt_llm import LLM\nfrom tensorrt_llm.llmapi import KvCacheConfig\n"
        "llm = LLM('Qwen/Qwen3-32B', tensor_parallel_size=2, kv_cache_config=KvCacheConfig(dtype='fp8'))\n",
        ["trtllm", "Qwen/Qwen3-32B", 2, None],
    ),
    "Ray's configuration": (
        "from ray.serve.llm import LLMConfig\nc = LLMConfig(model_loading_config=dict(model_id='q', model_source="
        "'Qwen/Qwen3-32B'), accelerator_type='H100', engine_kwargs=dict(tensor_parallel_size=2))\n",
        ["vllm", "Qwen/Qwen3-32B", 2, "H100"],
    ),
    "a command as a list": (
        "N = 2\n@app.function(gpu=f'H100:{N}')\ndef serve():\n    cmd = ['vllm', 'serve', 'Qwen/Qwen3-32B']\n"
        "    run(['vllm', 'serve', 'Qwen/Qwen3-32B', '--tensor-parallel-size', str(N)])\n",
        ["vllm", "Qwen/Qwen3-32B", 2, "H100"],
    ),
    "defaults of the environment": (
        "import os\nfrom vllm import LLM\nLLM(os.environ.get('M', 'Qwen/Qwen3-32B'), tensor_parallel_size=int(os.getenv"
        "('TP', '2')))\n",
        ["vllm", "Qwen/Qwen3-32B", 2, None],
    ),
}


@pytest.mark.parametrize("name", CODE)
def test_code(name: str) -> None:
    text, expected = CODE[name]
    plan = plans(text, ".py")[-1]
    assert said(plan, "engine", "model", "tp", "device") == expected


def test_a_compose_file_told_by_variables(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services:\n  vllm-head:\n    image: my/vllm\n    environment:\n      - MODEL_NAME=${MODEL:-Qwen/Qwen3-32B}\n"
        "      - TENSOR_PARALLEL_SIZE=3\n"
        "    deploy: {resources: {reservations: {devices: [{device_ids: ['0,1,2']}]}}}\n"
    )
    found = review(tmp_path / "compose.yaml")
    assert {c.statement.field for c in found.claims if c.wrong} == {"tp"}
    assert any(c.statement.field == "gpus_requested" and c.verdict == "confirmed" for c in found.claims)


def test_a_sourced_file_beside_a_script(tmp_path: Path) -> None:
    (tmp_path / "env.sh").write_text("export SIZE=3\n")
    (tmp_path / "run.sh").write_text('source "$(dirname $0)/env.sh"\nvllm serve Qwen/Qwen3-32B -tp $SIZE\n')
    assert {c.statement.field for c in review(tmp_path / "run.sh").claims if c.wrong} == {"tp"}


GROUP = """\
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
spec:
  replicas: 1
  leaderWorkerTemplate:
    size: 2
    leaderTemplate: &same
      spec:
        containers:
        - name: engine
          image: lmsysorg/sglang:latest
          command: [python3, -m, sglang.launch_server, --model-path, deepseek-ai/DeepSeek-R1, --tp, "16",
            --dp-size, "16", --enable-dp-attention, --moe-a2a-backend, deepep, --nnodes, $(LWS_GROUP_SIZE),
            --node-rank, $(LWS_WORKER_INDEX)]
          resources: {limits: {nvidia.com/gpu: EACH}}
    workerTemplate: *same
"""


@pytest.mark.parametrize(("each", "expected"), [("8", []), ("4", ["gpus_requested"])])
def test_every_pod_of_a_group_runs_the_same_line(each: str, expected: list[str]) -> None:
    (plan,) = plans(GROUP.replace("EACH", each))
    assert said(plan, "tp", "dp", "nodes", "gpus_requested") == [16, 16, 2, 2 * int(each)]
    reading = audit_document(plan).context.readings[0]
    assert (reading.option.attn_tp, reading.option.attn_dp, reading.option.moe_ep) == (1, 16, 16)
    assert wrong(plan) == expected


WORKERS = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
spec:
  predictor:
    model:
      modelFormat: {name: huggingface}
      storageUri: hf://meta-llama/Llama-3.1-405B-Instruct-FP8
      resources: {limits: {nvidia.com/gpu: "4"}}
    workerSpec:
      pipelineParallelSize: 2
      tensorParallelSize: SIZE
"""


@pytest.mark.parametrize(("size", "expected"), [("4", []), ("8", ["gpus_requested"])])
def test_workers_of_an_inference_service(size: str, expected: list[str]) -> None:
    (plan,) = plans(WORKERS.replace("SIZE", size))
    assert said(plan, "tp", "pp", "gpus_requested") == [int(size), 2, 8]
    assert wrong(plan) == expected


NODES = """\
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
spec:
  components:
  - name: decode
    type: decode
    replicas: 1
    multinode: {nodeCount: 2}
    podTemplate:
      spec:
        containers:
        - name: main
          command: [python3, -m, dynamo.sglang]
          args: [--model-path, Qwen/Qwen3-32B, --tp-size, "8"]
          resources: {limits: {nvidia.com/gpu: "EACH"}}
"""


@pytest.mark.parametrize(("each", "expected"), [("4", []), ("8", ["gpus_requested"])])
def test_a_worker_over_several_nodes(each: str, expected: list[str]) -> None:
    (plan,) = plans(NODES.replace("EACH", each))
    assert wrong(plan) == expected


def test_options_in_a_part_of_their_own() -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  agg.yaml: |\n    tensor_parallel_size: 3\n    build_config:\n"
        "      max_seq_len: 8192\n      max_num_tokens: 8192\n    kv_cache_config: {dtype: auto}\n---\n"
        "apiVersion: nvidia.com/v1alpha1\nkind: DynamoGraphDeployment\n"
        "spec:\n  services:\n    W:\n      extraPodSpec:\n"
        "        mainContainer:\n          env: [{name: ARGS, value: /c/agg.yaml}]\n          command: [/bin/sh, -c]\n"
        "          args:\n          - |\n            python3 -m dynamo.trtllm --model-path Qwen/Qwen3-32B \\\n"
        '            --extra-engine-args "${ARGS}"\n'
    )
    (plan,) = plans(text)
    assert said(plan, "tp", "max_model_len", "model") == [3, 8192, "Qwen/Qwen3-32B"]
    assert [s.line for s in plan.of("tp")] == [5]
    assert wrong(plan) == ["tp"]


def test_prefill_and_decode_of_helm_values_are_two_plans() -> None:
    part = "{create: true, replicas: 1, parallelism: {tensor: %d}, containers: [{name: v, modelCommand: vllmServe}]}\n"
    text = f"modelArtifacts: {{uri: hf://Qwen/Qwen3-32B}}\nprefill: {part % 2}decode: {part % 3}"
    found = plans(text)
    assert [said(plan, "tp") for plan in found] == [[3], [2]]
    assert [wrong(plan) for plan in found] == [["tp"], []]


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ("--kv-cache-dtype int8", "kv_precision"),
        ("--gpu-memory-utilization 1.5", "memory_fraction"),
        ("--max-num-seqs 1024 --max-num-batched-tokens 512", "max_sequences"),
        ("--max-num-seqs -3", "max_sequences"),
        ("--tensor-parallel-size 0", "tp"),
        ("--enable-expert-parallel", "expert_parallel_enabled"),
        ("--data-parallel-size 2 --data-parallel-size-local 4", "dp_local"),
        ("--pipeline-parallel-size 65", "pp"),
    ],
)
def test_what_an_engine_refuses_by_its_flags(flags: str, field: str) -> None:
    (plan,) = plans(f"vllm serve Qwen/Qwen3-32B {flags}\n", ".sh")
    assert field in wrong(plan)


@pytest.mark.parametrize(
    ("label", "value", "device"),
    [
        ("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3", "h100-sxm"),
        ("cloud.google.com/gke-accelerator", "nvidia-l4", "l4"),
        ("node.kubernetes.io/instance-type", "p5en.48xlarge", "h200-sxm"),
        ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB", "a100-80-sxm"),
        ("nvidia.com/gpu.product", "NVIDIA-B200", "b200-sxm"),
        ("nvidia.com/gpu.product", "NVIDIA-L40S", "l40s"),
        ("nvidia.com/gpu.product", "NVIDIA-H200", "h200-sxm"),
    ],
)
def test_labels_name_devices(label: str, value: str, device: str) -> None:
    text = (
        f"apiVersion: v1\nkind: Pod\nspec:\n  nodeSelector: {{{label}: {value}}}\n  containers:\n  - name: e\n"
        "    image: vllm/vllm-openai\n    args: [--model, Qwen/Qwen3-32B]\n"
    )
    (plan,) = plans(text)
    assert [found.name for found in audit_document(plan).context.facts.devices] == [device]
