"""Serving rows as arrays: datasheet terms of decode and of interfering prefill, and the columns of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.fidelity.rows import ServingRow
from shardproof.formulations.costs.serving.factors import Setting, setting_of
from shardproof.formulations.costs.serving.work import PLACE, Load, iteration_terms

DECODE = (
    "weights",
    "experts",
    "kv",
    "state",
    "gemm",
    "grouped",
    "message",
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
    "gemm",
    "grouped",
    "attention",
    "message",
    "moe_layers",
    "step",
    "elementwise",
    "tokens",
    "grouped_skew",
)
CLASSES = ("memory", "experts", "communication", "overhead", "prefill")
_CLASS_OF = {
    "weights": 0,
    "kv": 0,
    "state": 0,
    "gemm": 0,
    "elementwise": 0,
    "experts": 1,
    "grouped": 1,
    "expert_skew": 1,
    "moe_layers": 1,
    "message": 2,
    "hops": 2,
    "collectives": 2,
    "dp_collectives": 2,
}
TERM_CLASSES = tuple(_CLASS_OF.get(name, 3) for name in DECODE) + (4,) * len(PREFILL)


@dataclass(frozen=True)
class Arrays:
    """``features``: rows x terms, milliseconds; ``target``: log of the measured TPOT in ms."""

    features: np.ndarray
    target: np.ndarray
    settings: tuple[Setting, ...]
    layouts: tuple[str, ...]

    def pick(self, chosen: np.ndarray) -> Arrays:
        """Rows where ``chosen``."""
        places = np.flatnonzero(chosen)
        return Arrays(
            self.features[places],
            self.target[places],
            tuple(self.settings[place] for place in places),
            tuple(self.layouts[place] for place in places),
        )

    def keys(self, columns: tuple[str, ...]) -> np.ndarray:
        """Value of some columns joined, per row."""
        return np.array([setting.key(columns) for setting in self.settings])


def arrays(rows: Sequence[ServingRow]) -> Arrays:
    """Build the arrays of rows."""
    features = np.array([_features(row) for row in rows])
    target = np.log(np.array([row.tpot_ms for row in rows]))
    settings = tuple(_setting(row) for row in rows)
    layouts = tuple(
        f"{setting.key(('arch', 'precision', 'device', 'engine'))}|{row.option}|{row.stages}"
        for row, setting in zip(rows, settings, strict=True)
    )
    return Arrays(features, target, settings, layouts)


def _setting(row: ServingRow) -> Setting:
    wide = "dp" if row.option.attn_dp > 1 else ("ep" if row.option.moe_ep > 1 else "tp")
    found = setting_of(row.model, row.device, row.engine, harness=row.harness, wide=wide, release=row.release)
    return replace(found, precision=row.precision)


def _features(row: ServingRow) -> list[float]:
    sequences = max(1.0, row.concurrency / row.option.attn_dp)
    context = row.input_tokens + row.output_tokens / 2
    decode = iteration_terms(row.model, row.device, row.option, Load(sequences, sequences, context, logits=sequences))
    prompt = Load(row.input_tokens, 1.0, row.input_tokens / 2, prefill=True)
    prefill = iteration_terms(row.model, row.device, row.option, prompt)
    share = sequences / row.output_tokens if row.mode == "agg" else 0.0
    return [1e3 * decode[PLACE[name]] for name in DECODE] + [1e3 * share * prefill[PLACE[name]] for name in PREFILL]
