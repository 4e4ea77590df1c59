"""The rules of every engine as one Markdown page: what each accepts, since when, and where the engine checks it."""

from __future__ import annotations

from collections.abc import Iterator

from shardproof.formulations.engines.rules import ENGINES, PHYSICAL, Rule

SEEN: dict[str, dict[str, str]] = {
    "heads": {"vllm": "0.5 - 0.25", "sglang": "0.4 - 0.5", "trtllm": "0.18 - 1.2"},
    "whole-blocks": {"vllm": "0.8 - 0.25", "sglang": "0.4.3 (#3491) - 0.5", "trtllm": "scales would be cut"},
    "whole-groups": {"vllm": "0.5 (#5675) - 0.10 (#21695)", "sglang": "0.4 - 0.5", "trtllm": "1.0 - 1.2"},
    "state-groups": {"vllm": "0.8 - 0.33", "sglang": "0.5"},
    "weights-device": {"vllm": "0.4 - 0.33", "sglang": "0.5", "trtllm": "0.18 - 1.2"},
    "sparse-device": {"vllm": "0.11 - 0.33", "sglang": "0.5"},
    "kernel-blocks": {"vllm": "0.11 - 0.33", "trtllm": "all"},
    "cache-dtype": {"vllm": "0.20 - 0.33", "sglang": "0.5"},
    "whole-prompts": {"vllm": "0.4 - 0.7"},
    "compressed-experts": {"vllm": "0.20 - 0.33"},
    "pools-one-stage": {"vllm": "0.10 - 0.33"},
    "context": {"vllm": "0.4 - 0.33", "sglang": "0.5.1 (#9388) - 0.5.23"},
    "whole-experts": {"sglang": "0.5", "trtllm": "0.20 - 1.2"},
    "one-stage-dp-ep": {"sglang": "0.5 (#9805)"},
    "guesses-in-pipelines": {"vllm": "0.7 - 0.29"},
    "whole-rounds": {"vllm": "0.12 - 0.33"},
    "draft-models": {"vllm": "0.9 - 0.10.0"},
    "guesses-one-stage": {"sglang": "0.5 (#30775)", "trtllm": "1.2 (#9009)"},
    "guesses-attention-dp": {"sglang": "0.5"},
    "new-heads": {"trtllm": "1.2 - 1.4"},
    "guesses-together": {"trtllm": "1.2 (#9009)"},
}
"""Versions in which a rule was seen at work, in source, log or issue; elsewhere the rule is taken to hold in all."""

COLUMNS = ("vllm", "sglang", "trtllm")

HEAD = """# Rules of the engines

Written by `formulations/engines/table.py` from `formulations/engines/rules.py`; a test keeps it current. A plan for
a named engine keeps every rule in its column; without an engine the first eight hold alone. `solve` offers no
option that breaks one, `predict`, `compare` and `audit` judge a given plan by the same functions. A cell names the
versions in which the rule was seen at work (source, log or issue), `all` where no version is known to differ.
"""


def rules_page() -> str:
    """Return the page."""
    return "\n".join((HEAD, *_table(), "", "## Where each is checked", "", *_sources(), ""))


def every_rule() -> tuple[Rule, ...]:
    """Return the physical rules, then those of the engines, each once."""
    return tuple(dict.fromkeys((*PHYSICAL, *(rule for rules in ENGINES.values() for rule in rules))))


def _table() -> Iterator[str]:
    yield "| rule | what must hold | " + " | ".join(COLUMNS) + " |"
    yield "|---|---|" + "---|" * len(COLUMNS)
    for rule in every_rule():
        yield f"| `{rule.name}` | {rule.sentence} | {' | '.join(_cell(rule, engine) for engine in COLUMNS)} |"


def _cell(rule: Rule, engine: str) -> str:
    if rule not in PHYSICAL and rule not in ENGINES[engine]:
        return "-"
    return SEEN.get(rule.name, {}).get(engine, "all")


def _sources() -> Iterator[str]:
    for rule in every_rule():
        yield f"* `{rule.name}`: {rule.source}"
