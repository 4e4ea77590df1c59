"""Pools: agreement with brute force, forged certificates, and how large a question is answered in a minute.

``python -m benchmarks.pools --count 2000`` solves random small fleets with capacities given as data and holds cost and
most load against all fleets (some 2 minutes on one core); ``--forge 5000`` changes true certificates: what the checker
accepts is decided by brute force; ``--spare 200`` takes each node (every pair, where two may be gone) from 200 fleets.
``--one 40`` asks 40 questions of requests per second about one device, and about a pool of that device alone.
``--scale`` asks for 10 devices, 3 models and 4 scenarios out of 512 GPUs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import combinations
from random import Random

from shardproof.instances.pools_resolve import resolve_pools
from shardproof.solver.pools.solve import solve_pools
from shardproof.solver.search.settings import Settings
from tests.oracles import pool_of_one
from tests.oracles.pools_agreement import accepted, certified, disagreement, forged, is_true, load_disagreement
from tests.oracles.random_pools import carries, random_pools

DEVICES = (
    "h100-sxm=64,h200-sxm=64,a100-80-sxm=96,l40s=64@0.90 USD/h,b200-sxm=32,a100-40-sxm=32,l4=64,"
    "h100-pcie=32@2.20 USD/h,a10g=32,h20-sxm=32@1.60 USD/h"
)
MODELS = ("qwen3-8b", "qwen3-32b-fp8", "llama-3.1-70b-fp8")


def agree(first: int, count: int) -> int:
    """Print where search, checker and brute force differ; return how often."""
    wrong = 0
    for seed in range(first, first + count):
        problem = random_pools(seed)
        found = disagreement(problem) or (load_disagreement(problem, 3) if seed % 4 == 0 else None)
        if found is not None:
            wrong += 1
            sys.stdout.write(f"seed {seed}: {found}\n")
    sys.stdout.write(f"{count - wrong} of {count} agree\n")
    return wrong


def forge(first: int, count: int) -> int:
    """Forge certificates; return how many false claims were accepted."""
    taken = false = 0
    for seed in range(first, first + count):
        random = Random(f"forge pools {seed}")
        made = forged(random, json.loads(json.dumps(certified(random_pools(random.randrange(400)))[1])))
        if made is not None and accepted(made):
            taken += 1
            if not is_true(made):
                false += 1
                sys.stdout.write(f"seed {seed}: a false claim is accepted\n")
    sys.stdout.write(f"{count} forgeries, {taken} accepted and true but for {false}\n")
    return false


def spare(first: int, count: int) -> int:
    """Take every choice of nodes from fleets that may lose so many; return after how many the demand is not carried."""
    fleets = choices = broken = 0
    for seed in range(first, first + 400 * count):
        problem = random_pools(seed)
        fleet = certified(problem)[0].fleet if problem.spare == "node" and fleets < count else None
        if fleet is None:
            continue
        fleets += 1
        nodes = [node for found in fleet.nodes for node in found]
        for lost in combinations(nodes, min(problem.gone, len(nodes))):
            gone = [kind for node in lost if node.wide is None for kind in node.kinds]
            gone += [kind for kind, _ in {(node.kinds[0], node.wide) for node in lost if node.wide is not None}]
            left = tuple(n - gone.count(at) for at, n in enumerate(fleet.values[: len(problem.kinds)]))
            choices += 1
            broken += not carries(problem, left)
    sys.stdout.write(f"{fleets} fleets, {choices} choices of nodes taken, {broken} times the demand is not carried\n")
    return broken


def one(first: int, count: int) -> int:
    """Ask about one device, and about a pool of it alone; return how often the answers differ."""
    wrong = 0
    for seed in range(first, first + count):
        found = pool_of_one.disagreement(pool_of_one.random_question(seed))
        wrong += found is not None
        if found is not None:
            sys.stdout.write(f"seed {seed}: {found}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{count - wrong} of {count} questions have one answer\n")
    return wrong


def scale(seconds: float) -> None:
    """Ask a large question."""
    limits = {"ttft": "4 s", "tpot": "60 ms"}
    loads = ((512, 256, 900), (2048, 256, 240), (4096, 512, 120), (1024, 1024, 320))
    scenarios = [
        {
            "name": f"s{place}",
            "workload": {"kind": "closed-loop", "concurrency": n, "input_tokens": i, "output_tokens": o},
            "limits": limits,
        }
        for place, (i, o, n) in enumerate(loads)
    ]
    tree = {"devices": DEVICES, "objective": "price", "engine": "vllm", "scenarios": scenarios}
    tree["models"] = [{"model": model} for model in MODELS]
    started = time.monotonic()
    found = solve_pools(resolve_pools(tree, where="scale"), Settings(time_limit_s=seconds, explain=False))
    shown = (found.shown(found.value), found.shown(found.bound), found.shown(found.certified_bound))
    sys.stdout.write(f"{found.status} {found.proof} {shown} gap {found.gap} {time.monotonic() - started:.1f} s\n")


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--forge", type=int, default=0)
    parser.add_argument("--spare", type=int, default=0)
    parser.add_argument("--one", type=int, default=0)
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    wrong = agree(asked.first, asked.count) if asked.count else 0
    wrong += forge(asked.first, asked.forge) if asked.forge else 0
    wrong += spare(asked.first, asked.spare) if asked.spare else 0
    wrong += one(asked.first, asked.one) if asked.one else 0
    if asked.scale:
        scale(asked.seconds)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
