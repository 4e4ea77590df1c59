"""Synthetic load profiles by name and seed: uniform, Zipf and log-normal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardproof.instances.errors import InputError, Problem
from shardproof.instances.load_profile.profile import LoadProfile

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = ("uniform", "zipf:0.9", "lognormal:1.0")
_KINDS = ("uniform", "zipf", "lognormal")
_TOKENS = 1 << 20
"""Routed tokens per layer: large enough that sampling noise stays below a tenth of a percent."""


def is_synthetic(source: str) -> bool:
    """Say whether a profile's name is that of a synthetic one."""
    return source.partition(":")[0] in _KINDS


def synthetic_profile(source: str, *, layers: int, experts: int, seed: int) -> LoadProfile:
    """Make a profile of ``layers x experts`` loads.

    ``uniform``: equal loads. ``zipf:EXPONENT``: shares proportional to ``rank ** -EXPONENT`` in an
    order shuffled per layer, of which 2**20 tokens are sampled. ``lognormal:SIGMA``: shares
    ``exp(SIGMA * normal)``, rounded to 2**20 tokens. Raises `InputError` for a bad parameter.
    """
    kind, _, parameter = source.partition(":")
    if kind == "uniform":
        if parameter:
            raise InputError([Problem("profile", kind, parameter, "uniform takes no parameter")])
        loads = ((1,) * experts,) * layers
    else:
        import numpy as np

        spread = _spread(source, parameter)
        generator = np.random.default_rng(seed)
        draw = _zipf_layer if kind == "zipf" else _lognormal_layer
        loads = tuple(draw(generator, experts=experts, spread=spread) for _ in range(layers))
    return LoadProfile(name=source, source=f"synthetic, seed {seed}", loads=loads)


def _zipf_layer(generator: np.random.Generator, *, experts: int, spread: float) -> tuple[int, ...]:
    import numpy as np

    shares = np.arange(1, experts + 1, dtype=float) ** -spread
    generator.shuffle(shares)
    sampled: list[int] = generator.multinomial(_TOKENS, shares / shares.sum()).tolist()
    return tuple(sampled)


def _lognormal_layer(generator: np.random.Generator, *, experts: int, spread: float) -> tuple[int, ...]:
    import numpy as np

    shares = np.exp(spread * generator.standard_normal(experts))
    rounded: list[int] = np.rint(shares / shares.sum() * _TOKENS).astype(int).tolist()
    return tuple(rounded)


def _spread(source: str, parameter: str) -> float:
    try:
        spread = float(parameter)
    except ValueError:
        spread = -1.0
    if not 0 <= spread <= 20:
        remedy = f"write it as {EXAMPLES[1]} or {EXAMPLES[2]}, the number from 0 to 20"
        raise InputError([Problem("profile", source, parameter, remedy)])
    return spread
