"""When prefill and decode apart take fewer GPUs than together: five models, two workloads, two limits on TPOT.

``python -m benchmarks.apart`` plans each question both ways for requests that come by themselves; every plan in the
table was played in the simulator (pools with both pools, their queues and the link). Prints the table of docs/apart.md.

``python -m benchmarks.apart --random 300`` solves random small bursts together, apart and either way, and counts
answers of ``any`` that are worse than one of both (there must be none).

``python -m benchmarks.apart --fleets 20`` does the same with closed loops and requests a second on two devices at
random prices: ``any`` must be no dearer than either, no bound above its fleet, and every fleet keeps its limits when it
is played again.

``python -m benchmarks.apart --forge 1000`` changes one number each of certificates about two devices, and counts those
that the checker accepts for their question although their claim is false by brute force (there must be none).
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shardproof.instances.plan import Plan
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.pools_resolve import resolve_pools
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.answer import answer
from shardproof.solver.api.verified import verify
from shardproof.solver.pools.held import held
from shardproof.solver.pools.solve import certificate_document, solve_pools
from shardproof.solver.pools.steady_solve import CROSSED
from shardproof.solver.result import Result
from shardproof.solver.search.settings import Settings
from tests.oracles.apart_brute_force import small_instance
from tests.oracles.apart_fleets import least_cost, small_question
from tests.oracles.pools_agreement import forged

MODELS = (("qwen3-8b", 12), ("qwen3-32b", 4), ("qwen3-30b-a3b", 16), ("gpt-oss-120b", 12), ("llama-3.1-70b-fp8", 3))
"""Models, and requests a second with prompts of 4,096 tokens; others in inverse proportion to all their tokens."""
WORKLOADS = ((8192, 256), (1024, 512))
TPOTS = ("20ms", "50ms")


@dataclass(frozen=True)
class Row:
    """One question and its answers."""

    model: str
    read: int
    written: int
    rate: int
    tpot: str
    together: Result
    apart: Result

    @property
    def cells(self) -> tuple[str, ...]:
        """Cells of the table."""
        pools = "" if self.apart.plan is None else f" ({sizes(self.apart.plan)})"
        tokens = f"{self.read:,} + {self.written:,}"
        return (
            self.model,
            tokens,
            f"{self.rate}/s",
            self.tpot,
            said(self.together),
            said(self.apart) + pools,
            self.winner,
        )

    @property
    def winner(self) -> str:
        """Which way has fewer GPUs."""
        one, two = (result.gpus or 10**6 for result in (self.together, self.apart))
        return "-" if one == two == 10**6 else "together" if one < two else "apart" if two < one else "either"


def sizes(plan: Plan) -> str:
    """GPUs of the prefill pool and of the decode pool."""
    found = (sum(group.gpus for group in plan.groups if group.pool == name) for name in ("prefill", "decode"))
    return " + ".join(map(str, found))


def said(result: Result) -> str:
    """GPUs of a plan and the bound below it."""
    if result.gpus is None:
        return "none" if result.status == "infeasible" else "none found"
    return f"{result.gpus}" if result.bound == result.gpus else f"{result.gpus} (>= {result.bound})"


def question(model: str, read: int, written: int, rate: int, tpot: str, serving: str) -> dict[str, Any]:
    """Return a question for requests that come by themselves."""
    return {
        "model": model,
        "device": "h100-sxm",
        "engine": "vllm",
        "workload": {"kind": "requests", "rate": f"{rate}/s", "input_tokens": read, "output_tokens": written},
        "limits": {"ttft_p99": "2s", "tpot_p99": tpot, "max_gpus": 40},
        "serving": serving,
    }


def rows(models: Sequence[tuple[str, int]], limit_s: float) -> Iterator[Row]:
    """Answer every question both ways."""
    settings = Settings(explain=False, certify=False, time_limit_s=limit_s)
    for model, rate in models:
        for read, written in WORKLOADS:
            scaled = max(1, rate * 4096 // (read + 2 * written))
            for tpot in TPOTS:
                asked = (question(model, read, written, scaled, tpot, way) for way in ("together", "apart"))
                found = [answer(resolve_tree(tree, where=model), settings=settings) for tree in asked]
                yield Row(model, read, written, scaled, tpot, *found)


def never_worse(count: int) -> int:
    """Return how many of so many random bursts ``any`` answers worse than together or apart."""
    worse = 0
    settings = Settings(explain=False, certify=False)
    for seed in range(count):
        asked = small_instance(seed)
        gpus = {
            way: answer(asked.model_copy(update={"serving": way}), settings=settings).gpus or 10**6
            for way in ("together", "apart", "any")
        }
        worse += gpus["any"] != min(gpus["together"], gpus["apart"])
    return worse


def fleets_worse(count: int) -> tuple[int, int, int]:
    """Return how many of so many random fleets are dearer than one of both ways, below their bound, or miss a limit."""
    dearer, crossed, missed, settings = 0, 0, 0, Settings(explain=False, certify=False)
    for seed in range(count):
        values = dict[str, float]()
        for way in ("together", "apart", "any"):
            asked = coming_question(seed, way)
            found = solve_pools(asked, settings)
            values[way] = float("inf") if found.value is None else found.value
            crossed += CROSSED in found.explanation
            missed += found.plan is not None and bool(held(asked, found.plan, way).broken)
        dearer += values["any"] > min(values["together"], values["apart"])
    return dearer, crossed, missed


def coming_question(seed: int, serving: str) -> PoolsQuestion:
    """Return a random question of requests that keep coming to two devices, each for one phase or both."""
    chance = random.Random(seed)
    names = chance.sample(("h100-sxm", "a100-80-sxm", "l40s"), 2)
    prices = [chance.randint(5, 30) / 10 for _ in names]
    read, written = chance.choice(((512, 128), (2048, 256), (4096, 64)))
    load: dict[str, Any] = {"kind": "closed-loop", "concurrency": chance.choice((4, 24, 80))}
    if seed % 3 == 2:
        load = {"kind": "requests", "rate": f"{chance.choice((1, 4, 9))}/s"}
    tree: dict[str, Any] = {
        "model": "llama-3.1-8b-instruct",
        "engine": "vllm",
        "devices": [
            {"device": name, "price_per_hour": f"{price} USD/h", "available": {"nodes": chance.randint(1, 3)}}
            for name, price in zip(names, prices, strict=True)
        ],
        "objective": "price",
        "workload": load | {"input_tokens": read, "output_tokens": written},
        "limits": {"ttft": chance.choice(("500 ms", "2 s")), "tpot": chance.choice(("20 ms", "40 ms"))},
        "max_stage_gpus": 2,
        "serving": serving,
    }
    return resolve_pools(tree, where=f"fleet {seed}")


def forgeries(count: int) -> tuple[int, int]:
    """Return how many of so many forged certificates are accepted, and how many of those claim what is false."""
    chance, accepted, false, made = random.Random(0), 0, 0, 0
    for seed in itertools.count():
        asked = small_question(seed, "any" if seed % 2 else "apart")
        found = certificate_document(asked, solve_pools(asked, Settings(explain=False)))
        best = least_cost(asked)
        for _ in range(25):
            changed = None if found is None else forged(chance, found)
            if changed is None:
                continue
            if made == count:
                return accepted, false
            made += 1
            if verify(changed, asked).accepted:
                accepted += 1
                claim = changed["claim"]
                high = best is not None and claim["value"] is not None and claim["value"] < best
                low = best is not None and (claim["bound"] is None or claim["bound"] > best)
                false += claim["by"] == "certified" and (low or high or (best is None and claim["value"] is not None))
    raise AssertionError


def main(arguments: Sequence[str]) -> int:
    """Print the table, or count random questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=0, help="random bursts instead of the table")
    parser.add_argument("--fleets", type=int, default=0, help="random fleets under requests that keep coming")
    parser.add_argument("--limit", type=float, default=60, help="seconds of each answer")
    parser.add_argument("--model", action="append", help="only these models")
    parser.add_argument("--forge", type=int, default=0, help="forged certificates instead of the table")
    asked = parser.parse_args(arguments)
    if asked.forge:
        accepted, false = forgeries(asked.forge)
        sys.stdout.write(f"{asked.forge} forgeries: {accepted} accepted, of them false {false}\n")
        return 1 if false else 0
    if asked.fleets:
        dearer, crossed, missed = fleets_worse(asked.fleets)
        said = (
            f"any is dearer in {dearer}, a bound above its fleet in {crossed}, a limit missed when played in {missed}"
        )
        sys.stdout.write(f"{asked.fleets} random fleets: {said}\n")
        return 1 if dearer or crossed or missed else 0
    if asked.random:
        worse = never_worse(asked.random)
        sys.stdout.write(f"{asked.random} random bursts: any is worse in {worse}\n")
        return 1 if worse else 0
    sys.stdout.write("| model | tokens | rate | TPOT p99 | together | apart (prefill + decode) | fewer GPUs |\n")
    sys.stdout.write("|---|---|--:|--:|--:|--:|---|\n")
    chosen = [pair for pair in MODELS if not asked.model or pair[0] in asked.model]
    started = time.monotonic()
    for row in rows(chosen, asked.limit):
        sys.stdout.write(f"| {' | '.join(row.cells)} |\n")
        sys.stdout.flush()
    sys.stderr.write(f"{time.monotonic() - started:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
