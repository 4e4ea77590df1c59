"""A synthetic model of a thousand layers of four kinds on up to 1,024 GPUs, through the solver's own search.

The program is built directly, with a seed. A layer of kind k works ``time[k]`` per request on one GPU; t-way
tensor parallelism divides that with 90 % efficiency for each doubling and adds two all-reduces, expert
parallelism divides it with 85 % and adds less. Weights divide exactly. The TTFT limit lies where the
pipeline's depth, the microbatch and wider stages all compete.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any

from benchmarks.solve.timing import peak_memory_bytes, timed
from shardproof.formulations.deployment.prefill import distinct_ceilings, replica_counts
from shardproof.formulations.deployment.tables import Axis, Cap, Choice, Layout, Path, Program, Table
from shardproof.instances.option import Option
from shardproof.solver.search.lexicographic import LexicographicSearch
from shardproof.solver.search.settings import Settings

OPTIONS = (
    Option(attn_tp=1, attn_dp=1, moe_tp=1, moe_ep=1),
    Option(attn_tp=2, attn_dp=1, moe_tp=2, moe_ep=1),
    Option(attn_tp=1, attn_dp=2, moe_tp=1, moe_ep=2),
    Option(attn_tp=4, attn_dp=1, moe_tp=4, moe_ep=1),
    Option(attn_tp=2, attn_dp=2, moe_tp=1, moe_ep=4),
    Option(attn_tp=8, attn_dp=1, moe_tp=8, moe_ep=1),
    Option(attn_tp=4, attn_dp=2, moe_tp=1, moe_ep=8),
)
KINDS = 4
GIGABYTE = 10**9
MEGABYTE = 10**6
MICROSECOND = 1_000


@dataclass(frozen=True)
class Shape:
    """Sizes of a synthetic program; ``ttft_ns`` and ``memory_bytes`` are its limits.

    ``scenarios``: loads that a plan has to carry, each a tenth heavier than the one before.
    """

    layers: int = 1000
    max_gpus: int = 1024
    requests: int = 128
    seed: int = 0
    ttft_ns: int = 12_000_000_000
    memory_bytes: int = 80 * GIGABYTE
    scenarios: int = 1

    @property
    def demand(self) -> tuple[int, ...]:
        """Requests of each scenario."""
        return (self.requests,) * self.scenarios


@dataclass(frozen=True)
class Kind:
    """One layer kind: weights and KV cache of a request, bytes, and time of a request on one GPU, ns."""

    weight_bytes: int
    kv_bytes: int
    time_ns: int


def synthetic_program(shape: Shape) -> Program:
    """Build the program of a shape."""
    random = Random(f"thousand layers {shape.seed}")
    kinds = [_kind(random) for _ in range(KINDS)]
    period = [random.randrange(KINDS) for _ in range(random.randint(5, 9))]
    order = [0] * 3 + [period[place % len(period)] for place in range(shape.layers - 3)]
    layouts = tuple(_layout(shape, kinds, replicas) for replicas in replica_counts(shape.demand, shape.max_gpus))
    return Program(tuple(order), OPTIONS, layouts, shape.max_gpus, batch_sizes=shape.demand)


def _kind(random: Random) -> Kind:
    return Kind(
        weight_bytes=random.randint(4, 24) * GIGABYTE,
        kv_bytes=random.randint(2, 40) * MEGABYTE,
        time_ns=random.randint(4_000, 20_000) * MICROSECOND,
    )


def _layout(shape: Shape, kinds: list[Kind], replicas: int) -> Layout:
    resident = -(-shape.requests // replicas)
    memory = Table(
        base=(2 * GIGABYTE,) * len(OPTIONS),
        entry=(GIGABYTE // 10,) * len(OPTIONS),
        first=tuple(8 * GIGABYTE // option.gpus for option in OPTIONS),
        last=tuple(8 * GIGABYTE // option.gpus for option in OPTIONS),
        layer=tuple(
            tuple(-(-(kind.weight_bytes + resident * kind.kv_bytes) // option.gpus) for kind in kinds)
            for option in OPTIONS
        ),
    )
    axes = tuple(_axis(shape, kinds, resident, scenario) for scenario in range(shape.scenarios))
    caps = (Cap("memory", memory, shape.memory_bytes, memory=True),)
    return Layout(f"replicas={replicas}", replicas, None, caps, axes)


def _axis(shape: Shape, kinds: list[Kind], resident: int, scenario: int) -> Axis:
    heavier = [replace(kind, time_ns=kind.time_ns * (10 + scenario) // 10) for kind in kinds]
    choices = tuple(_choice(shape, heavier, resident, size, scenario) for size in distinct_ceilings(resident))
    return Axis(f"prefill_requests[{scenario}]", choices, rule="ceilings", size=resident)


def _choice(shape: Shape, kinds: list[Kind], resident: int, size: int, scenario: int) -> Choice:
    times = Table(
        base=(20 * MICROSECOND,) * len(OPTIONS),
        entry=tuple(size * 200 * MICROSECOND // option.attn_dp for option in OPTIONS),
        first=tuple(size * 100 * MICROSECOND // option.gpus for option in OPTIONS),
        last=tuple(size * 800 * MICROSECOND // option.gpus for option in OPTIONS),
        layer=tuple(tuple(_layer_ns(kind, option, size) for kind in kinds) for option in OPTIONS),
        slack=1,
    )
    return Choice(size, paths=(Path(f"ttft[{scenario}]", times, -(-resident // size), shape.ttft_ns, ttft=True),))


def _layer_ns(kind: Kind, option: Option, size: int) -> int:
    """Work of a microbatch over the GPUs at the parallelism's efficiency, and the collectives; rounded up."""
    doublings = option.gpus.bit_length() - 1
    percent = 85 if option.moe_ep > 1 else 90
    work: int = -(-size * kind.time_ns * 100**doublings // (option.gpus * percent**doublings))
    links = 2 * (option.attn_tp > 1) + (option.moe_ep > 1)
    return work + links * (15 + 30 * size) * MICROSECOND


def measure(shape: Shape, *, time_limit_s: float = 60.0) -> dict[str, Any]:
    """Search one shape; times in seconds, the gap is (value - bound) / value per level."""
    program, building = timed(lambda: synthetic_program(shape))
    outcome, searching = timed(lambda: LexicographicSearch(program, Settings(time_limit_s=time_limit_s)).run())
    levels = {
        name: {
            "value": level.value,
            "bound": level.bound,
            "gap": None if not level.value or level.bound is None else (level.value - level.bound) / level.value,
        }
        for name, level in outcome.levels.items()
    }
    return {
        "shape": asdict(shape),
        "stages": None if outcome.chain is None else len(outcome.chain.stages),
        "stop_reason": outcome.stop_reason,
        "levels": levels,
        "build": asdict(building),
        "search": asdict(searching),
        "memory_bytes": peak_memory_bytes(),
    }
