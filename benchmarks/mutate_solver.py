"""Plant faults in the program and in the exact search: the certificate step must catch each that matters.

``python -m benchmarks.mutate_solver`` plants

* in the program: one limit, cell, mark or microbatch off by one, an option or a row lost. The search answers
  the faulty program; its certificate is written for the true one;
* in the search: each line of solver/frontier.py and solver/prover.py mutated as the checker's own lines are.

Caught: the search stops on its own checks, or the checker refuses. Harmless: the answer is the true one. Lost:
nothing false is claimed, but less is proved. Missed, an accepted certificate of a wrong answer, must not occur.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.forge import cells_move, limits_move, shape_moves
from benchmarks.mutate_checker import edits, node_at
from shardproof.formulations.deployment.tables import Layout, Program
from shardproof.formulations.fleet.fleet import Fleet
from shardproof.solver.checkers import certificate as checker
from shardproof.solver.proof.capacity import alike_claims
from shardproof.solver.proof.certificate import (
    Certificate,
    certificate_of_evidence,
    to_json,
)
from shardproof.solver.proof.certificate_json import read_program, read_shares, write_program
from shardproof.solver.proof.evidence import Evidence
from tests.oracles.agreement import Named, certified
from tests.oracles.brute_force import Best, brute_force
from tests.oracles.random_programs import random_program

SEARCH = (
    "shardproof.solver.search.view",
    "shardproof.solver.search.least_sums",
    "shardproof.solver.search.walk",
    "shardproof.solver.search.query",
    "shardproof.solver.search.prover",
    "shardproof.solver.search.lexicographic",
)
MUTATED = SEARCH[:3]
SECONDS = 30


def truth_of(program: Program) -> int:
    """Fewest GPUs by brute force; one more than the budget where no plan exists."""
    best: Best | None = brute_force(program)
    return program.max_gpus + 1 if best is None else best.gpus


def judged(certificate: Certificate, truth: int) -> str:
    """Judge a certificate against the true number of GPUs."""
    try:
        checker.check(to_json(certificate).encode())
    except checker.CheckError:
        return "caught"
    claim = certificate.claims["gpus"]
    if claim.by == "certified" and claim.lower == truth and claim.upper in (truth, None):
        return "harmless"
    wrong = claim.lower > truth and claim.by == "certified"
    return "missed" if wrong or (claim.upper is not None and claim.upper < truth) else "lost"


def faulty_program(random: Random, program: Program) -> Program | None:
    """Return the program with one thing off by one."""
    claims = alike_claims(program.layouts, program.max_gpus, None, program.batch_sizes)
    written = write_program(program, [(claim.load, claim.layouts) for claim in claims], replicas="alike")
    document: dict[str, Any] = {"program": written, "claims": {}, "plan": None}
    kinds = json.dumps(written["kinds"])
    move = random.choice((limits_move, cells_move, shape_moves))
    if move(random, document) is None or json.dumps(written["kinds"]) != kinds:
        return None
    try:
        checker.Problem(json.loads(json.dumps(written)))
    except (checker.CheckError, ArithmeticError, IndexError, ValueError):
        return None
    base, shares = read_program(written), read_shares(written)
    layouts: list[Layout] = []
    for claim, (_, read) in zip(claims, shares, strict=True):
        replicas = next(layout.replicas for layout in claim.layouts)
        layouts += [replace(layout, replicas=replicas) for layout in read]
    return replace(base, layouts=tuple(layouts))


def with_true_layouts(certificate: Certificate, program: Program) -> Certificate:
    """Return the certificate of a faulty program with the true program's tables and rows."""
    true = {}
    for claim in alike_claims(program.layouts, program.max_gpus, None, program.batch_sizes):
        true[claim.load] = tuple(replace(layout, replicas=1) for layout in claim.layouts)
    claims = {}
    for level, claim_ in certificate.claims.items():
        refused = tuple(replace(one, layouts=true[one.load]) for one in claim_.refused)
        claims[level] = replace(claim_, refused=refused)
    groups = () if certificate.fleet is None else certificate.fleet.groups
    own = [replace(group, program=replace(group.program, layouts=true[group.load])) for group in groups]
    fleet = Fleet(tuple(own)) if own else None
    return replace(certificate, program=program, fleet=fleet, claims=claims)


def planted_in_programs(count: int) -> Counter[str]:
    """Count what becomes of faults in programs."""
    outcomes: Counter[str] = Counter()
    for seed in range(count):
        random = Random(f"fault {seed}")
        program = random_program(seed % 500, max_layers=5, max_gpus=6)
        faulty = faulty_program(random, program)
        if faulty is None or len(faulty.layouts) != len(program.layouts):
            continue
        try:
            solved = certified(faulty)
            written = with_true_layouts(solved, program)
        except Exception:  # the search, or the writer, stops on its own checks
            outcomes["caught"] += 1
            continue
        outcomes[judged(written, truth_of(program))] += 1
    return outcomes


def mutants(name: str) -> Iterator[tuple[int, str, Any]]:
    """Yield line, change and code of each mutant of a module."""
    path = Path(str(importlib.import_module(name).__file__))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for place, node in enumerate(ast.walk(tree)):
        for change, edit in edits(node):
            changed = copy.deepcopy(tree)
            edit(node_at(changed, place))
            yield getattr(node, "lineno", 0), change, compile(ast.fix_missing_locations(changed), name, "exec")


def verdict_of_mutant(name: str, code: Any, programs: list[tuple[Program, int]]) -> str:
    """Run a mutated module over programs in a process of its own; the worst that happens counts."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        os.write(writer, _worst(name, code, programs).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return found or "caught"


def _worst(name: str, code: Any, programs: list[tuple[Program, int]]) -> str:
    outcomes = set()
    try:
        for module in SEARCH:
            loaded = sys.modules[module]
            source = Path(str(loaded.__file__)).read_text(encoding="utf-8")
            exec(code if module == name else compile(source, module, "exec"), loaded.__dict__)
        for program, truth in programs:
            outcomes.add(judged(_solved(program), truth))
    except Exception:  # the mutant's search fails loudly
        outcomes.add("caught")
    return next(word for word in ("missed", "caught", "lost", "harmless") if word in outcomes)


def _solved(program: Program) -> Certificate:
    module = sys.modules["shardproof.solver.search.lexicographic"]
    outcome = module.LexicographicSearch(program, module.Settings()).run()
    evidence = Evidence(program, outcome.chain, outcome.levels, outcome.refutations)
    return certificate_of_evidence(evidence, Named(), claimed_by="claimed by nobody")  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant every fault; 0 when none is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=2000, help="Faults planted in programs.")
    parser.add_argument("--per-mutant", type=int, default=40, help="Programs that each mutant of the search solves.")
    chosen = parser.parse_args(arguments)
    outcomes = planted_in_programs(chosen.programs)
    sys.stdout.write(f"in programs: {dict(sorted(outcomes.items()))}\n")
    missed = outcomes["missed"]
    programs = [(program, truth_of(program)) for program in map(random_program, range(chosen.per_mutant))]
    for name in MUTATED if chosen.per_mutant else ():
        counts: Counter[str] = Counter()
        for line, change, code in mutants(name):
            found = verdict_of_mutant(name, code, programs)
            counts[found] += 1
            if found != "caught":
                sys.stdout.write(f"{found}: {name} line {line}: {change}\n")
        sys.stdout.write(f"in {name}: {dict(sorted(counts.items()))}\n")
        missed += counts["missed"]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
