"""Readers of questions: instances of every kind, devices, sweeps, flags, and what a page sends."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.fuzz.mutations import ODD_VALUES, changed
from benchmarks.fuzz.reader import Content, Make, Reader, from_files, from_trees, nudged
from shardproof.instances import catalogue
from shardproof.instances.resolve import load_instance
from shardproof.instances.sweep import expand, load_sweep
from tests.oracles.places import CASES, ROOT

ODD = ("1e-9", "1e-30", "1", "0", "99%", "1e39", "1e17 ns", "1 ns", "1 B", "1e17 B", "1e17 B/s", "1 B/s", 1, 2, 7,
       10**6, True, 0.5, "1/s", "1e-9/s", "1000000/s", "fp8", "any", "apart", "vllm", "sglang@0.5.5")  # fmt: skip
"""Values that may be valid where they land: what is read then has to be answered."""
SECONDS = 0.2
"""Time limit of a solve."""

BURST: dict[str, Any] = {
    "model": "qwen3-8b",
    "device": "h100-sxm",
    "workload": {"kind": "burst", "batch_size": 4, "input_tokens": 100, "output_tokens": 10},
    "limits": {"ttft": "10 s", "tpot": "1 s", "max_gpus": 4, "memory": "80 GB"},
    "hardware": {"mfu": 0.5, "memory_bandwidth": "3 TB/s", "devices_per_node": 8, "price_per_hour": "2 USD/h"},
    "margin": 0.1,
    "runtime_reserve": "1 GB",
}
LOOP: dict[str, Any] = {
    "model": "qwen3-30b-a3b-fp8",
    "device": "l40s",
    "engine": {"name": "vllm", "version": "0.11", "max_num_seqs": 64, "gpu_memory_utilization": 0.9},
    "workload": {"kind": "closed-loop", "concurrency": 16, "input_tokens": 512, "output_tokens": 64},
    "limits": {"tpot": "50 ms", "max_gpus": 4},
    "fixed": {"tensor_parallel": 2},
    "stage_widths": "any",
    "load_profile": "zipf:0.9",
}
APART: dict[str, Any] = {
    "model": "qwen3-8b",
    "device": "h100-sxm",
    "engine": "vllm",
    "serving": "apart",
    "transfer": {"bandwidth": "50 GB/s", "setup": "1 ms"},
    "workload": {"kind": "burst", "batch_size": 8, "input_tokens": 512, "output_tokens": 32},
    "limits": {"ttft": "2 s", "tpot": "30 ms", "max_gpus": 4},
}
OPEN: dict[str, Any] = {
    "model": "qwen3-8b",
    "device": "h100-sxm",
    "engine": "vllm",
    "workload": {
        "kind": "requests",
        "rate": "2/s",
        "arrival_cv": 1.5,
        "prefix_cache_hit": "20%",
        "input_tokens": {"p50": 300, "p99": 900},
        "output_tokens": {"mean": 60, "max": 200},
    },
    "limits": {"ttft": {"p50": "1 s", "p99": "3 s"}, "tpot_p99": "60 ms", "e2e": "20 s", "goodput": 0.9},
}
SCENARIOS: dict[str, Any] = {
    **{key: BURST[key] for key in ("model", "device", "hardware")},
    "engine": {"name": "sglang", "rope_scaling": {"rope_type": "yarn", "factor": 2.0}, "enforce_eager": True},
    "precision": {"weights": "fp8", "kv_cache": "fp8", "activations": "bf16"},
    "confidence": "90%",
    "replicas": "alike",
    "calibrations": [],
    "scenarios": [
        {"name": "short", "workload": BURST["workload"], "limits": {"ttft": "3 s"}},
        {"name": "long", "workload": LOOP["workload"], "limits": {"tpot": "90 ms"}},
    ],
}
POOLS: dict[str, Any] = {
    "devices": [
        {"device": "h100-sxm", "available": {"nodes": 2}, "price_per_hour": "2 USD/h", "serves": ["short"]},
        {"device": "l4", "available": {"gpus": 12}, "watts": 72, "sold": "nodes", "devices_per_node": 4},
        "a100-80-sxm=1x8@1.5 USD/h",
    ],
    "models": [
        {"name": "short", "model": "qwen3-8b", "workload": LOOP["workload"]},
        {"name": "long", "model": "llama-3.1-8b-instruct", "limits": {"ttft": "3 s"}, "workload": BURST["workload"]},
    ],
    "objective": "price",
    "spare": {"nodes": 1},
    "placement": "whole-nodes",
    "resolution": 20,
    "limits": {"max_gpus": 12, "tpot": "90 ms", "price_per_hour": "40 USD/h"},
}
MEASURED: dict[str, Any] = {
    "devices": [{"device": "a", "available": {"gpus": 6}, "price_per_hour": "1 USD/h"}, "b=2x4@3 USD/h"],
    "objective": "price",
    "requests": {"chat": "3/s", "code": "5/s"},
    "capacities": [
        {"device": "a", "gpus": 1, "rates": {"chat": "1/s", "code": "2/s"}},
        {"device": "b", "gpus": 2, "rates": {"chat": "60/min"}},
    ],
}
TRACES = (
    ("trace.csv", b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,374,44\n2023-11-16 18:15:50,9,2\n"),
    ("trace.csv", b"Timestamp,Request tokens,Response tokens\n5,472,18\n45.5,1087,230\n46,3,0\n"),
    ("trace.csv", b"time_s,input_tokens,output_tokens\n0.0,100,10\n0.25,20,5\n1,7,1\n"),
    ("trace.jsonl", b'{"timestamp": 0, "input_length": 675, "output_length": 52, "hash_ids": [0, 1]}\n'
                    b'{"timestamp": 3000, "input_length": 500, "output_length": 9, "hash_ids": [0, 2]}\n'),
)  # fmt: skip
"""Traces in every form that is read."""


def hostile_trace(chance: random.Random) -> tuple[str, bytes]:
    """Return a trace whose cells, text or bytes are odd, plain or compressed."""
    from benchmarks.fuzz.mutations import binary
    from tests.oracles.fuzzed_documents import mutate

    name, raw = chance.choice(TRACES)
    kind = chance.randrange(4)
    if kind == 0:
        raw = mutate(chance, raw)
    elif kind == 1:
        raw = binary(chance, raw)
    else:
        cells = [cell for cell in raw.replace(b"\n", b",").replace(b":", b",").split(b",") if cell.strip()]
        odd = str(chance.choice(ODD_VALUES)).encode("utf-8", "replace")
        raw = raw.replace(chance.choice(cells).strip(), odd, 1) * chance.choice((1, 1, 1, 300))
    if chance.random() < 0.2:
        packed = gzip.compress(raw)
        return f"{name}.gz", binary(chance, packed) if chance.random() < 0.5 else packed
    return name, raw


def _instances() -> Reader:
    tidy = from_trees((BURST, LOOP, APART, OPEN, SCENARIOS))
    cases = from_files(CASES)
    return Reader("instances", "instances", lambda chance: (tidy if chance.random() < 0.7 else cases)(chance), _load)


def _pools() -> Reader:
    return Reader("pools", "instances", from_trees((POOLS, MEASURED)), _load_any)


def _load(path: Path) -> object:
    return load_instance(path)


def _load_any(path: Path) -> object:
    from shardproof.solver.api.question import asked_from

    return asked_from(path, {})


def _answered() -> Reader:
    """Questions whose numbers are odd but may be valid: those that resolve are solved, rendered and written."""
    from shardproof.solver.api.solved import solve

    def make(chance: random.Random) -> Content:
        tree = chance.choice((BURST, BURST, LOOP, APART, SCENARIOS, POOLS, MEASURED))
        return json.dumps(nudged(chance, tree, ODD)).encode(), ".json"

    def read(path: Path) -> object:
        return json.dumps(solve(path, time_limit=SECONDS).to_dict(), allow_nan=False)

    return Reader("questions", "instances", make, read, names_file=False)


def _played() -> Reader:
    """Open loops, from distributions and traces: those that resolve are bounded and played."""
    from shardproof.solver.api.solved import solve

    def make(chance: random.Random) -> Content:
        if chance.random() < 0.4:
            return json.dumps(nudged(chance, OPEN, ODD)).encode(), ".json"
        name, raw = hostile_trace(chance)
        tree = OPEN | {"workload": {"kind": "requests", "trace": name}}
        return json.dumps([tree, name, raw.decode("latin-1")]).encode(), ".both"

    def read(path: Path) -> object:
        if path.suffix == ".both":
            tree, name, text = json.loads(path.read_bytes())
            path.with_name(name).write_bytes(text.encode("latin-1"))
            path = path.with_suffix(".json")
            path.write_text(json.dumps(tree), encoding="utf-8")
        return json.dumps(solve(path, time_limit=SECONDS).to_dict(), allow_nan=False)

    return Reader("open-loops", "instances", make, read, names_file=False)


def _traces() -> Reader:
    from shardproof.instances.traffic.trace import read_trace

    def make(chance: random.Random) -> Content:
        name, raw = hostile_trace(chance)
        return raw, "." + name.partition(".")[2]

    return Reader("traces", "profiles", make, read_trace)


def _devices() -> Reader:
    files = sorted((catalogue.FOLDER / "devices").glob("*.yaml"))
    devices = [{"name": path.stem, **yaml.safe_load(path.read_bytes())} for path in files]
    for device in devices:
        device.pop("aliases", None)

    def make(chance: random.Random) -> Content:
        tree = {key: BURST[key] for key in ("model", "workload")}
        return json.dumps({**tree, "device": changed(chance, chance.choice(devices))}, default=str).encode(), ".json"

    return Reader("devices", "devices", make, _load)


def _sweeps() -> Reader:
    def read(path: Path) -> object:
        sweep = load_sweep(path)
        return list(islice(expand(sweep, where=str(path), folder=path.parent), 20))

    return Reader("sweeps", "sweeps", from_files(ROOT / "instances" / "sweeps"), read, names_file=False)


def _flags() -> Reader:
    from shardproof.solver.api.question import asked_from
    from shardproof.solver.commands.instance_options import instance_options

    @click.command()
    @click.argument("instance", required=False)
    @instance_options
    def command(instance: str | None, **flags: Any) -> None:
        asked_from(instance, flags)

    names = [max(option.opts, key=len) for option in command.params if isinstance(option, click.Option)]
    usual = {"--model": "qwen3-8b", "--device": "h100-sxm", "--isl": "100", "--osl": "10", "--batch-size": "2"}

    def make(chance: random.Random) -> Content:
        given = {**usual, **{chance.choice(names): _odd(chance) for _ in range(chance.choice((1, 1, 2, 4)))}}
        return json.dumps([part for pair in given.items() for part in pair]).encode(), ".json"

    def read(path: Path) -> object:
        arguments = json.loads(path.read_bytes())
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return command.main(args=arguments, standalone_mode=False)

    return Reader("flags", "flags", make, read, names_file=False)


def _odd(chance: random.Random) -> str:
    value = chance.choice((*ODD_VALUES, *ODD, "40 GB", "50%", "h100-sxm", "zipf:0.9", "a:b", "l4=2x4@1 USD/h", "node"))
    return str(value).replace("\x00", "")


def _page() -> Reader:
    """Errands as a page sends them over its socket: odd kinds, questions, texts, targets."""
    from shardproof.instances.reading import parse_mapping
    from shardproof.solver.batch.answer import Job
    from shardproof.solver.batch.fingerprint import SolveSettings
    from shardproof.solver.page.errands import Errand, Errands

    settings = SolveSettings(time_limit_s=SECONDS)

    def read(path: Path) -> object:
        errands = Errands(settings, str(path.parent))
        tree = parse_mapping(path.read_text(encoding="utf-8", errors="replace"), where="message", json_syntax=True)
        options = tree.get("options")
        errand = Errand(
            str(tree.get("kind")), json.loads(json.dumps(options if isinstance(options, dict) else {}, default=str))
        )
        return errand.subject, errands(Job("page", errand.kind, errand))

    return Reader("page", "flags", page_messages(), read, names_file=False)


def packed(raw: bytes) -> str:
    """Return bytes as a page sends them."""
    return base64.b64encode(raw).decode()


def page_messages() -> Make:
    """Return what makes the messages of a tab."""
    fields = {"model": "qwen3-8b", "engine": "vllm", "isl": "128", "osl": "16", "batch_size": "2", "ttft": "9 s"}
    question = {"fields": fields, "devices": ["h100-sxm", "l4"], "rest": {}}
    plan = {
        "replicas": 1,
        "microbatch_tokens": 256,
        "stages": [{"layers": [0, 35], "gpus": 1, "attn_tp": 1, "attn_dp": 1, "moe_tp": 1, "moe_ep": 1}],
    }
    asked = {"question": question, "device": "h100-sxm"}
    loop = {"question": {"fields": {}, "devices": [], "rest": LOOP}, "device": "l40s"}
    texts = (
        yaml.safe_dump(OPEN),
        "shardproof solve --model qwen3-8b --isl 1k --osl=2",
        "vllm serve Qwen/Qwen3-8B -tp 2",
    )
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2}
    dropped = [*TRACES, ("config.json", json.dumps(config).encode()), ("loads.json", b"[[1, 2], [3, 4]]")]
    messages = [
        *({"kind": kind, "options": asked} for kind in ("answer", "certify", "why", "limits")),
        {"kind": "answer", "options": loop},
        {"kind": "answer", "options": {"question": {"fields": {}, "rest": POOLS}, "device": None}},
        {"kind": "export", "options": {**asked, "plan": plan, "target": "kubernetes"}},
        {"kind": "model", "options": {"name": "qwen3-8b"}},
        *({"kind": "drop", "options": {"name": name, "data": packed(raw)}} for name, raw in dropped),
        *({"kind": "read", "options": {"text": text}} for text in texts),
        *({"kind": "audit", "options": {**asked, "text": text}} for text in (yaml.safe_dump(plan), *texts)),
    ]
    return from_trees(messages, suffix=".json")


def readers() -> Iterator[Reader]:
    """Every reader of questions."""
    yield from (make() for make in (_instances, _pools, _answered, _played, _traces, _devices, _sweeps, _flags, _page))
