r"""Speculative decoding in costs: what guessing takes beside an iteration, and what an iteration gives.

An iteration verifies k + 1 tokens of each sequence and gives E of them on average
(`shardproof.instances.speculative`), so that a token takes :math:`1 / E` of it. Before the next one, k guesses are made
on the devices of the last stage, at its widths:

.. math:: t_{guess} = g(n) + (k - 1)\, g(1)

======  ============================  ======  ==============================================================
symbol  code                          unit    source
======  ============================  ======  ==============================================================
k       `Speculation.guesses`         tokens  the question's
E       `Speculation.tokens`          1e-6    the question's, rounded down
n       `Step.tokens`                 tokens  of a sequence in the iteration: k + 1, or of the prompt
g(n)    `guess_operations`            ns      one guess after n new tokens: its layers, the joining matrix, its head
======  ============================  ======  ==============================================================

The first guess computes the draft's cache for all tokens of the iteration (of the prompt, in prefill), each further
one a token more. Modules that take turns compute each all tokens of the iteration before their own guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from shardproof.formulations.costs.communication import layer_collectives
from shardproof.formulations.costs.compute import Step, embedding_operation, head_operation, layer_operations
from shardproof.formulations.costs.memory import embedding_bytes, head_bytes, layer_weight_bytes
from shardproof.formulations.costs.operations import Operation, Shape
from shardproof.formulations.costs.sharding import element_bytes
from shardproof.instances.layers import Layer
from shardproof.instances.option import Option
from shardproof.instances.speculative import MILLION, Draft, Speculation

JOINED_DTYPE = "bf16"
"""Matrices that join states are not quantised, and every rank holds them whole (vLLM ``deepseek_mtp.py``)."""


OPERATIONS_OF_A_LAYER = 40
"""Operations and collectives of one layer, at most: each is rounded up by less than a picosecond."""


def verifying(step: Step, speculation: Speculation | None, *, output_tokens: int | None = None) -> Step:
    """Return a decode step with the guesses that it verifies, and what it gives: no more than a request still asks for.

    ``output_tokens``: of a request, the first of which prefill gives.
    """
    if speculation is None or step.phase != "decode":
        return step
    most = MILLION * max(1, (output_tokens or MILLION) - 1)
    return replace(step, tokens=speculation.verified, gives=min(speculation.tokens, most))


def per_token(nanoseconds: int, gives: int) -> int:
    """Time of one token where an iteration gives so many millionths of them, ns, rounded up."""
    return nanoseconds if gives == MILLION else -(-nanoseconds * MILLION // gives)


def guesses_of(speculation: Speculation | None) -> int:
    """Guesses that each sequence keeps slots for."""
    return 0 if speculation is None else speculation.guesses


def guess_slack(speculation: Speculation) -> int:
    """Nanoseconds that rounding up the guesses' operations adds at most, beyond those of any other cell."""
    layers = 0 if speculation.draft is None else len(turn_layers(speculation.draft))
    return speculation.guesses * (layers + 1) * OPERATIONS_OF_A_LAYER // 1000


def draft_layers(draft: Draft) -> tuple[Layer, ...]:
    """Every layer of a draft, first to last."""
    return tuple(draft.model.kinds[kind] for kind in draft.model.layer_kinds)


def draft_weight_bytes(draft: Draft, option: Option) -> int:
    """Weights of a draft on one device of the last stage, bytes."""
    model = draft.model
    total = sum(layer_weight_bytes(model, layer, option) for layer in draft_layers(draft))
    total += draft.turns * element_bytes(draft.joined * model.hidden, JOINED_DTYPE)
    total += element_bytes(draft.turns * model.final_norm_parameters, model.formats.norms.dtype)
    total += embedding_bytes(model, option) if draft.own_embedding else 0
    return total + (head_bytes(model, option) if draft.own_head else 0)


def guess_steps(speculation: Speculation, step: Step) -> Iterator[Step]:
    """Steps of the guesses after a step of the model: over its tokens first, then a token each."""
    draft = speculation.draft
    full = 0 if draft is None else min(draft.turns, speculation.guesses)
    for guess in range(0 if draft is None else speculation.guesses):
        if guess < full:
            yield replace(step, gives=MILLION)
        else:
            yield Step("decode", step.requests, 1, step.context + step.tokens, step.loop)


def turn_layers(draft: Draft) -> tuple[Layer, ...]:
    """Layers that one guess runs: those of one module."""
    layers = draft_layers(draft)
    return layers[: len(layers) // draft.turns]


def guess_operations(
    speculation: Speculation, option: Option, step: Step, *, dtype: str, devices_per_node: int
) -> Iterator[Operation]:
    """Operations of all guesses after a step of the model, on one device of the last stage."""
    draft = speculation.draft
    if draft is None:
        return
    for own in guess_steps(speculation, step):
        for operation in _guess(draft, option, own, dtype=dtype, devices_per_node=devices_per_node):
            yield replace(operation, name="draft")


def _guess(draft: Draft, option: Option, step: Step, *, dtype: str, devices_per_node: int) -> Iterator[Operation]:
    model, rows = draft.model, step.rows(option)
    yield embedding_operation(model, option, step, dtype)
    if draft.joined:
        weights = element_bytes(draft.joined * model.hidden, JOINED_DTYPE)
        yield Operation(
            name="draft",
            kind="gemm",
            flops=2 * rows * draft.joined * model.hidden,
            moved_bytes=weights + element_bytes(rows * (draft.joined + model.hidden), dtype),
            resident_bytes=weights,
            dtype=JOINED_DTYPE,
            shape=Shape(m=rows, n=model.hidden, k=draft.joined),
        )
    for layer in turn_layers(draft):
        yield from layer_operations(model, layer, option, step, dtype)
        yield from layer_collectives(model, layer, option, step, dtype=dtype, devices_per_node=devices_per_node)
    yield head_operation(model, option, replace(step, tokens=1), dtype)
