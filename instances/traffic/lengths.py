r"""How many tokens prompts and answers have: a number, a distribution by its percentiles, or a list of lengths.

A distribution stated by mean, median and percentiles is log-normal, cut at ``max``:
:math:`\ln X \sim N(\mu, \sigma^2)`. With a median, :math:`\mu = \ln p_{50}`; :math:`\sigma` comes from the highest
percentile stated (:math:`\ln p_q = \mu + z_q \sigma`), else from the mean (:math:`\ln m = \mu + \sigma^2/2`). With a
mean and a percentile but no median the smaller root of both equations is taken. What is stated beyond that is held
against the fit and refused where it lies 25 % off: the numbers then describe no log-normal distribution.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from shardproof.instances.base import Record
from shardproof.instances.units import Ratio

if TYPE_CHECKING:
    import numpy as np

MOST_TOKENS = 10**8
_OFF = 0.25
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_TAIL = 0.9999
"""Where no ``max`` is stated the distribution ends at this quantile."""

Tokens = Annotated[int, Field(gt=0, le=MOST_TOKENS)]


class Lengths(Record):
    """A log-normal distribution of token counts, stated by what people know of it."""

    mean: Ratio | None = Field(default=None, gt=0, le=MOST_TOKENS)
    p50: Tokens | None = None
    p90: Tokens | None = None
    p95: Tokens | None = None
    p99: Tokens | None = None
    max: Tokens | None = None
    min: PositiveInt = 1

    @model_validator(mode="after")
    def _describes_something(self) -> Self:
        stated = [value for value in (self.p50, self.p90, self.p95, self.p99, self.max) if value is not None]
        if self.mean is None and self.p50 is None:
            raise ValueError("give at least mean or p50")
        if stated != sorted(stated):
            raise ValueError("percentiles must not fall: p50 <= p90 <= p95 <= p99 <= max")
        if self.max is not None and self.min > self.max:
            raise ValueError("min lies above max")
        self._compare_with_fit()
        return self

    def _compare_with_fit(self) -> None:
        mu, sigma = self.parameters
        for name, quantile in _QUANTILES.items():
            value = getattr(self, name)
            if value is not None and abs(self._quantile(mu, sigma, quantile) / value - 1) > _OFF:
                fitted = self._quantile(mu, sigma, quantile)
                raise ValueError(
                    f"no log-normal distribution has these figures: {name} would be {fitted:.0f}, not {value};"
                    " give a file of lengths instead"
                )

    @property
    def parameters(self) -> tuple[float, float]:
        """Mean and standard deviation of the logarithm."""
        upper = [(q, getattr(self, name)) for name, q in _QUANTILES.items() if name != "p50"]
        tail = next(((q, value) for q, value in reversed(upper) if value is not None), None)
        mean = None if self.mean is None else math.log(float(self.mean))
        if self.p50 is not None:
            mu = math.log(self.p50)
            if tail is not None:
                return mu, max(0.0, (math.log(tail[1]) - mu) / NormalDist().inv_cdf(tail[0]))
            return mu, 0.0 if mean is None else math.sqrt(max(0.0, 2 * (mean - mu)))
        assert mean is not None
        if tail is None:
            return mean, 0.0
        return _from_mean_and_tail(mean, math.log(tail[1]), NormalDist().inv_cdf(tail[0]))

    def _quantile(self, mu: float, sigma: float, quantile: float) -> float:
        value = math.exp(mu + sigma * NormalDist().inv_cdf(quantile))
        return min(value, float(self.max)) if self.max is not None else value

    def quantile(self, share: float) -> int:
        """Tokens that a ``share`` of requests does not exceed, rounded up."""
        mu, sigma = self.parameters
        if share >= 1:
            return self.longest
        return max(self.min, math.ceil(self._quantile(mu, sigma, share)) if share > 0 else self.min)

    @property
    def longest(self) -> int:
        """Most tokens that a request may have."""
        return self.max if self.max is not None else self.quantile(_TAIL)

    def sample(self, count: int, random: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Draw ``count`` lengths."""
        import numpy as np

        mu, sigma = self.parameters
        drawn = np.rint(np.exp(mu + sigma * random.standard_normal(count)))
        return np.clip(drawn, self.min, self.longest).astype(np.int64)


def _from_mean_and_tail(mean: float, tail: float, z: float) -> tuple[float, float]:
    """Solve mean = mu + sigma^2 / 2 and tail = mu + z sigma for the smaller sigma."""
    inside = z * z - 2 * (tail - mean)
    if inside < 0:
        raise ValueError("mean and percentile describe no log-normal distribution; give p50")
    sigma = max(0.0, z - math.sqrt(inside))
    return mean - sigma * sigma / 2, sigma


def mean_of(lengths: int | Lengths) -> float:
    """Mean tokens of a length, cut at its longest as sampling does (the cut's effect is below the fit's doubt)."""
    if isinstance(lengths, int):
        return float(lengths)
    if lengths.mean is not None:
        return float(lengths.mean)
    mu, sigma = lengths.parameters
    return math.exp(mu + sigma * sigma / 2)


def quantile_of(lengths: int | Lengths, share: float) -> int:
    """Tokens that a share of requests does not exceed."""
    return lengths if isinstance(lengths, int) else lengths.quantile(share)


def longest_of(lengths: int | Lengths) -> int:
    """Most tokens that a request has."""
    return lengths if isinstance(lengths, int) else lengths.longest


def shortest_of(lengths: int | Lengths) -> int:
    """Fewest tokens that a request has."""
    return lengths if isinstance(lengths, int) else lengths.min
