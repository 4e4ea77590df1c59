"""Serving rows as arrays: datasheet terms of decode and of interfering prefill, and the columns of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.fidelity.capacity import most_running, untold_limit
from benchmarks.fidelity.rows import ServingRow
from shardproof.formulations.costs.serving.closed_loop import prompt
from shardproof.formulations.costs.serving.factors import Setting, kernels_of, setting_of
from shardproof.formulations.costs.serving.operators import clock_for, served_iteration
from shardproof.formulations.costs.serving.work import PLACE, Load, Terms, least_seconds

DECODE = (
    "matrices",
    "expert_matrices",
    "scores",
    "recurrence",
    "norms",
    "reductions",
    "exchanges",
    "weights",
    "experts",
    "kv",
    "hops",
    "collectives",
    "dp_collectives",
    "layers",
    "moe_layers",
    "linear_layers",
    "sparse_layers",
    "latent_layers",
    "quantised_layers",
    "expert_skew",
    "elementwise",
    "sequences",
    "step",
)
PREFILL = (
    "matrices",
    "expert_matrices",
    "scores",
    "recurrence",
    "norms",
    "reductions",
    "exchanges",
    "moe_layers",
    "step",
    "tokens",
)
CLASSES = ("memory", "experts", "communication", "overhead", "prefill")
_CLASS_OF = {
    "matrices": 0,
    "scores": 0,
    "recurrence": 0,
    "norms": 0,
    "elementwise": 0,
    "weights": 0,
    "kv": 0,
    "experts": 1,
    "expert_matrices": 1,
    "expert_skew": 1,
    "moe_layers": 1,
    "reductions": 2,
    "exchanges": 2,
    "hops": 2,
    "collectives": 2,
    "dp_collectives": 2,
}
TERM_CLASSES = tuple(_CLASS_OF.get(name, 3) for name in DECODE) + (4,) * len(PREFILL)


@dataclass(frozen=True)
class Arrays:
    """``features``: rows x terms, milliseconds; ``target``: log of the measured TPOT in ms.

    ``floors``: what the datasheet asks for at least, of decode and of the prefill beside it, ms.
    """

    features: np.ndarray
    floors: np.ndarray
    target: np.ndarray
    settings: tuple[Setting, ...]
    layouts: tuple[str, ...]

    def pick(self, chosen: np.ndarray) -> Arrays:
        """Rows where ``chosen``."""
        places = np.flatnonzero(chosen)
        return Arrays(
            self.features[places],
            self.floors[places],
            self.target[places],
            tuple(self.settings[place] for place in places),
            tuple(self.layouts[place] for place in places),
        )

    def keys(self, columns: tuple[str, ...]) -> np.ndarray:
        """Value of some columns joined, per row."""
        return np.array([setting.key(columns) for setting in self.settings])


def arrays(rows: Sequence[ServingRow]) -> Arrays:
    """Build the arrays of rows."""
    found = [_features(row) for row in rows]
    features, floors = (np.array([pair[place] for pair in found]) for place in (0, 1))
    target = np.log(np.array([row.tpot_ms for row in rows]))
    settings = tuple(_setting(row) for row in rows)
    layouts = tuple(
        f"{setting.key(('arch', 'precision', 'device', 'engine'))}|{row.option}|{row.stages}"
        for row, setting in zip(rows, settings, strict=True)
    )
    return Arrays(features, floors, target, settings, layouts)


def _setting(row: ServingRow) -> Setting:
    wide = "dp" if row.option.attn_dp > 1 else ("ep" if row.option.moe_ep > 1 else "tp")
    found = setting_of(row.model, row.device, row.engine, harness=row.harness, wide=wide, release=row.release)
    return replace(found, precision=row.precision)


def running(row: ServingRow) -> float:
    """Sequences that one attention replica decodes at once."""
    tokens = row.input_tokens + row.output_tokens / 2
    most = most_running(row.launched, row.device, row.option, tokens=tokens, stages=row.stages)
    return min(max(1.0, row.concurrency / row.option.attn_dp), most, untold_limit(row.device, row.engine))


def _features(row: ServingRow) -> tuple[list[float], list[float]]:
    sequences, context = running(row), row.input_tokens + row.output_tokens / 2
    clock = clock_for(row.device, kernels_of(row.engine))

    def terms(load: Load) -> Terms:
        return served_iteration(row.model, row.device, row.option, load, clock)

    each = max(1.0, sequences / row.stages)
    decode = terms(Load(each, each, context, logits=each))
    prefill = terms(prompt(row.input_tokens))
    share = sequences / row.output_tokens if row.mode == "agg" else 0.0
    beside = [1e3 * share * prefill[PLACE[name]] for name in PREFILL]
    floors = [1e3 * least_seconds(decode, prefill=False), 1e3 * share * least_seconds(prefill, prefill=True)]
    return [1e3 * decode[PLACE[name]] for name in DECODE] + beside, floors
