"""Expert-parallel decode as somebody who plans calls it: `predict` of a plan whose experts lie on many ranks.

A measured row becomes the burst of as many requests as the group decodes tokens, on one stage of as many ranks; what
`predict` states for the experts of one layer is held against the row. A plan without a load profile has equal loads,
so only rows of equal loads are asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.fidelity.figure import Figure, figure
from shardproof.instances.calibration import calibration_digest
from shardproof.instances.catalogue import load_device, load_model
from shardproof.instances.instance import Instance
from shardproof.instances.layers import MixtureOfExperts
from shardproof.instances.model import Model
from shardproof.instances.option import Option
from shardproof.instances.plan import Plan, Stage
from shardproof.instances.workload import Burst, Limits, Scenario
from shardproof.solver.calibration.measurements import Measured, read_measurements
from shardproof.solver.evaluation.predictions import predict

FAMILY, FILE = "moe_ep_decode", "op_level.csv.gz"
MODEL = "deepseek-r1"
"""Whose experts the recorded rows have; rows of other sizes are left out."""
CONTEXT = 1024
LEAST_RANKS, TARGET = 16, 0.15


def evaluate(folder: Path) -> list[Figure]:
    """One figure a rank count, and one of all counts that the target binds; nothing without the rows."""
    path = folder / FILE
    measured = read_measurements(path).get(FAMILY) if path.exists() else None
    if measured is None:
        return []
    errors = list(errors_of(measured))
    counts = sorted({ranks for ranks, _ in errors})
    wide = [error for ranks, error in errors if ranks >= LEAST_RANKS]
    name = f"predict: experts in decode, {LEAST_RANKS} ranks or more"
    note = f"{len(errors)} of {len(measured.keys)} rows have equal loads; held out only where the folder is unseen"
    return [figure(name, wide, target=TARGET, note=note)] + [
        figure(f"predict: experts in decode, {count} ranks", [error for ranks, error in errors if ranks == count])
        for count in counts
    ]


def errors_of(rows: Measured) -> Iterator[tuple[int, float]]:
    """Yield (ranks, relative error) of each row of equal loads that the model's experts have the sizes of."""
    model = load_model(MODEL)
    kinds = [kind for kind in model.layer_kinds if isinstance(model.kinds[kind].feed_forward, MixtureOfExperts)]
    experts = model.kinds[kinds[0]].feed_forward
    assert isinstance(experts, MixtureOfExperts)
    asked = {"hidden": model.hidden, "inter": experts.intermediate, "topk": experts.topk, "experts": experts.experts}
    alike = np.all([getattr(rows.sizes, name) == value for name, value in asked.items()], axis=0)
    for place in np.flatnonzero(alike & (rows.sizes.skew == 0) & (rows.sizes.tp == 1)):
        ranks, tokens = int(rows.sizes.ep[place]), int(rows.sizes.tokens[place])
        time = experts_ns(model, rows.devices[place], rows.keys[place].engine, ranks=ranks, tokens=tokens)
        yield ranks, time / len(kinds) / 1e3 / float(rows.microseconds[place]) - 1


def experts_ns(model: Model, device_name: str, engine: str, *, ranks: int, tokens: int) -> int:
    """What `predict` states for all experts in one decode step of ``tokens`` on ``ranks`` ranks."""
    device = load_device(device_name)
    workload = Burst(batch_size=tokens, input_tokens=CONTEXT, output_tokens=2)
    instance = Instance(
        name=f"{ranks} ranks",
        model=model,
        device=device,
        activations="bf16",
        engine=engine,  # type: ignore[arg-type]
        scenarios=(Scenario(workload=workload, limits=Limits()),),
        memory_limit=device.usable_memory,
        max_gpus=ranks,
        max_stage_gpus=ranks,
        runtime_reserve=0,
        calibration=(device_name, calibration_digest(device_name)),
    )
    stage = Stage.of((0, model.layer_count - 1), Option(attn_tp=1, attn_dp=ranks, moe_tp=1, moe_ep=ranks))
    plan = Plan(replicas=1, microbatch_tokens=CONTEXT, stages=(stage,))
    return predict(instance, plan)[0].operations["experts"]
