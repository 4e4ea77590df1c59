"""Multi-token-prediction modules: layers behind the decoder's own that guess further tokens.

Sources: DeepSeek-V3's report (section 2.2) and vLLM ``model_executor/models/*_mtp.py``: a module is a matrix that joins
the hidden state with the next token's embedding, and decoder layers like the model's last ones with full attention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.families import Family
from shardproof.instances.huggingface.quantization import stored_behind
from shardproof.instances.layers import Layer, LinearAttention, NoAttention, NoFeedForward
from shardproof.instances.model import Formats

COUNTS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
"""Fields that say how many modules a checkpoint has; the first that is given counts."""

MOST_MODULES = 64


def read_predictors(
    config: Config,
    family: Family,
    layers: Sequence[Layer],
    formats: Formats,
    quantization: Mapping[str, object] | None,
) -> tuple[tuple[Layer, ...], int]:
    """Return the layers of one module as stored, and how many modules there are."""
    count = min(config.optional_integer(*COUNTS, minimum=0) or 0, MOST_MODULES)
    if not count:
        return (), 0
    plain = [layer.model_copy(update={"formats": None}) for layer in layers]
    found = _described(config, family, count) or _last_full(plain)
    return stored_behind(config, found, len(layers), formats, quantization), count if found else 0


def _described(config: Config, family: Family, count: int) -> tuple[Layer, ...]:
    """Return the layer that the file itself describes behind the last one, where its list of layers goes on."""
    types = config.fields.get("layer_types")
    own = config.layer_count if config.has("num_hidden_layers") else 0
    if not own or not isinstance(types, Sequence) or isinstance(types, str) or len(types) < own + count:
        return ()
    longer = Config(fields={**config.fields, "num_hidden_layers": own + 1}, where=config.where)
    return (family.read(longer).layers[own].model_copy(update={"formats": None}),)


def _last_full(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the last layer that attends to the whole context, with the last feed-forward part where it has none."""
    attending = [layer for layer in layers if not isinstance(layer.attention, LinearAttention | NoAttention)]
    full = [layer for layer in attending if getattr(layer.attention, "window", None) is None] or attending
    if not full:
        return ()
    if not isinstance(full[-1].feed_forward, NoFeedForward):
        return (full[-1],)
    routed = [layer for layer in layers if not isinstance(layer.feed_forward, NoFeedForward)]
    return (full[-1], *routed[-1:])
