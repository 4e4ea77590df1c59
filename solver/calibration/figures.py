"""figures: the datasheet numbers of measured devices that rooflines are relative to."""

from __future__ import annotations

from collections.abc import Iterable

from shardproof.instances.calibration import Figures, figures_of
from shardproof.instances.catalogue import load_device

_UNLISTED = {
    "a40": Figures(
        peak_flops={"bf16": 149.7e12, "int8": 299.3e12},
        memory_bandwidth=696e9,
        link_bandwidth=56.25e9,
        cross_bandwidth=12.5e9,
    )
}


def figures_by_device(names: Iterable[str]) -> dict[str, Figures]:
    """Return the figures of each device; raises InputError for a name that the catalogue lacks."""
    return {name: _UNLISTED[name] if name in _UNLISTED else figures_of(load_device(name)) for name in set(names)}
