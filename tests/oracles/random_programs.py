"""Small random programs whose limits sit exactly on the boundary.

Limits are costs of sampled chains, sometimes one less: an off-by-one fault in a row then changes the answer,
which uniformly random limits almost never show.
"""

from __future__ import annotations

import itertools
from random import Random

from shardproof.formulations.deployment.chains import StageChoice, stage_cost
from shardproof.formulations.deployment.tables import Axis, Cap, Choice, Layout, Path, Program, Table
from shardproof.instances.option import Option

OPTION_POOL = (
    Option(attn_tp=1, attn_dp=1, moe_tp=1, moe_ep=1),
    Option(attn_tp=2, attn_dp=1, moe_tp=1, moe_ep=2),
    Option(attn_tp=2, attn_dp=1, moe_tp=2, moe_ep=1),
    Option(attn_tp=1, attn_dp=2, moe_tp=1, moe_ep=2),
    Option(attn_tp=3, attn_dp=1, moe_tp=3, moe_ep=1),
    Option(attn_tp=2, attn_dp=2, moe_tp=1, moe_ep=4),
)


def ceilings(size: int) -> list[int]:
    """The smallest q of each distinct ``ceil(size / q)``, q = 1..size, ascending."""
    counts = [-(-size // q) for q in range(1, size + 1)]
    return [q for q in range(1, size + 1) if q == 1 or counts[q - 1] != counts[q - 2]]


def replica_counts(batch_sizes: tuple[int, ...], most: int) -> list[int]:
    """The smallest R of each distinct tuple ``ceil(batch / R)``, R = 1..most, ascending."""
    seen: dict[tuple[int, ...], int] = {}
    for replicas in range(1, most + 1):
        seen.setdefault(tuple(-(-size // replicas) for size in batch_sizes), replicas)
    return sorted(seen.values())


def random_table(random: Random, options: int, kinds: int, *, scale: int, slack: int) -> Table:
    """A table of small costs; larger options tend to be cheaper per stage, not always."""

    def row(high: int, zeros: float) -> tuple[int, ...]:
        return tuple(0 if random.random() < zeros else random.randint(0, high) for _ in range(options))

    layer = tuple(tuple(random.randint(1, 6 * scale) for _ in range(kinds)) for _ in range(options))
    return Table(
        base=row(2 * scale, 0.5),
        entry=row(4 * scale, 0.5),
        first=row(4 * scale, 0.5),
        last=row(4 * scale, 0.5),
        layer=layer,
        slack=slack,
    )


def random_stages(random: Random, layers: int, options: list[int]) -> list[StageChoice]:
    """A random chain over all layers."""
    cuts = sorted(random.sample(range(1, layers), random.randint(0, min(3, layers - 1))))
    ends = [0, *cuts, layers]
    return [StageChoice(start, stop, random.choice(options)) for start, stop in itertools.pairwise(ends)]


class _Builder:
    """Draws the rows of one program; every limit comes from a sampled chain."""

    def __init__(self, random: Random, *, layers: int, kinds: int, options: int, slack: bool) -> None:
        self.random = random
        self.slack = slack
        self.kind_count = kinds
        chosen = random.sample(range(len(OPTION_POOL)), options)
        self.program = Program(
            kinds=tuple(random.randrange(kinds) for _ in range(layers)),
            options=tuple(OPTION_POOL[index] for index in sorted(chosen)),
            layouts=(),
            max_gpus=0,
        )

    def costs(self, table: Table) -> list[int]:
        """Stage costs of a sampled chain under ``table``."""
        indices = list(range(len(self.program.options)))
        stages = random_stages(self.random, len(self.program.kinds), indices)
        return [stage_cost(self.program, table, stage) for stage in stages]

    def table(self, *, scale: int, slack: int) -> Table:
        """A random table of this program's shape."""
        return random_table(self.random, len(self.program.options), self.kind_count, scale=scale, slack=slack)

    def cap(self, name: str, *, memory: bool) -> Cap:
        """A cap met exactly, or missed by one, by a sampled chain."""
        table = self.table(scale=1, slack=0)
        limit = max(self.costs(table)) - self.random.choice((0, 0, 0, 1))
        return Cap(name=name, table=table, limit=max(0, limit), memory=memory)

    def path(self, name: str, *, scale: int, microbatches: int, ttft: bool, free: float) -> Path:
        """A path met exactly, or missed by one, by a sampled chain; without limit with probability ``free``."""
        slack = 1 if self.slack and self.random.random() < 0.7 else 0
        table = self.table(scale=scale, slack=slack)
        costs = self.costs(table)
        limit = sum(costs) + (microbatches - 1) * max(costs) - self.random.choice((0, 0, 0, 1))
        no_limit = self.random.random() < free
        return Path(name, table, microbatches, None if no_limit else max(0, limit), ttft=ttft)

    def subset(self) -> tuple[int, ...] | None:
        """Options that a choice allows: mostly all."""
        count = len(self.program.options)
        if self.random.random() < 0.7:
            return None
        return tuple(sorted(self.random.sample(range(count), self.random.randint(1, count))))

    def axis(self, name: str, *, ttft: bool, shared: bool) -> Axis:
        """An axis of microbatch sizes (rule ``ceilings``) or of listed choices."""
        if self.random.random() < 0.6:
            size = self.random.randint(1, 5)
            values, rule = ceilings(size), "ceilings"
        else:
            size, values, rule = 0, list(range(1, 1 + self.random.randint(1, 3))), "listed"
        choices = []
        for value in values:
            microbatches = -(-size // value) if size else self.random.randint(1, 4)
            prefix = name if shared else f"{name}={value}"
            path = self.path(
                f"{'ttft' if ttft else 'path'}[{prefix}]", scale=value, microbatches=microbatches, ttft=ttft, free=0.25
            )
            second = (self.path(f"second[{prefix}]", scale=1, microbatches=microbatches, ttft=False, free=0.2),)
            memory = self.random.random() < 0.5
            caps = (self.cap(f"{'memory' if memory else 'cap'}[{prefix}]", memory=memory),)
            choices.append(
                Choice(
                    value=value,
                    caps=caps if self.random.random() < 0.6 else (),
                    paths=(path, *second) if self.random.random() < 0.3 else (path,),
                    options=self.subset(),
                )
            )
        return Axis(name=name, choices=tuple(choices), rule=rule, size=size)


def random_program(
    seed: int, *, max_layers: int = 8, max_options: int = 3, max_gpus: int = 8, slack: bool = False
) -> Program:
    """A random program, the same for the same arguments.

    Parameters
    ----------
    seed
        of the generator; every other choice follows from it.
    max_layers, max_options, max_gpus
        upper ends of what is drawn: programs of 12 layers with 2 options stay within reach of brute force.
    slack
        Whether path tables may be rounded up (``slack`` 1); without it floor and ceiling tables are the same.
    """
    random = Random(f"program {seed} {max_layers} {max_options} {max_gpus} {slack}")
    builder = _Builder(
        random,
        layers=random.randint(1, max_layers),
        kinds=random.randint(1, 3),
        options=random.randint(1, max_options),
        slack=slack,
    )
    budget = random.randint(1, max_gpus)
    batch_sizes = tuple(random.randint(1, 6) for _ in range(random.randint(1, 2)))
    counts = replica_counts(batch_sizes, budget)
    axis_count = random.choice((0, 1, 1, 1, 2))
    base_cap = builder.cap("memory", memory=True)
    layouts = []
    for replicas in counts:
        caps = (base_cap if random.random() < 0.5 else builder.cap("memory", memory=True),)
        axes = tuple(
            builder.axis(f"axis{index}", ttft=index == 0, shared=random.random() < 0.5) for index in range(axis_count)
        )
        spans: list[int | None] = [None] if random.random() < 0.6 else [random.randint(1, budget), None]
        for span in spans:
            name = f"replicas={replicas}" + ("" if span is None else f",span={span}")
            layouts.append(Layout(name=name, replicas=replicas, max_gpus=span, caps=caps, axes=axes))
    return Program(
        kinds=builder.program.kinds,
        options=builder.program.options,
        layouts=tuple(layouts),
        max_gpus=budget,
        batch_sizes=batch_sizes,
    )
