"""A rule of an engine: a name, a sentence and a test on one option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shardproof.instances.instance import Instance
from shardproof.instances.option import Option


@dataclass(frozen=True)
class Rule:
    """One rule: ``accepts`` judges an option; ``uniform`` rules bind all stages to one option.

    ``pipelines``: the rule holds for replicas of several stages only; ``spans``: for those that span nodes only.
    ``source``: where the engine checks it
    (file, function, versions read).
    """

    name: str
    sentence: str
    accepts: Callable[[Instance, Option], bool]
    uniform: bool = False
    pipelines: bool = False
    spans: bool = False
    source: str = ""
