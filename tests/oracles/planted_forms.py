"""Deployment forms made from a small specification, clean or with one planted error; written in our own words.

The specification is what a reader must find; the errors are worked out from the models' published shapes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Spec:
    """A launch: what is served, its degrees, the GPUs of one copy, and where it runs."""

    model: str = "meta-llama/Llama-3.1-70B-Instruct"
    tp: int = 4
    pp: int = 1
    dp: int = 1
    expert: bool = False
    context: int = 16384
    gpus: int = 4
    device: str = "H100"
    replicas: int = 2

    def flags(self, *, model: str = "") -> list[str]:
        """vLLM's flags as words; ``model`` names the flag that takes the model."""
        words = [model, self.model] if model else []
        words += ["--tensor-parallel-size", str(self.tp)]
        words += ["--pipeline-parallel-size", str(self.pp)] if self.pp > 1 else []
        words += ["--data-parallel-size", str(self.dp)] if self.dp > 1 else []
        words += ["--enable-expert-parallel"] if self.expert else []
        return [*words, "--max-model-len", str(self.context)]

    def joined(self, *, model: str = "") -> list[str]:
        """The same with ``=``."""
        words, found = self.flags(model=model), []
        while words:
            name = words.pop(0)
            found.append(f"{name}={words.pop(0)}" if words and not words[0].startswith("-") else name)
        return found


LABELS = {"H100": "NVIDIA-H100-80GB-HBM3", "A10G": "NVIDIA-A10G", "L4": "NVIDIA-L4", "H200": "NVIDIA-H200"}
GKE = {"H100": "nvidia-h100-80gb", "L4": "nvidia-l4", "H200": "nvidia-h200-141gb", "A10G": "nvidia-a10g"}


def _yaml_list(words: list[str], indent: int) -> str:
    return "".join(f"{' ' * indent}- {json.dumps(word)}\n" for word in words)


def deployment(spec: Spec, style: int) -> str:
    args = spec.flags() if style == 0 else spec.joined()
    head = '["vllm", "serve", ' + json.dumps(spec.model) + "]" if style < 2 else '["/bin/sh", "-c"]'
    body = f"        args: {json.dumps(args)}\n"
    if style == 2:
        body = (
            "        args:\n        - |\n          export SIZE="
            + str(spec.tp)
            + "\n          exec vllm serve "
            + spec.model
        )
        rest = [word for word in spec.joined() if not word.startswith("--tensor")]
        body += " \\\n            --tensor-parallel-size $SIZE \\\n            " + " ".join(rest) + "\n"
    return (
        f"apiVersion: apps/v1\nkind: {'StatefulSet' if style == 1 else 'Deployment'}\nmetadata: {{name: llm}}\nspec:\n"
        f"  replicas: {spec.replicas}\n  template:\n    spec:\n      nodeSelector:\n"
        f"        nvidia.com/gpu.product: {LABELS[spec.device]}\n      containers:\n      - name: engine\n"
        f"        image: vllm/vllm-openai:v0.11.0\n        command: {head}\n{body}"
        f'        resources:\n          limits:\n            nvidia.com/gpu: "{spec.gpus}"\n'
    )


def leader_worker(spec: Spec, style: int) -> str:
    nodes = 2
    each = spec.gpus // nodes
    script = f"vllm serve {spec.model} {' '.join(spec.flags())} --distributed-executor-backend ray"
    pod = (
        "        nodeSelector: {cloud.google.com/gke-accelerator: " + GKE[spec.device] + "}\n        containers:\n"
        "        - name: main\n          image: vllm/vllm-openai:v0.11.0\n          command: [sh, -c, {command}]\n"
        "          resources: {limits: {nvidia.com/gpu: {each}}}\n"
    )
    leader = pod.replace("{command}", json.dumps(script)).replace("{each}", str(each))
    worker = pod.replace("{command}", json.dumps("ray start --address=$LWS_LEADER_ADDRESS:6379 --block"))
    return (
        "apiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\nmetadata: {name: llm}\nspec:\n"
        f"  replicas: {spec.replicas}\n  leaderWorkerTemplate:\n    size: {nodes}\n    leaderTemplate:\n      spec:\n"
        f"{leader}"
        f"    workerTemplate:\n      spec:\n{worker.replace('{each}', str(each))}"
    )


