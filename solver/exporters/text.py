"""What several targets write alike: YAML, shell words, refusals."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from shardproof.instances.errors import InputError
from shardproof.instances.reading import refuse
from shardproof.solver.exporters.units import Unit


class _Literal(yaml.SafeDumper):
    """Writes text of several lines as a block, and never an alias."""

    def ignore_aliases(self, _: Any) -> bool:
        """Repeat what stands twice: deployment tools' readers differ in what they make of aliases."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Literal.add_representer(str, _text)


def to_yaml(*documents: Mapping[str, Any]) -> str:
    """Write documents as one YAML text."""
    trees = [dict(document) for document in documents]
    return yaml.dump_all(trees, Dumper=_Literal, sort_keys=False, width=10_000, explicit_start=len(trees) > 1)


def shell_words(words: Iterable[str]) -> str:
    """Join words for a shell; ``$NAME`` stays open to it, whatever else is quoted where it must be."""
    return " ".join(
        word if re.fullmatch(r"\$[A-Z_]+(?::\d+)?|\$\(\([\d A-Z_*]+\)\)", word) else shlex.quote(word) for word in words
    )


def alone(units: Sequence[Unit], target: str, reason: str) -> Unit:
    """Return the only group of a plan.

    Raises
    ------
    InputError
        If replicas differ, for the reason given.
    """
    if len(units) > 1:
        raise cannot(target, f"replicas differ, and {reason}; solve with --replicas alike", field="groups")
    return units[0]


def cannot(target: str, reason: str, *, field: str) -> InputError:
    """Return the refusal of a plan that a target cannot express."""
    return refuse("plan", f"{target} cannot express it: {reason}", field=field)
