"""The exact search and the CP-SAT program agree with brute force on small random programs."""

from __future__ import annotations

import pytest

from shardproof.formulations.deployment.chains import peak_memory, worst_ttft
from shardproof.formulations.deployment.constraints import GROUPS
from shardproof.formulations.deployment.tables import Program
from shardproof.instances.clock import measured_by
from shardproof.solver.search import labels as frontier
from shardproof.solver.search import walk
from shardproof.solver.search.cp_sat import search_with_cp_sat
from shardproof.solver.search.lexicographic import LexicographicSearch
from shardproof.solver.search.outcome import Outcome
from shardproof.solver.search.settings import Settings
from tests.oracles.brute_force import brute_force
from tests.oracles.random_programs import random_program


def key_of(program: Program, outcome: Outcome) -> tuple[int, int, int] | None:
    chain = outcome.chain
    if chain is None:
        return None
    return (chain.gpus(program), worst_ttft(program, chain, floor=False) or 0, peak_memory(program, chain) or 0)


@pytest.mark.parametrize("block", range(10))
def test_search_equals_brute_force(block: int) -> None:
    for seed in range(block * 40, block * 40 + 40):
        program = random_program(seed, slack=seed % 2 == 1)
        best = brute_force(program)
        outcome = LexicographicSearch(program, Settings()).run()
        if seed % 2 == 0:
            assert key_of(program, outcome) == (None if best is None else best.key), seed
            assert all(level.proven for level in outcome.levels.values()) or best is None, seed
        elif best is not None:
            assert outcome.chain is not None
            assert outcome.chain.gpus(program) == best.gpus, seed
            ttft = outcome.levels.get("ttft")
            assert ttft is None or ttft.bound <= best.ttft <= ttft.value, seed
        if best is not None:
            assert all(group.check(program, outcome.chain) is None for group in GROUPS), seed
        lowest = brute_force(program, floor=True)
        bound = outcome.levels["gpus"].bound
        assert (bound is None) == (lowest is None) or outcome.chain is None, seed
        if lowest is not None and bound is not None:
            assert bound == lowest.gpus, seed


@pytest.mark.parametrize("block", range(4))
def test_cp_sat_equals_brute_force(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        program = random_program(seed, slack=seed % 2 == 1)
        best = brute_force(program)
        outcome = search_with_cp_sat(program, Settings(workers=1))
        assert key_of(program, outcome) == (None if best is None else best.key), seed


SEVERAL_ROWS_BIND = (396, 644, 792, 4080, 4482, 5334, 5488)
"""Seeds of programs that neither one path row nor, without weighted sums, any shortcut decides."""


@pytest.mark.parametrize("room", [frontier.LABELS_AT_MOST, 0], ids=["labels", "cp-sat"])
def test_programs_in_which_several_rows_bind(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Non-dominated vectors decide them; without room for those, CP-SAT does, and says so."""
    monkeypatch.setattr(frontier, "LABELS_AT_MOST", room)
    monkeypatch.setattr(walk, "_SHARES", 0)
    monkeypatch.setattr(walk, "_LOOSE", 1)
    claimed = 0
    for seed in SEVERAL_ROWS_BIND:
        program = random_program(seed)
        best = brute_force(program)
        outcome = LexicographicSearch(program, Settings(workers=1)).run()
        claimed += outcome.claimed_by is not None
        assert (outcome.claimed_by or "agreed by").startswith(("claimed by CP-SAT", "agreed by")), seed
        gpus = None if outcome.chain is None else outcome.chain.gpus(program)
        assert gpus == (None if best is None else best.gpus), seed
        if room:
            assert key_of(program, outcome) == (None if best is None else best.key), seed
    assert bool(claimed) == (room == 0)


def test_labels_end_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that is over once the first labels are built ends the search among them, and the bound so far is kept."""
    monkeypatch.setattr(walk, "_SHARES", 0)
    monkeypatch.setattr(walk, "_LOOSE", 1)
    over = [False]
    rows_built: list[int] = []
    original = frontier.Labels._add_row

    def add_row(labels: frontier.Labels, gpus: int) -> None:
        over[0] = True
        original(labels, gpus)
        rows_built.append(gpus)

    monkeypatch.setattr(frontier.Labels, "_add_row", add_row)
    reasons = []
    for seed in SEVERAL_ROWS_BIND:
        over[0] = False
        with measured_by(lambda: 1e6 if over[0] else 0.0):
            reasons.append(LexicographicSearch(random_program(seed), Settings(time_limit_s=10)).run().stop_reason)
    assert "time-limit" in reasons
    assert max(rows_built, default=0) <= 1  # a row without labels may stand before