def inference_service(spec: Spec, style: int) -> str:
    args = spec.joined() if style != 1 else spec.flags()
    model = [f"--model_id={spec.model}"] if style == 0 else []
    place = "" if style == 0 else f"      storageUri: hf://{spec.model}\n"
    return (
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: llm}\nspec:\n  predictor:\n"
        f"    minReplicas: {spec.replicas}\n    nodeSelector:\n      nvidia.com/gpu.product: {LABELS[spec.device]}\n"
        "    model:\n      modelFormat: {name: huggingface}\n"
        f"{place}      args:\n{_yaml_list([*model, *args], 6)}"
        f"      resources:\n        limits:\n          nvidia.com/gpu: {spec.gpus}\n"
    )


def llm_service(spec: Spec, style: int) -> str:
    expert = "    expert: true\n" if spec.expert else ""
    version = ("v1alpha1", "v1alpha2", "v1alpha2")[style]
    extra = json.dumps(f"--max-model-len {spec.context}")
    env = f"        env:\n        - {{name: VLLM_ADDITIONAL_ARGS, value: {extra}}}\n"
    return (
        f"apiVersion: serving.kserve.io/{version}\nkind: LLMInferenceService\nmetadata: {{name: llm}}\nspec:\n"
        f"  replicas: {spec.replicas}\n  model:\n    uri: hf://{spec.model}\n    name: {spec.model}\n  parallelism:\n"
        f"    tensor: {spec.tp}\n    pipeline: {spec.pp}\n    data: {spec.dp}\n{expert}"
        "  template:\n    nodeSelector:\n"
        f"      nvidia.com/gpu.product: {LABELS[spec.device]}\n    containers:\n      - name: main\n{env}"
        f'        resources:\n          limits: {{nvidia.com/gpu: "{spec.gpus}"}}\n'
    )


def production_stack(spec: Spec, style: int) -> str:
    rest = [word for word in spec.joined() if not word.startswith(("--tensor", "--max-model"))]
    extra = f"      extraArgs: {json.dumps(rest)}\n" if rest else ""
    selector = (
        "    nodeSelectorTerms:\n    - matchExpressions:\n      - key: nvidia.com/gpu.product\n        operator: In\n"
        f"        values: [{LABELS[spec.device]}]\n"
    )
    quote = '"' if style == 2 else ""
    return (
        "servingEngineSpec:\n  runtimeClassName: nvidia\n  modelSpec:\n  - name: llm\n"
        "    repository: vllm/vllm-openai\n"
        f"    tag: v0.11.0\n    modelURL: {spec.model}\n    replicaCount: {spec.replicas}\n    requestCPU: 8\n"
        f"    requestGPU: {spec.gpus}\n    vllmConfig:\n      tensorParallelSize: {quote}{spec.tp}{quote}\n"
        f"      maxModelLen: {quote}{spec.context}{quote}\n{extra}{selector}"
    )


def model_service(spec: Spec, style: int) -> str:
    rest = [word for word in spec.joined() if not word.startswith(("--tensor", "--data"))]
    args = _yaml_list(rest, 6)
    prefill = "prefill:\n  create: false\n" if style else ""
    return (
        f"modelArtifacts:\n  name: {spec.model}\n  uri: hf://{spec.model}\n{prefill}decode:\n  create: true\n"
        f"  replicas: {spec.replicas}\n  parallelism:\n    tensor: {spec.tp}\n    data: {spec.dp}\n  containers:\n"
        f"  - name: vllm\n    modelCommand: vllmServe\n    args:\n{args}"
        f'    resources:\n      limits: {{nvidia.com/gpu: "{spec.gpus}"}}\n'
    )


def tensorrt_config_map(spec: Spec, style: int) -> str:
    path = "/config/options.yaml"
    command = ["trtllm-serve", spec.model, "--extra_llm_api_options", path]
    expert = f"    moe_expert_parallel_size: {spec.tp}\n" if spec.expert else ""
    options = (
        f"    tensor_parallel_size: {spec.tp}\n    pipeline_parallel_size: {spec.pp}\n{expert}"
        f"    max_seq_len: {spec.context}\n    max_num_tokens: 8192\n    kv_cache_config:\n"
        "      free_gpu_memory_fraction: 0.85\n      dtype: fp8\n"
    )
    workload = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: llm}\nspec:\n"
        f"  replicas: {spec.replicas}\n  template:\n    spec:\n      nodeSelector:\n"
        f"        nvidia.com/gpu.product: {LABELS[spec.device]}\n      containers:\n      - name: engine\n"
        f"        image: nvcr.io/nvidia/tensorrt-llm/release:1.1.0\n        command: {json.dumps(command)}\n"
        f"        resources: {{limits: {{nvidia.com/gpu: {spec.gpus}}}}}\n"
    )
    held = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: options}}\ndata:\n  options.yaml: |\n{options}"
    return f"{held}---\n{workload}" if style != 1 else f"{workload}---\n{held}"


