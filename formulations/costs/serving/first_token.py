r"""Waits of a first token in a closed loop: what a request's own prefill is stretched by, and what it waits for.

.. math:: TTFT = p + \left(1 - \frac{1}{n}\right) \left(\beta p + (\omega + \chi \frac{i}{m}) t + \kappa\right)
          + \sigma (n - 1) p

======  ==============================  ======  ==============================================================
symbol  code                            unit    source
======  ==============================  ======  ==============================================================
p       `prefill`                       ns      the prompt's own prefill, as in a burst of one
t       `iteration`                     ns      a decode iteration with the prompts prefilled beside it
n       `running`                       1       requests that one attention replica runs together
i, m    `input_tokens`, `chunk_tokens`  tokens  prompt; the chunks that the engine cuts it into
beta    term ``prefill``                1       fitted: prompts in service before it
omega   term ``iteration``              1       fitted: iterations that it waits for, scheduling included
chi     term ``chunks``                 1       fitted: each chunk's iteration decodes the others as well
kappa   term ``host``                   ms      fitted: the host's share that grows with neither
sigma   term ``queue``                  1       fitted: prompts that came at the same time stand before it
======  ==============================  ======  ==============================================================

All terms but p vanish for a request alone, and none falls as n, i or the times grow. The factors depend on the
engine, device, model and option, never on how the layers are cut into stages: TTFT stays a sum over layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp
from pathlib import Path

from shardproof import instances
from shardproof.formulations.costs.serving.factors import Group, Setting
from shardproof.instances.base import Record
from shardproof.instances.reading import read_mapping, validate

FILE = Path(instances.__file__).parent / "catalog" / "serving" / "first_token.json"
CHUNK_TOKENS = 8192
"""Chunk of engines that are told nothing else, and of the deployments behind the factors."""
TERMS = ("prefill", "iteration", "chunks", "host", "queue")
CLASSES = (0, 1, 1, 1, 2)
PARTS = 10**6


class FirstTokenCatalogue(Record):
    """The catalogue file: logarithms of the shared factors, one a term, and groups of deviations."""

    source: str
    fit: dict[str, str]
    base: tuple[float, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Wait:
    """What a first token takes: millionths of its own prefill and of an iteration, and nanoseconds once."""

    prefill: int
    iteration: int
    host_ns: int


UNFITTED = {"prefill": 1.0, "iteration": 0.5, "chunks": 0.0, "host": 0.0, "queue": 0.0}
"""Factors of instances with flat efficiencies: half an iteration, and the prompt in service before."""


@lru_cache(maxsize=1)
def load_first_token() -> FirstTokenCatalogue:
    """Read the catalogue file once."""
    return validate(FirstTokenCatalogue, read_mapping(FILE), where="catalogue: serving/first_token.json")


@lru_cache(maxsize=1024)
def fitted_factors(setting: Setting) -> Mapping[str, float]:
    """Factors of a setting, by term; groups that were never measured add nothing."""
    catalogue = load_first_token()
    logs = list(catalogue.base)
    for group in catalogue.groups:
        found = group.values.get(setting.key(group.columns))
        if found is not None:
            for place, kind in enumerate(CLASSES):
                logs[place] += found[place] if group.basis == "term" else found[kind]
    return dict(zip(TERMS, map(exp, logs), strict=True))


def wait_of(
    factors: Mapping[str, float], *, running: float, input_tokens: float, chunk_tokens: int, scale: float = 1.0
) -> Wait:
    """Return what a first token takes when ``running`` requests run together on its attention replica.

    ``scale``: correction of everything but its own prefill.
    """
    others = max(0.0, running - 1)
    share = others / (others + 1)
    iterations = factors["iteration"] + factors["chunks"] * input_tokens / chunk_tokens
    return Wait(
        prefill=PARTS + _parts(scale * (share * factors["prefill"] + others * factors["queue"])),
        iteration=_parts(scale * share * iterations),
        host_ns=_parts(scale * share * factors["host"]),
    )


def _parts(value: float) -> int:
    """Millionths, rounded up from seven significant digits (so that last bits do not show)."""
    return ceil(float(f"{value * PARTS:.6e}"))
