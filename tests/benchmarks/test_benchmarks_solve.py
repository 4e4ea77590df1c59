"""The speed benchmarks run at small sizes, and every formulation finds the same fewest GPUs."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from click.testing import CliRunner
from ortools.sat.python import cp_model

from benchmarks.solve import catalogue, main_case
from benchmarks.solve.__main__ import application
from benchmarks.solve.catalogue import pairs, summary
from benchmarks.solve.growth import document, exponent
from benchmarks.solve.per_layer import build_per_layer
from benchmarks.solve.thousand_layers import Shape, measure, synthetic_program
from benchmarks.solve.timing import peak_memory_bytes
from shardproof.formulations.deployment.objective import minimise
from shardproof.formulations.deployment.peers.mixed_integer import MixedInteger, mixed_integer_of
from shardproof.formulations.deployment.program import build, cases_of
from shardproof.formulations.deployment.tables import Case, Program
from shardproof.formulations.deployment.variables import Limits
from shardproof.solver.search.least_sums import NEVER, bands, least_sums
from tests.oracles.brute_force import brute_force
from tests.oracles.random_programs import random_program


def fewest(model: cp_model.CpModel) -> int | None:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    assert status in (cp_model.OPTIMAL, cp_model.INFEASIBLE)
    return round(solver.objective_value) if status == cp_model.OPTIMAL else None


def cases(program: Program) -> list[Case]:
    fitting = (layout for layout in program.layouts if layout.replicas <= program.max_gpus)
    found = [case for layout in fitting for case in cases_of(layout)]
    narrowest = {case: min((program.options[o].gpus for o in case.allowed(program)), default=99) for case in found}
    return [case for case in found if narrowest[case] * case.layout.replicas <= program.max_gpus]


def on_cp_sat(program: MixedInteger) -> cp_model.CpModel:
    """The mixed-integer rows, back on a solver that is exact."""
    model = cp_model.CpModel()
    edges = zip(program.lower, program.upper, strict=True)
    variables = [model.new_int_var(low, high, f"x{place}") for place, (low, high) in enumerate(edges)]
    for terms, high in program.rows:
        model.add(sum(factor * variables[index] for index, factor in terms.items()) <= high)
    model.minimize(sum(factor * variables[index] for index, factor in program.cost.items()))
    return model


@pytest.mark.parametrize("block", range(2))
def test_formulations_agree_with_brute_force(block: int) -> None:
    for seed in range(block * 8, block * 8 + 8):
        program = random_program(seed, max_layers=5, max_gpus=5)
        best = brute_force(program)
        expected = None if best is None else best.gpus
        chosen = cases(program)
        naive = [fewest(build_per_layer(program, case, max_gpus=program.max_gpus)) for case in chosen]
        assert min((found for found in naive if found is not None), default=None) == expected, seed
        if chosen:
            model = build(program, chosen, Limits(program.max_gpus))
            minimise(model, "gpus")
            assert fewest(on_cp_sat(mixed_integer_of(model.solver_model))) == expected, seed


def test_bands_hold_what_a_full_matrix_would() -> None:
    """Both orders of the sweep give the table that a plain recursion gives."""
    random = np.random.default_rng(7)
    layers, options = 9, 3
    gpus = (1, 2, 2)
    steps = random.integers(0, 9, size=(options, layers + 1))
    after = np.cumsum(steps, axis=1)
    before = after - random.integers(0, 5, size=(options, layers + 1))
    far = np.maximum(np.arange(layers + 1), random.integers(0, layers + 1, size=(options, layers + 1)))
    found = bands(gpus, far, before, after)
    for budget in (2, 3, 4, 9, 12):
        expected = np.full((budget + 1, layers + 1), NEVER)
        expected[:, 0] = 0
        for most, stop in product(range(1, budget + 1), range(1, layers + 1)):
            for place, start in product(range(options), range(stop)):
                if gpus[place] <= most and far[place, start] >= stop:
                    cost = after[place, stop] - before[place, start]
                    expected[most, stop] = min(expected[most, stop], expected[most - gpus[place], start] + cost)
        table = least_sums(found, budget=budget, layers=layers)
        assert (np.where(table[:, 1:] < NEVER, table[:, 1:], NEVER) == expected[:, 1:]).all(), budget


def test_the_exponent_of_a_power_is_its_own() -> None:
    assert exponent([(size, 3.0 * size**1.25) for size in (64, 256, 4096)]) == pytest.approx(1.25)
    points = [{"series": "layers", "size": size, "cpu_s": 0.5 * size} for size in (100, 1000)]
    assert document(points)["exponents"] == {"layers": pytest.approx(1.0)}


@pytest.mark.parametrize("scenarios", [2, 3])
def test_scenarios_of_a_synthetic_program_all_bind(scenarios: int) -> None:
    alone = measure(Shape(layers=12, max_gpus=8, requests=4, scenarios=1))
    found = measure(Shape(layers=12, max_gpus=8, requests=4, scenarios=scenarios))
    program = synthetic_program(Shape(layers=12, max_gpus=8, requests=4, scenarios=scenarios))
    assert {len(layout.axes) for layout in program.layouts} == {scenarios}
    assert found["stop_reason"] == alone["stop_reason"] == "proved"
    assert found["levels"]["ttft"]["value"] > alone["levels"]["ttft"]["value"]


def test_small_thousand_layers() -> None:
    shape = Shape(layers=40, max_gpus=48, requests=16, ttft_ns=2_000_000_000)
    assert len(synthetic_program(shape).kinds) == 40
    found = measure(shape)
    assert found["stop_reason"] == "proved"
    assert found["levels"]["gpus"]["gap"] == 0


def test_one_pair_of_the_catalogue() -> None:
    chosen = pairs(models=["qwen3-8b"], devices=["h100-sxm"])
    found = summary(list(catalogue.measure(chosen)))
    assert found["status"] == {"optimal": 1}
    assert found["all_proven"]


def test_main_process() -> None:
    found = main_case.summary(main_case.measure(count=1, dropped=0))
    assert found["pairs"] == 1
    # Linux counts what the process had before it became another: the memory of these tests themselves.
    assert found["solve_memory_bytes"] < max(10**9, peak_memory_bytes() + 1)


def test_command_prints_one_document() -> None:
    arguments = ["thousand-layers", "--seed", "0", "--ttft", "0.001", "--json"]
    answer = CliRunner().invoke(application, arguments, catch_exceptions=False)
    document = json.loads(answer.stdout)
    assert document["runs"][0]["levels"]["gpus"] == {"value": None, "bound": None, "gap": None}
    assert document["machine"]["cores"] >= 1