def docker_run(spec: Spec, style: int) -> str:
    gpus = ("'\"device=" + ",".join(map(str, range(spec.gpus))) + "\"'", str(spec.gpus), str(spec.gpus))[style]
    name = "" if style == 1 else "--model"
    served = f"{spec.model} " if style == 1 else ""
    line = (
        f"docker run --rm --gpus {gpus} --ipc=host -p 8000:8000 -e HF_TOKEN=$HF_TOKEN \\\n"
        f"  vllm/vllm-openai:v0.11.0 \\\n"
        f"  {served}{' '.join(spec.flags(model=name))}\n"
    )
    return f"# Serving\n\nHardware: {spec.device}\n\n```bash\n{line}```\n" if style != 2 else f"#!/bin/bash\n{line}"


def compose(spec: Spec, style: int) -> str:
    words = spec.flags(model="--model")
    command = (" ".join(words), json.dumps(words), ">\n      " + "\n      ".join(spec.joined(model="--model")))[style]
    devices = (
        f"            - {{driver: nvidia, count: {spec.gpus}, capabilities: [gpu]}}\n"
        if style
        else f"            - driver: nvidia\n"
        f"              device_ids: {json.dumps([str(n) for n in range(spec.gpus)])}\n"
        "              capabilities: [gpu]\n"
    )
    return (
        f"x-common: &common\n  restart: always\nservices:\n  llm:\n    <<: *common\n"
        f"    image: vllm/vllm-openai:v0.11.0\n"
        f"    command: {command}\n    deploy:\n      resources:\n        reservations:\n          devices:\n{devices}"
    )


def _sglang(spec: Spec) -> list[str]:
    words = ["--model-path", spec.model, "--tp", str(spec.tp), "--context-length", str(spec.context)]
    return words + (["--ep-size", str(spec.tp)] if spec.expert else [])


def dynamo_services(spec: Spec, style: int) -> str:
    """Together (one worker) or apart (prefill and decode alike)."""
    words = _sglang(spec)
    apart = [[*words, "--disaggregation-mode", role] for role in ("prefill", "decode")]
    parts = [("Worker", words)] if style == 0 else list(zip(("prefill", "decode"), apart, strict=True))
    found = "apiVersion: nvidia.com/v1alpha1\nkind: DynamoGraphDeployment\nmetadata: {name: llm}\nspec:\n  services:\n"
    found += "    Frontend:\n      componentType: frontend\n      replicas: 1\n"
    for name, args in parts:
        found += (
            f"    {name}:\n      componentType: worker\n      replicas: {spec.replicas}\n      resources:\n"
            f'        limits: {{gpu: "{spec.gpus}"}}\n      extraPodSpec:\n        nodeSelector:\n'
            f"          nvidia.com/gpu.product: {LABELS[spec.device]}\n        mainContainer:\n"
            "          image: nvcr.io/nvidia/ai-dynamo/sglang-runtime:1.0\n"
            "          command: [python3, -m, dynamo.sglang]\n"
            f"          args: {json.dumps(args)}\n"
        )
    return found


def dynamo_components(spec: Spec, style: int) -> str:
    roles = ("worker",) if style == 0 else ("prefill", "decode")
    found = "apiVersion: nvidia.com/v1beta1\nkind: DynamoGraphDeployment\nmetadata: {name: llm}\nspec:\n"
    found += "  backendFramework: vllm\n  components:\n  - name: Frontend\n    type: frontend\n    replicas: 1\n"
    for role in roles:
        found += (
            f"  - name: {role}\n    type: {role}\n    replicas: {spec.replicas}\n    podTemplate:\n      spec:\n"
            f"        nodeSelector: {{nvidia.com/gpu.product: {LABELS[spec.device]}}}\n        containers:\n"
            "        - name: main\n          image: nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.1\n"
            f"          command: [python3, -m, dynamo.vllm]\n"
            f"          args: {json.dumps(spec.flags(model='--model'))}\n"
            f'          resources: {{limits: {{nvidia.com/gpu: "{spec.gpus}"}}}}\n'
        )
    return found


