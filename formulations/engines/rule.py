"""A rule of an engine: a name, a sentence and a test on one option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from shardproof.instances.instance import Instance
from shardproof.instances.option import Option


@dataclass(frozen=True)
class Rule:
    """One rule: ``accepts`` judges an option; ``uniform`` rules bind all stages to one option.

    ``pipelines``: the rule holds for replicas of several stages only; ``spans``: for those that span nodes only.
    ``source``: where the engine checks it (file, function, versions read). ``reads``: degrees of an option that the
    test reads.
    """

    name: str
    sentence: str
    accepts: Callable[[Instance, Option], bool]
    uniform: bool = False
    pipelines: bool = False
    spans: bool = False
    source: str = ""
    reads: tuple[str, ...] = ("attn_tp", "attn_dp", "moe_tp", "moe_ep", "extra_slots")

    def keeping(self, instance: Instance, options: list[Option]) -> list[Option]:
        """Return the options that keep the rule; of those alike in all that the test reads one is tested."""
        degrees: Callable[[Option], object] = attrgetter(*self.reads) if self.reads else _nothing
        first: dict[object, Option] = {}
        for option in options:
            first.setdefault(degrees(option), option)
        kept = {key for key, option in first.items() if self.accepts(instance, option)}
        if len(kept) == len(first):
            return options
        return [option for option in options if degrees(option) in kept]


def _nothing(option: Option) -> object:
    del option
    return None
