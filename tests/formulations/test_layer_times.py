"""Times of layers put together from shared parts are those of all their operations, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.lazy import Column, Rows
from shardproof.formulations.deployment.tables import Table
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.problem import deployment_of

STEPS = (
    Step("prefill", 1, 2048, 0),
    Step("prefill", 7, 512, 768),
    Step("decode", 13, 1, 3000),
    Step("decode", 64, 1, 9000),
)


def asked(model: str, device: str, **more: object) -> Deployment:
    burst = {"kind": "burst", "batch_size": 16, "input_tokens": 512, "output_tokens": 64}
    tree = {"model": model, "device": device, "workload": burst, "limits": {"max_gpus": 16, "ttft": "9 s"}}
    return deployment_of(resolve_tree(tree | more, where="asked"))


@pytest.mark.parametrize(
    ("model", "device", "more"),
    [
        ("qwen3-235b-a22b", "h100-sxm", {}),
        ("deepseek-v3", "h200-sxm", {"engine": "vllm"}),
        ("gpt-oss-120b", "mi300x", {"engine": "sglang"}),
        ("gemma-3-27b", "l40s", {"engine": "vllm"}),
        ("qwen3-next-80b-a3b-thinking", "h100-sxm", {}),
        ("llama-3.1-8b", "l4", {}),
    ],
)
def test_parts_add_up_to_the_operations(model: str, device: str, more: dict[str, object]) -> None:
    deployment = asked(model, device, **more)
    kinds = deployment.kind_names
    for step in STEPS:
        table = deployment.time_table(step, "scale_out")
        for place, option in enumerate(deployment.options):
            direct = [deployment.timed(step, deployment.operations(kind, option, step)) for kind in kinds]
            assert list(table.layer[place]) == direct
            assert [deployment.layer_time(kind, option, step) for kind in kinds] == direct


def test_what_an_unproven_placement_costs_is_the_largest_difference_of_any_cell() -> None:
    loop = {"kind": "closed-loop", "concurrency": 4, "input_tokens": 512, "output_tokens": 64}
    more = {"engine": "vllm", "load_profile": "zipf:1.2", "limits": {"max_gpus": 2, "tpot": "1 s"}}
    deployment = asked("qwen3-30b-a3b-fp8", "h100-sxm", **more)
    step = STEPS[1]
    for kind, cells in list(deployment._balance.items())[:2]:
        gaps = [0]
        for option in deployment.options:
            cell = cells.get((option.moe_ep, option.extra_slots))
            if cell is not None:
                least = deployment.timed(step, deployment.operations(kind, option, step, imbalance=cell.lower))
                gaps.append(deployment.layer_time(kind, option, step) - least)
        assert deployment.unproven_time(kind, deployment.options, step) == max(gaps) > 0
    fitted = asked("qwen3-30b-a3b-fp8", "h100-sxm", **more, workload=loop)
    beside = Step("decode", 4, 1, 600, loop=True)
    assert fitted.unproven_time(next(iter(fitted._balance)), fitted.options, beside) == 0


def test_columns_are_filled_no_further_than_read() -> None:
    filled: list[tuple[int, int]] = []

    def fill(start: int, stop: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        filled.append((start, stop))
        return np.arange(start, stop, dtype=np.int64) * 10

    column = Column(5, fill)
    assert (column[1], column[0], filled) == (10, 0, [(0, 2)])
    assert (column[-1], list(column), column == (0, 10, 20, 30, 40)) == (40, [0, 10, 20, 30, 40], True)
    assert filled == [(0, 2), (2, 5)]
    with pytest.raises(IndexError):
        column[5]


def test_cells_of_a_table_grow_and_are_lowered_by_its_slack() -> None:
    rows = Rows(3, lambda start, stop: np.array([[place, 7] for place in range(start, stop)], dtype=np.int64))
    table = Table((5, 5, 5), (1, 2, 3), (0, 0, 0), (9, 9, 9), layer=rows, slack=2)
    assert table.cells(1).layer.tolist() == [[0, 7]]
    assert table.rounded_cells(3, floor=True).layer.tolist() == [[0, 5], [0, 5], [0, 5]]
    assert list(table.floor.entry) == [0, 0, 1]
    assert table.floor.layer[2] == (0, 5)