def ray_service(spec: Spec, style: int) -> str:
    expert = "          enable_expert_parallel: true\n" if spec.expert else ""
    applications = (
        "applications:\n- name: llm\n  import_path: ray.serve.llm:build_openai_app\n  route_prefix: /\n  args:\n"
        "    llm_configs:\n      - model_loading_config:\n          model_id: served\n"
        f"          model_source: {spec.model}\n        accelerator_type: {spec.device}\n        engine_kwargs:\n"
        f"          tensor_parallel_size: {spec.tp}\n          pipeline_parallel_size: {spec.pp}\n"
        f"          max_model_len: {spec.context}\n{expert}"
        f"        deployment_config: {{autoscaling_config: {{min_replicas: 1}}}}\n"
    )
    if style == 0:
        return applications
    inside = "".join(f"    {line}\n" for line in applications.splitlines())
    return (
        "apiVersion: ray.io/v1\nkind: RayService\nmetadata: {name: llm}\nspec:\n  serveConfigV2: |\n"
        f"{inside}  rayClusterConfig:\n    headGroupSpec:\n      template:\n        spec:\n          containers:\n"
        "          - {name: head, image: 'rayproject/ray-llm:2.50.0'}\n    workerGroupSpecs:\n    - groupName: gpu\n"
        "      replicas: 1\n      template:\n        spec:\n          containers:\n          - name: worker\n"
        f"            image: rayproject/ray-llm:2.50.0\n"
        f"            resources: {{limits: {{nvidia.com/gpu: {spec.gpus}}}}}\n"
    )


def python_code(spec: Spec, style: int) -> str:
    expert = ", enable_expert_parallel=True" if spec.expert else ""
    if style == 0:
        return (
            f'from vllm import LLM, SamplingParams\n\nMODEL = "{spec.model}"\nllm = LLM(\n    model=MODEL,\n'
            f"    tensor_parallel_size={spec.tp}, max_model_len={spec.context}{expert},\n)\n"
        )
    if style == 1:
        return (
            f"from vllm import AsyncEngineArgs\n\nGPUS = {spec.tp}\nsettings = dict(max_model_len={spec.context})\n"
            f'args = AsyncEngineArgs("{spec.model}", tensor_parallel_size=GPUS{expert}, **settings)\n'
        )
    words = ", ".join(json.dumps(word) for word in spec.flags())
    return f'import subprocess\n\nsubprocess.run(["vllm", "serve", "{spec.model}", {words}], check=True)\n'


def environment(spec: Spec, style: int) -> str:
    prefix = ("", "VLLM_", "")[style]
    extra = "--enable-expert-parallel" if spec.expert else ""
    if style == 2:
        return f'MODEL_ID={spec.model}\nVLLM_ARGS="{" ".join(spec.flags())}"\nHF_TOKEN=secret\n'
    return (
        f"# engine\n{prefix}MODEL={spec.model}\n{prefix}TENSOR_PARALLEL_SIZE={spec.tp}\n"
        f'{prefix}MAX_MODEL_LEN={spec.context}\nEXTRA_ARGS="{extra}"\nPORT=8000\n'
    )


def systemd(spec: Spec, style: int) -> str:
    words = spec.joined() if style else spec.flags()
    size = f'Environment="SIZE={spec.tp}"\n' if style == 2 else ""
    if style == 2:
        words = [word.replace(f"--tensor-parallel-size={spec.tp}", "--tensor-parallel-size=${SIZE}") for word in words]
    lines = " \\\n    ".join(words)
    return (
        f"[Unit]\nDescription=engine\n\n[Service]\n{size}ExecStart=/opt/venv/bin/vllm serve {spec.model} \\\n"
        f"    {lines}\n"
        "Restart=always\n\n[Install]\nWantedBy=multi-user.target\n"
    )


def notebook(spec: Spec, style: int) -> str:
    shell = [f"!vllm serve {spec.model} " + " ".join(spec.flags()) + "\n"]
    script = ["%%bash\n", f"export MODEL={spec.model}\n", "vllm serve $MODEL \\\n", f"  {' '.join(spec.joined())}\n"]
    code = [line + "\n" for line in python_code(spec, 0).splitlines()]
    cells = [{"cell_type": "markdown", "metadata": {}, "source": ["# Serving\n", "Notes on a server.\n"]}]
    source = (shell, script, code)[style]
    cells.append({"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None})
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}, indent=1)


def script(spec: Spec, style: int) -> str:
    if style == 0:
        return (
            f'#!/bin/bash\nset -e\nMODEL="{spec.model}"\nTP=${{TP:-{spec.tp}}}\nARGS=(\n'
            f"  --max-model-len {spec.context}\n"
            + ("  --enable-expert-parallel\n" if spec.expert else "")
            + ')\nvllm serve $MODEL \\\n  --tensor-parallel-size ${TP} \\\n  "${ARGS[@]}" > log.txt 2>&1 &\n'
        )
    if style == 1:
        visible = ",".join(map(str, range(spec.gpus)))
        return f"export CUDA_VISIBLE_DEVICES={visible}\nvllm serve {spec.model} {' '.join(spec.joined())} | tee log\n"
    return (
        f"#!/bin/bash\n#SBATCH --nodes=1\n#SBATCH --gpus-per-node={spec.gpus}\nsrun vllm serve {spec.model} \\\n"
        f"  {' '.join(spec.flags())}\n"
    )


