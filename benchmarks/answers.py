"""Answers kept before a change and compared after it: ``python -m benchmarks.answers store|compare FILE``.

``store`` draws questions by a seed and writes each with its answer, a JSON line apiece; ``compare`` answers the
questions of such a file again. Status, GPUs, bound, and value and bound of each level have to be the same integers. A
plan may differ where all levels agree (several plans are then optimal): such plans are counted. Where either side ran
out of time only a contradiction counts: a plan below the other side's bound.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import click

from shardproof.instances.catalogue import device_names, model_names
from shardproof.instances.errors import InputError
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.answer import answer
from shardproof.solver.result import Result
from shardproof.solver.search.settings import Settings

HARD_EVERY = 25
"""Of so many questions one is of any size; the others have budgets that are searched quickly."""
CERTIFIED_EVERY = 10
"""Of so many questions one has its certificate judged by the checker too."""

Record = dict[str, Any]


def questions(seed: int) -> Iterator[Record]:
    """Yield questions without end: bursts and closed loops, under named engines and any, one scenario or two."""
    random, models, devices = Random(f"answers {seed}"), model_names(), device_names()
    place = 0
    while True:
        hard = place % HARD_EVERY == HARD_EVERY - 1
        tree: Record = {"model": random.choice(models), "device": random.choice(devices)}
        tree["engine"] = random.choice(("any", "any", "any", "vllm", "sglang", "trtllm"))
        scenarios = [_scenario(random, hard=hard) for _ in range(1 if random.random() < 0.9 else 2)]
        budget = random.choice((128, 256) if hard else (4, 8, 12, 16, 24))
        if len(scenarios) == 1:
            tree |= scenarios[0]
        else:
            tree |= {"scenarios": [{"name": f"load {at}", **one} for at, one in enumerate(scenarios)]}
        tree["limits"] = {**tree.get("limits", {}), "max_gpus": budget}
        if random.random() < 0.2:
            tree["replicas"] = "alike"
        place += 1
        yield tree


def _scenario(random: Random, *, hard: bool) -> Record:
    prompt, output = random.choice((128, 1000, 2048, 4000, 8192)), random.choice((100, 512, 1000, 2048))
    requests = random.choice((64, 128, 200) if hard else (1, 4, 8, 13, 32, 60))
    limits: Record = {}
    if random.random() < 0.7:
        limits["ttft"] = f"{random.choice((500, 2000, 5000, 15000, 40000))} ms"
    if random.random() < 0.5:
        limits["tpot"] = f"{random.choice((15, 30, 50, 100, 200))} ms"
    lengths = {"input_tokens": prompt, "output_tokens": output}
    if random.random() < 0.6:
        return {"workload": {"kind": "burst", "batch_size": requests, **lengths}, "limits": limits}
    return {"workload": {"kind": "closed-loop", "concurrency": requests, **lengths}, "limits": limits}


def answered(question: Mapping[str, Any], place: int, time_limit_s: float) -> Record | None:
    """Return what is compared of an answer, and its processor seconds; ``None``: it cannot be asked."""
    try:
        instance = resolve_tree(dict(question), where=f"question {place}")
        settings = Settings(time_limit_s=time_limit_s, certify=place % CERTIFIED_EVERY == 0, explain=False)
        started = time.process_time()
        found = answer(instance, settings=settings)
    except InputError:
        return None
    return _record(found) | {"cpu_s": round(time.process_time() - started, 3)}


def _record(found: Result) -> Record:
    plan = None if found.plan is None else found.plan.model_dump(mode="json")
    return {
        "status": found.status,
        "proof": found.proof,
        "stop_reason": found.stop_reason,
        "gpus": found.gpus,
        "bound": found.bound,
        "levels": {name: [level.value, level.bound] for name, level in found.levels.items()},
        "engine": found.engine,
        "engines": {one.engine: [one.gpus, one.bound] for one in found.engines},
        "plan": plan,
    }


def difference(before: Record, after: Record) -> str | None:
    """Say in what two answers differ that may not (``None``: in nothing); both proved, or a contradiction."""
    if before["stop_reason"] == after["stop_reason"] == "proved":
        compared = ("status", "gpus", "bound", "levels", "engine", "proof")
        told = [f"{name}: {before[name]}, now {after[name]}" for name in compared if before[name] != after[name]]
        return "; ".join(told) or None
    for one, other in ((before, after), (after, before)):
        if one["gpus"] is not None and (other["status"] == "infeasible" or one["gpus"] < (other["bound"] or 0)):
            return f"a plan of {one['gpus']} GPUs against {other['status']}, bound {other['bound']}"
    return None


@click.group()
def application() -> None:
    """Keep answers before a change, compare them after it."""


@application.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--count", type=int, default=500, show_default=True, help="Questions that have answers.")
@click.option("--seed", type=int, default=14, show_default=True)
@click.option("--time-limit", type=float, default=20.0, show_default=True, help="Seconds per question.")
def store(file: Path, count: int, seed: int, time_limit: float) -> None:
    """Answer questions drawn by a seed and write them to FILE; what FILE holds already is not answered again."""
    known = len(file.read_text().splitlines()) if file.exists() else 0
    with file.open("a") as lines:
        written = 0
        for place, question in enumerate(questions(seed)):
            if written >= count:
                return
            if written < known:
                written += _can_be_asked(question, place)
                continue
            found = answered(question, place, time_limit)
            if found is not None:
                written += 1
                lines.write(json.dumps({"place": place, "question": question, "answer": found}) + "\n")
                lines.flush()


def _can_be_asked(question: Record, place: int) -> bool:
    try:
        resolve_tree(dict(question), where=f"question {place}")
    except InputError:
        return False
    return True


@application.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--every", type=int, default=1, show_default=True, help="Only each n-th question.")
@click.option("--first", type=int, default=0, show_default=True, help="Place of the first question.")
@click.option("--most", type=float, help="Only questions that took at most so many processor seconds before.")
@click.option("--time-limit", type=float, default=20.0, show_default=True, help="Seconds per question.")
def compare(file: Path, every: int, first: int, most: float | None, time_limit: float) -> None:
    """Answer the questions of FILE again; exit code 1 where an answer differs that may not."""
    counts: Counter[str] = Counter()
    seconds = [0.0, 0.0]
    for line in file.read_text().splitlines()[first::every]:
        record = json.loads(line)
        before = record["answer"]
        if most is not None and before["cpu_s"] > most:
            continue
        after = answered(record["question"], record["place"], time_limit)
        told = "it is refused now" if after is None else difference(before, json.loads(json.dumps(after)))
        counts["compared"] += 1
        if told is not None:
            counts["differ"] += 1
            click.echo(f"question {record['place']}: {told}\n  {json.dumps(record['question'])}")
        elif after is not None:
            counts["another plan of the same figures"] += before["plan"] != after["plan"]
            counts["open before"] += before["stop_reason"] != "proved"
            counts["open now"] += after["stop_reason"] != "proved"
            seconds = [seconds[0] + before["cpu_s"], seconds[1] + after["cpu_s"]]
    click.echo(", ".join(f"{name}: {count}" for name, count in counts.items()))
    click.echo(f"processor seconds: {seconds[0]:.1f} before, {seconds[1]:.1f} now")
    sys.exit(1 if counts["differ"] else 0)


if __name__ == "__main__":
    application()
