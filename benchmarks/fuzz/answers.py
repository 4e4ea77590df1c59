"""Readers of answers: plans in every form, fleets, certificates of four kinds, ledgers."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

from benchmarks.fuzz.mutations import binary, changed
from benchmarks.fuzz.questions import APART, BURST, MEASURED, ODD, POOLS
from benchmarks.fuzz.reader import Content, Reader, from_trees, nudged
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.api.record import Answered
from tests.oracles.places import DATA

TARGETS = (
    "vllm", "sglang", "trtllm", "docker-compose", "kubernetes", "slurm", "kserve", "dynamo", "llm-d",
    "production-stack", "ray-serve", "", "KUBERNETES", "../x", "\x1b[2J",
)  # fmt: skip
PLAN: dict[str, Any] = {
    "model": "qwen3-8b",
    "replicas": 1,
    "microbatch_tokens": 256,
    "microbatches": [{"scenario": "main", "prefill_requests": 2, "prompt_chunks": 1, "decode_microbatches": 1}],
    "stages": [
        {"layers": [0, 17], "gpus": 1, "attn_tp": 1, "attn_dp": 1, "moe_tp": 1, "moe_ep": 1},
        {"layers": [18, 35], "gpus": 2, "attn_tp": 2, "attn_dp": 1, "moe_tp": 2, "moe_ep": 1},
    ],
}
MIXED: dict[str, Any] = {
    "model": "qwen3-8b",
    "replicas": 3,
    "microbatch_tokens": 256,
    "groups": [
        {**PLAN, "replicas": 2, "shares": [{"scenario": "main", "requests": 1}]},
        {**PLAN, "stages": [{**PLAN["stages"][0], "layers": [0, 35]}], "shares": [{"requests": 2}]},
    ],
}
for group in MIXED["groups"]:
    group.pop("model")
POOLED: dict[str, Any] = {**MIXED, "replicas": 2, "groups": [
    {**{key: value for key, value in group.items() if key != "shares"}, "replicas": 1, "pool": pool}
    for group, pool in zip(MIXED["groups"], ("prefill", "decode"), strict=True)
]}  # fmt: skip
FLEET: dict[str, Any] = {
    "groups": [
        {"offer": "a", "device": "a", "replicas": 2, "gpus_each": 1, "takes": [{"name": "chat", "rate_per_s": 1.0}]},
        {"offer": "b", "device": "b", "model": "m", "pool": "p", "replicas": 1, "gpus_each": 2, "plan": PLAN,
         "takes": [{"name": "main", "requests": 3}]},
    ],
    "nodes": [{"offer": "a", "node": 0, "gpus": 8, "seats": [{"group": 0, "replica": 0, "gpus": [0]}]}],
    "spared": [{"gone": "a", "replicas": [1, 1], "carried": {"chat": 1.0}}],
    "instance_fingerprint": "x",
}  # fmt: skip
SERVED: dict[str, Any] = {
    "groups": [
        {"offer": device, "device": device, "model": name, "pool": f"{name} on {device} under vllm",
         "replicas": replicas,
         "gpus_each": 1, "takes": [{"name": name, "requests": requests}],
         "plan": {**{key: PLAN[key] for key in ("microbatch_tokens", "microbatches")}, "model": model, "engine": "vllm",
                  "device": device, "replicas": replicas, "shares": [{"scenario": "main", "requests": requests}],
                  "stages": [{**PLAN["stages"][0], "layers": [0, last]}]}}
        for device, name, model, last, replicas, requests in (
            ("h100-sxm", "short", "qwen3-8b", 35, 2, 16), ("l4", "long", "llama-3.1-8b-instruct", 31, 1, 4)
        )
    ],
    "nodes": [{"offer": "h100-sxm", "node": 0, "gpus": 8, "seats": [{"group": 0, "replica": 0, "gpus": [0]}]}],
    "instance_fingerprint": "x",
}  # fmt: skip
"""The fleet of a question about two models on two devices."""


def _documents() -> Reader:
    """Documents and deployment forms, judged without a question."""
    from shardproof.solver.audit.audit import audit_document
    from shardproof.solver.documents.reader import read_document
    from tests.oracles.fuzzed_documents import hostile
    from tests.oracles.planted_forms import clean_forms

    originals = [path.read_bytes() for path in sorted((DATA / "documents").iterdir()) if path.is_file()]
    originals += [form.text.encode() for form in clean_forms()]

    return Reader(
        "documents",
        "plans",
        lambda chance: hostile(chance.randrange(2**40), originals),
        lambda path: audit_document(read_document(path)).to_json(),
    )


def _plans() -> Reader:
    """Plan files as `solve` writes them, predicted, audited, exported or played."""
    from shardproof.instances.errors import InputError
    from shardproof.solver.api.audited import audit
    from shardproof.solver.api.exported import export
    from shardproof.solver.api.predicted import predict
    from shardproof.solver.api.simulated import simulate

    asked = resolve_tree({**BURST, "engine": "vllm"}, where="question")
    apart = resolve_tree(APART, where="question")
    trees = from_trees((PLAN, MIXED, POOLED, {"plan": PLAN, "status": "optimal"}))

    def make(chance: random.Random) -> Content:
        raw, suffix = trees(chance)
        return json.dumps(
            [chance.randrange(4), chance.choice(TARGETS), suffix, raw.decode("latin-1")]
        ).encode(), ".plan"

    def read(path: Path) -> object:
        way, target, suffix, text = json.loads(path.read_bytes())
        plan = path.with_suffix(suffix)
        plan.write_bytes(text.encode("latin-1"))
        question = apart if "pool" in text else asked
        if way == 0:
            return audit(plan, question, time_limit=1).to_dict()
        if way == 1:
            return simulate(plan, question, num_requests=20, seeds=1).to_dict()
        if way == 2:
            with contextlib.suppress(InputError) if target == "" else contextlib.nullcontext():
                return export(plan, question, to=target).to_dict()
        return predict(plan, question).to_dict()

    return Reader("plans", "plans", make, read, names_file=False)


def _fleets() -> Reader:
    """Plans of fleets over several devices: exported, predicted, played, compared."""
    from shardproof.solver.api.audited import compare
    from shardproof.solver.api.exported import export
    from shardproof.solver.api.predicted import predict
    from shardproof.solver.api.simulated import simulate

    ways: tuple[Callable[[Path], Answered], ...] = (
        lambda path: export(path, POOLS, to="kubernetes"),
        lambda path: predict(path, POOLS),
        lambda path: simulate(path, POOLS, num_requests=20, seeds=1),
        lambda path: compare(path, instance=POOLS, time_limit=0.2),
        lambda path: export(path, MEASURED, to="vllm"),
    )

    def read(path: Path) -> object:
        return ways[crc32(path.read_bytes()) % len(ways)](path).to_dict()

    odd = from_trees((SERVED, {"plan": SERVED}, FLEET))

    def make(chance: random.Random) -> Content:
        if chance.random() < 0.5:
            return odd(chance)
        return json.dumps(nudged(chance, SERVED, ODD)).encode(), ".json"

    return Reader("fleets", "plans", make, read, names_file=False)


def _certificates() -> Reader:
    from shardproof.solver.api.verified import verify
    from shardproof.solver.proof.certificate import read_certificate

    trees = _stored_certificates()

    def make(chance: random.Random) -> Content:
        text = json.dumps(changed(chance, chance.choice(trees)), default=str).encode("utf-8", "replace")
        return (binary(chance, text) if chance.random() < 0.3 else text), ".json"

    def read(path: Path) -> object:
        found = verify(path)
        if b'"shardproof certificate' in path.read_bytes()[:100]:
            read_certificate(path)
        return found.to_dict()

    return Reader("certificates", "certificates", make, read)


def _stored_certificates() -> list[Any]:
    """Certificates of plans, of pools apart, of fleets and of expert placements."""
    from shardproof.solver.api.placed import place
    from shardproof.solver.api.solved import solve

    with gzip.open(DATA / "certificates.jsonl.gz", "rt", encoding="utf-8") as lines:
        stored = [json.loads(line) for line in islice(lines, 40)]
    texts = [text for item in stored for text in item if isinstance(text, str) and text.startswith("{")]
    trees = [tree for tree in map(json.loads, texts) if "program" in tree]
    others = [solve(APART).certificate(), solve(MEASURED).certificate()]
    others.append(place(experts=8, layers=2, profile="zipf:0.9", ranks=4, redundant=4, time_limit="1s").certificate())
    return trees + others * (len(trees) // 3)


def _ledgers() -> Reader:
    from shardproof.solver.batch.answer import Answer
    from shardproof.solver.batch.ledger import Ledger, LedgerFullError, RunTask

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "l.sqlite"
        with contextlib.closing(Ledger(path)) as ledger:
            for number in range(30):
                ledger.record(str(number), Answer("optimal", {"gpus": number}, '{"plan": 1}', 0.1))
            ledger.register("run", {}, [RunTask(n, str(n), {"task": str(n)}) for n in range(30)])
        original = path.read_bytes()

    def read(path: Path) -> object:
        with contextlib.suppress(LedgerFullError), contextlib.closing(Ledger(path, read_only=True)) as ledger:
            tasks = ledger.run_tasks("run")
            answers = ledger.answers([task.fingerprint for task in tasks], independent=False)
            return ledger.runs(), answers, [ledger.document(key) for key in answers]
        return None

    return Reader("ledgers", "ledgers", lambda chance: (binary(chance, original), ".sqlite"), read)


def _reports() -> Reader:
    """Ledgers whose database is sound and whose rows are not, as `report` reads them."""
    from shardproof.solver.api.batched import report
    from shardproof.solver.batch.answer import Answer
    from shardproof.solver.batch.ledger import Ledger, RunTask

    facts = {"task": "a", "model": "m", "device": "d", "engine": "vllm", "labels": {"x": "1"}, "memory_bytes": 1,
             "price_per_device_hour": 2.0, "price_kind": "list", "workload": "burst", "limits": "TTFT 1 s",
             "scenarios": [{"name": "main", "kind": "burst", "requests": 2, "ttft_limit_ns": 1}]}  # fmt: skip
    metrics = {"ttft_s": 0.5, "tpot_ms": 3.0, "requests_per_s": 2.0, "peak_memory_bytes": 3}
    summary = {"gpus": 1, "bound": 1, "metrics": metrics, "proof": "certified-optimal"}
    document = {"status": "optimal", "gpus": 1, "plan": PLAN, "metrics": {"ttft_s": 0.5}, "assumptions": ["x"]}

    def make(chance: random.Random) -> Content:
        parts = [facts, summary, document]
        place = chance.randrange(3)
        parts[place] = changed(chance, parts[place])
        return json.dumps(parts, default=str).encode("utf-8", "replace"), ".json"

    def read(path: Path) -> object:
        held, told, whole = json.loads(path.read_bytes())
        ledger = path.with_suffix(".sqlite")
        with contextlib.closing(Ledger(ledger)) as opened:
            opened.record("1", Answer("optimal", told, json.dumps(whole), 0.1))
            opened.register("run", {}, [RunTask(0, "1", held)])
        report(ledger).write(path.with_suffix(".html"))
        return ledger

    return Reader("reports", "ledgers", make, read)


def readers() -> Iterator[Reader]:
    """Every reader of answers."""
    yield from (make() for make in (_documents, _plans, _fleets, _certificates, _ledgers, _reports))