FORMS: dict[str, tuple[Callable[[Spec, int], str], str]] = {
    "deployment": (deployment, ".yaml"),
    "leader-worker-set": (leader_worker, ".yaml"),
    "inference-service": (inference_service, ".yaml"),
    "llm-inference-service": (llm_service, ".yaml"),
    "production-stack": (production_stack, ".yaml"),
    "llm-d": (model_service, ".yaml"),
    "tensorrt-llm": (tensorrt_config_map, ".yaml"),
    "docker-run": (docker_run, ".md"),
    "compose": (compose, ".yaml"),
    "dynamo-v1alpha1": (dynamo_services, ".yaml"),
    "dynamo-v1beta1": (dynamo_components, ".yaml"),
    "ray-serve": (ray_service, ".yaml"),
    "python": (python_code, ".py"),
    "env": (environment, ".env"),
    "systemd": (systemd, ".service"),
    "notebook": (notebook, ".ipynb"),
    "shell": (script, ".sh"),
}
STYLES = 3

BASES = (
    Spec(),
    Spec(model="Qwen/Qwen3-235B-A22B-FP8", tp=8, expert=True, gpus=8, context=32768, replicas=1),
    Spec(model="Qwen/Qwen3-32B", tp=2, gpus=2, context=32768),
)
"""Three launches that start: a dense model, experts over all ranks with whole blocks, a small one."""

NO_DEVICE = frozenset({"llm-d", "compose", "python", "env", "systemd", "notebook", "shell"})
NO_GPUS = frozenset({"python", "env", "systemd", "notebook", "ray-serve/0", "shell/0", "docker-run/x"})


def errors_of(form: str, style: int) -> dict[str, tuple[str, Callable[[Spec], Spec]]]:
    """Errors that a form has a place for: the fields of claims that may say it, and the change."""
    found: dict[str, tuple[str, Callable[[Spec], Spec]]] = {
        "heads": ("tp layout_accepted gpus_requested", lambda spec: replace(spec, tp=6, gpus=6)),
        "positions": ("max_model_len", lambda spec: replace(spec, context=1_000_000)),
    }
    if form not in NO_GPUS and f"{form}/{style}" not in NO_GPUS:
        found["too-few-gpus"] = (
            "gpus_requested gpus_available visible_gpus",
            lambda spec: replace(spec, gpus=spec.tp * spec.pp * spec.dp // 2),
        )
    if form not in NO_DEVICE and not (form == "docker-run" and style == 2):
        pods = 2 if form == "leader-worker-set" else 1
        found["weights"] = ("weights_fit", lambda spec: replace(spec, tp=1, gpus=pods, device="L4"))
    if form != "env" or style != 2:
        found["blocks"] = ("tp layout_accepted", lambda spec: replace(spec, expert=False))
    return found


@dataclass(frozen=True)
class Form:
    """One document: its text, the specification behind it, and the fields of claims that may catch its error."""

    name: str
    suffix: str
    text: str
    spec: Spec
    error: str = ""
    fields: tuple[str, ...] = ()


def clean_forms() -> list[Form]:
    """Every form in every style, each with one of the launches that start."""
    found = []
    for number, (name, (write, suffix)) in enumerate(FORMS.items()):
        for style in range(STYLES):
            spec = _fitted(BASES[(style + number) % len(BASES)], name)
            found.append(Form(f"{name}-{style}", suffix, write(spec, style), spec))
    return found


def planted_forms() -> list[Form]:
    """Every form in every style with every error that it has a place for."""
    found = []
    for number, (name, (write, suffix)) in enumerate(FORMS.items()):
        for style in range(STYLES):
            for error, (fields, change) in errors_of(name, style).items():
                base = BASES[1] if error == "blocks" else BASES[(style + number) % len(BASES)]
                spec = change(_fitted(base, name))
                text = write(spec, style)
                found.append(Form(f"{name}-{style}-{error}", suffix, text, spec, error, tuple(fields.split())))
    return found


def _fitted(spec: Spec, form: str) -> Spec:
    """A launch over two nodes needs an even number of GPUs; nothing else differs."""
    return replace(spec, tp=2 * spec.tp, gpus=2 * spec.gpus) if form == "leader-worker-set" and spec.tp < 8 else spec
