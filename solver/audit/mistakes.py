"""The library of usual mistakes, and the search for the combination that reproduces a printed number.

A mistake is a name that the recount understands, and a sentence for people. The search tries one mistake,
then two, then three, over every way of counting that a careful author might have used, and accepts a
combination only if it gives the stated number in the digits that were printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from shardproof.solver.audit.claim import show
from shardproof.solver.audit.recount import Assume
from shardproof.solver.documents.statement import Statement

MISTAKES: dict[str, str] = {
    # time
    "total-instead-of-active-parameters": "all parameters are counted, a token passes only the active ones",
    "output-tokens-in-ttft": "output tokens are counted into the time to first token",
    "full-instead-of-causal-attention": "attention is counted over the full square, not the causal half",
    "pipeline-fill-ignored": "the filling of the pipeline is left out",
    "tflops-with-sparsity": "the peak is the one with 2:4 sparsity, twice the dense one",
    "mfu-twice": "the compute efficiency is applied twice",
    "mfu-ignored": "the compute efficiency is left out",
    "one-request-instead-of-the-batch": "one request is counted instead of the batch",
    "one-flop-per-parameter": "one FLOP per parameter is counted instead of two",
    "one-stage-only": "the time of one stage is taken for that of the pipeline",
    "head-for-every-prompt-token": "the LM head is counted for every prompt token",
    "weights-read-with-total-parameters": "all weights are read for every token, also experts that no token touches",
    "bandwidth-of-one-gpu": "the bandwidth of one GPU is used for the weights of all",
    # memory
    "kv-cache-omitted": "the KV cache is left out",
    "weights-omitted": "the weights are left out",
    "gb-for-gib": "GiB were counted and written as GB",
    "gib-for-gb": "GB were counted and written as GiB",
    "kv-of-all-layers-on-every-stage": "each stage is charged the KV cache of all layers",
    "weights-of-all-layers-on-every-stage": "each stage is charged the weights of all layers",
    "all-heads-instead-of-kv-heads": "all query heads are counted where only KV heads are cached",
    "all-heads-instead-of-latent": "full keys and values are counted where a latent vector is cached",
    "kv-heads-divided-beyond-one": "KV heads are divided by TP although a rank holds at least one whole head",
    "latent-kv-divided-by-tp": "the latent KV cache is divided by TP although every rank holds all of it",
    "output-tokens-not-in-kv-cache": "the KV cache holds the prompt only, without the output tokens",
    "keys-without-values": "keys are counted without values",
    "sliding-window-ignored": "the sliding window is ignored",
    "gate-matrix-forgotten": "two matrices per feed-forward network are counted, the gate is forgotten",
    "attention-as-four-hidden-squared": "attention is counted as 4 x hidden^2 parameters, which it is not",
    "active-instead-of-total-parameters": "only the experts of one token are counted, all of them are stored",
    "experts-not-divided": "experts are not divided over the ranks that share them",
    "tensor-parallel-ignored": "the division over tensor-parallel ranks is left out",
    "attention-dp-ignored": "the division of requests over data-parallel ranks is left out",
    "two-bytes-per-weight": "two bytes per weight are counted",
    "one-byte-per-weight": "one byte per weight is counted",
    "two-bytes-per-kv-element": "two bytes per KV element are counted",
    "one-byte-per-kv-element": "one byte per KV element is counted",
    # counts
    "dp-not-divided": "data-parallel ranks are counted as dividing what they copy",
    "experts-times-layers": "experts of all layers are counted as one layer's",
}

TIME_MISTAKES = (
    "total-instead-of-active-parameters",
    "output-tokens-in-ttft",
    "full-instead-of-causal-attention",
    "pipeline-fill-ignored",
    "tflops-with-sparsity",
    "mfu-twice",
    "mfu-ignored",
    "one-request-instead-of-the-batch",
    "one-flop-per-parameter",
)

MEMORY_MISTAKES = (
    "kv-cache-omitted",
    "weights-omitted",
    "gb-for-gib",
    "gib-for-gb",
    "kv-of-all-layers-on-every-stage",
    "weights-of-all-layers-on-every-stage",
    "all-heads-instead-of-kv-heads",
    "all-heads-instead-of-latent",
    "kv-heads-divided-beyond-one",
    "latent-kv-divided-by-tp",
    "output-tokens-not-in-kv-cache",
    "keys-without-values",
    "sliding-window-ignored",
    "gate-matrix-forgotten",
    "attention-as-four-hidden-squared",
    "active-instead-of-total-parameters",
    "experts-not-divided",
    "tensor-parallel-ignored",
    "two-bytes-per-weight",
    "one-byte-per-weight",
    "two-bytes-per-kv-element",
    "one-byte-per-kv-element",
    "one-request-instead-of-the-batch",
)

_EXCLUSIVE = (
    frozenset({"gb-for-gib", "gib-for-gb"}),
    frozenset({"mfu-twice", "mfu-ignored"}),
    frozenset({"two-bytes-per-weight", "one-byte-per-weight"}),
    frozenset({"two-bytes-per-kv-element", "one-byte-per-kv-element"}),
    frozenset({"kv-cache-omitted", "weights-omitted"}),
    frozenset({"kv-cache-omitted", "two-bytes-per-kv-element"}),
    frozenset({"kv-cache-omitted", "one-byte-per-kv-element"}),
    frozenset({"kv-cache-omitted", "keys-without-values"}),
    frozenset({"kv-cache-omitted", "output-tokens-not-in-kv-cache"}),
    frozenset({"kv-cache-omitted", "all-heads-instead-of-kv-heads"}),
    frozenset({"kv-cache-omitted", "kv-of-all-layers-on-every-stage"}),
    frozenset({"kv-cache-omitted", "one-request-instead-of-the-batch"}),
    frozenset({"all-heads-instead-of-kv-heads", "kv-heads-divided-beyond-one"}),
)
MOST_TRIALS = 80_000
"""Numbers that the searches of one document compare at most."""

GIB = 2**30 / 10**9


@dataclass
class Budget:
    """Numbers that the searches of one document may still compare."""

    left: int = MOST_TRIALS


@dataclass(frozen=True)
class Trial:
    """One way of counting: its value, what was counted, and the dimension to write it in."""

    value: float
    text: str
    dimension: str = "bytes"

    @property
    def formula(self) -> str:
        """What was counted, and what it comes to."""
        return f"{self.text} = {show(self.value, self.dimension)}"


Recipe = Callable[[Assume], Iterable[Trial]]


@dataclass(frozen=True)
class Explanation:
    """The mistakes that together give the stated number, and the formula that does."""

    mistakes: tuple[str, ...]
    formula: str
    alternatives: tuple[tuple[str, ...], ...] = ()

    @property
    def sentence(self) -> str:
        """Sentence for people."""
        reasons = "; ".join(MISTAKES[name] for name in self.mistakes)
        more = (
            " (or: " + "; or ".join(" + ".join(names) for names in self.alternatives) + ")" if self.alternatives else ""
        )
        return f"{self.formula}: {reasons}{more}"


def explain(
    statement: Statement, recipe: Recipe, names: Sequence[str], *, budget: Budget, most: int = 3
) -> Explanation | None:
    """Return the smallest combination of mistakes that gives the stated number as printed."""
    bounds = _bounds(statement)
    baseline = {trial.value for trial in recipe(frozenset())}
    useful = [name for name in names if {trial.value for trial in recipe(frozenset({name}))} != baseline]
    for size in range(1, min(most, len(useful)) + 1):
        hits: list[tuple[tuple[str, ...], str]] = []
        for combination in combinations(useful, size):
            chosen = frozenset(combination)
            if any(pair <= chosen for pair in _EXCLUSIVE):
                continue
            for trial in recipe(chosen):
                budget.left -= 1
                if _prints_as(trial.value, bounds):
                    hits.append((combination, trial.formula))
                    break
            if budget.left <= 0:
                break
        if hits:
            hits = [hit for hit in hits if _each_needed(hit[0], recipe, bounds)] or hits
            others = tuple(names for names, _ in hits[1:4])
            return Explanation(hits[0][0], hits[0][1], others)
        if budget.left <= 0:
            return None
    return None


def _each_needed(combination: tuple[str, ...], recipe: Recipe, bounds: tuple[float, float]) -> bool:
    """Whether no mistake of the combination is idle."""
    return all(
        not any(_prints_as(trial.value, bounds) for trial in recipe(frozenset(combination) - {name}))
        for name in combination
    )


def _prints_as(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _bounds(statement: Statement) -> tuple[float, float]:
    """The numbers that print as the stated one."""
    stated, half = float(statement.number), float(statement.half) * 1.001
    return stated - half, stated + half


def in_units(value: float, assume: Assume) -> float:
    """Apply the confusion of GB and GiB to a number of bytes as it was printed."""
    if "gb-for-gib" in assume:
        return value / GIB
    return value * GIB if "gib-for-gb" in assume else value
