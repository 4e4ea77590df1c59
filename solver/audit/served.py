"""The model as a document serves it: its formats, and the bytes that each device holds, as stored."""

from __future__ import annotations

from shardproof.formulations.costs.memory import embedding_bytes, head_bytes, layer_weight_bytes
from shardproof.instances.model import Formats, Model
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.readings import Reading


def served_model(context: Context) -> Model:
    """The model in the formats that the document gives it: its own, unless another dtype is stated."""
    facts = context.facts
    model = facts.model
    assert model is not None
    dtype = facts.weight_dtype
    own = model.formats.experts.dtype if facts.moe else model.formats.attention.dtype
    if dtype is None or dtype == own or facts.instance is not None:
        return model
    formats = Formats.uniform(dtype)  # type: ignore[arg-type]
    uniform = model.with_formats(formats)
    return model.model_copy(update={"formats": formats, "kinds": uniform.kinds, "predictors": uniform.predictors})


def stage_weights(context: Context, model: Model, reading: Reading) -> int:
    """Bytes of weights on a device of the fullest stage, with embedding and head where they lie."""
    option, kinds = reading.option, model.layer_kinds
    ranges = context.stage_ranges(reading.pp) or ((0, len(kinds) - 1),)
    each = {kind: layer_weight_bytes(model, model.kinds[kind], option) for kind in set(kinds)}
    sizes = [sum(each[kind] for kind in kinds[first : last + 1]) for first, last in ranges]
    sizes[0] += embedding_bytes(model, option)
    if not (model.tied and len(sizes) == 1):
        sizes[-1] += head_bytes(model, option)
    return max(sizes)
