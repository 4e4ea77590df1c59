r"""The KV cache of a prompt on its way from the prefill pool to the decode pool.

.. math:: x = \lceil setup + bytes / bandwidth \rceil, \qquad bytes = \sum_l kv_l(input)

=========  =====================  =======  ==============================================================
symbol     code                   unit     source
=========  =====================  =======  ==============================================================
x          `sending_time`         ns       rounded up
bytes      `prompt_bytes`         bytes    one copy of the cache of every layer, as the decode pool stores it
bandwidth  `Passage.bandwidth`  bytes/s  ``transfer.bandwidth``, or what one device's scale-out link reaches
setup      `Passage.setup`      ns       ``transfer.setup``, or that link's latency
=========  =====================  =======  ==============================================================

Each prefill replica has one such link; requests pass it one after the other, beside the prefill of the next ones.
The decode pool takes in whatever comes.
"""

from __future__ import annotations

from shardproof.formulations.costs.memory import layer_kv_bytes
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.serving import Passage, passage_of
from shardproof.instances.units import ceiling

WHOLE = Option(1, 1, 1, 1)
"""One device that holds all: its cache is one copy, whatever the shapes of the pools."""


def link_of(instance: Instance) -> Passage:
    """Return the link between the pools: as stated, else the device's own scale-out link."""
    return passage_of(instance.transfer, instance.device)


def prompt_bytes(instance: Instance, tokens: int) -> int:
    """Bytes of the cache of a prompt of so many tokens, all layers, those of what guesses tokens ahead included."""
    guessed = None if instance.speculative is None else instance.speculative.draft
    models = [instance.model, *(() if guessed is None else (guessed.model,))]
    return sum(
        layer_kv_bytes(model, model.kinds[kind], WHOLE, requests=1, tokens=tokens)
        for model in models
        for kind in model.layer_kinds
    )


def sending_time(instance: Instance, tokens: int) -> int:
    """Time in which the cache of a prompt of so many tokens passes the link, ns, rounded up."""
    link = link_of(instance)
    return ceiling(link.setup + prompt_bytes(instance, tokens) * 10**9 / link.bandwidth)
