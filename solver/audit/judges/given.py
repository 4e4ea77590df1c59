"""Judges of what is given: the model's shape, the hardware, the workload and its limits."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from shardproof.instances.catalogue import nearest
from shardproof.instances.layers import (
    CompressedAttention,
    DenseFeedForward,
    GroupedQueryAttention,
    LatentAttention,
    MixtureOfExperts,
)
from shardproof.instances.model import Model
from shardproof.solver.audit.claim import Claim, agrees, confirmed, contradicted, inconsistent, not_checkable, show
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.mistakes import MISTAKES
from shardproof.solver.documents.statement import Statement
from shardproof.solver.documents.values import read_dtype

NEAR = Fraction(3, 100)
EXACT = Fraction(1, 2000)


def judge_model(context: Context, statement: Statement) -> Claim:
    """The name must be a model that the catalogue (or the instance) knows."""
    model = context.facts.model
    if model is None:
        near = ", ".join(nearest("models", str(statement.value)))
        return not_checkable(statement, f"this model is not in the catalogue; the nearest names there: {near}")
    if context.facts.instance is not None:
        from shardproof.solver.documents.catalogue_match import find_model

        named = find_model(str(statement.value), str(context.facts.weight_dtype))
        if named is not None and (named.parameters, named.layer_count) != (model.parameters, model.layer_count):
            return contradicted(statement, f"the instance's model is {model.name}", model.name)
        if named is None:
            return not_checkable(statement, f"the instance's model is {model.name}; this name is not in the catalogue")
    return confirmed(
        statement, f"read as {model.name}: {model.parameters:,} parameters, {model.layer_count} layers", model.name
    )


def judge_count(context: Context, statement: Statement) -> Claim:
    """A count of the model's shape equals one of the model's own."""
    model = context.facts.model
    if model is None:
        return not_checkable(statement, "the model is not known to the catalogue")
    accepted = tuple(dict.fromkeys(_shape(model, statement.field)))
    if not accepted:
        return not_checkable(statement, f"{model.name} has no single {statement.field}")
    formula = f"{model.name}: {' or '.join(show(value) for value in accepted[:4])} {statement.field.replace('_', ' ')}"
    if any(statement.number == value for value in accepted):
        return confirmed(statement, formula, Fraction(accepted[0]))
    if statement.field == "max_position" and statement.number < model.max_position and "position" not in statement.text:
        return not_checkable(statement, f"{formula}; a context that is served may be shorter")
    if statement.scale > 1 and any(agrees(statement, Fraction(value), tolerance=NEAR) for value in accepted):
        return confirmed(statement, formula, Fraction(accepted[0]))
    return contradicted(statement, formula, Fraction(accepted[0]))


def _shape(model: Model, field: str) -> Iterable[int]:
    attention = [kind.attention for kind in model.kinds.values()]
    ffn = [kind.feed_forward for kind in model.kinds.values()]
    grouped = [part for part in attention if isinstance(part, GroupedQueryAttention)]
    latent = [part for part in attention if isinstance(part, LatentAttention)]
    packed = [part for part in attention if isinstance(part, CompressedAttention)]
    moe = [part for part in ffn if isinstance(part, MixtureOfExperts)]
    shapes: dict[str, list[int]] = {
        "layers": [model.layer_count],
        "hidden": [model.hidden],
        "vocab": [model.vocab],
        "heads": [p.heads for p in grouped] + [p.heads for p in latent] + [p.heads for p in packed],
        "kv_heads": [part.kv_heads for part in grouped]
        + [n for part in latent for n in (part.heads, 1)]
        + [1 for _ in packed],
        "head_dim": [part.head_dim for part in grouped]
        + [part.head_dim for part in packed]
        + [n for p in latent for n in (p.v_head_dim, p.qk_nope_head_dim + p.qk_rope_head_dim, p.qk_nope_head_dim)],
        "experts": [n for p in moe for n in (p.experts, p.experts + (p.shared_intermediate > 0))] or [0],
        "topk": [n for p in moe for n in (p.topk, p.topk + (p.shared_intermediate > 0))],
        "shared_experts": [
            n for p in moe for n in (p.shared_intermediate // p.intermediate, int(p.shared_intermediate > 0))
        ],
        "moe_intermediate": [part.intermediate for part in moe],
        "intermediate": [part.intermediate for part in ffn if isinstance(part, DenseFeedForward | MixtureOfExperts)]
        + [n for p in moe for n in (p.dense_intermediate, p.shared_intermediate) if n],
        "max_position": [model.max_position],
    }
    return shapes.get(field, [])


def judge_parameters(context: Context, statement: Statement) -> Claim:
    """Parameters, in the digits printed; round marketing figures (in the model's own name) are accepted."""
    model = context.facts.model
    if model is None:
        return not_checkable(statement, "the model is not known to the catalogue")
    active = statement.field == "active_parameters"
    ends = model.vocab * model.hidden
    known = [model.active_parameters, model.active_parameters - ends, model.active_parameters - 2 * ends]
    accepted = (
        [value for value in known if value > 0] if active else [model.parameters, model.published_parameters or 0]
    )
    accepted += [] if active else [model.parameters + model.extra_parameters]
    printed = f"{float(statement.number / statement.scale):g}"
    in_name = statement.scale >= 10**9 and any(
        part in str(name).lower()
        for part in (f"-{printed}b", f"a{printed}b" if active else f" {printed}b")
        for name in (model.name, _named(context))
    )
    tolerance = NEAR if statement.digits <= 3 else EXACT
    formula = f"{model.name}: {accepted[0]:,} {'active ' if active else ''}parameters"
    if in_name or any(agrees(statement, Fraction(value), tolerance=tolerance) for value in accepted):
        return confirmed(statement, formula, Fraction(accepted[0]))
    return contradicted(statement, formula, Fraction(accepted[0]))


def _named(context: Context) -> str:
    named = context.document.first("model")
    return f" {named.value}" if named else ""


def judge_precision(context: Context, statement: Statement) -> Claim:
    """A dtype is given; with an instance it must be the instance's."""
    instance = context.facts.instance
    if instance is None:
        return confirmed(statement, "taken as given", str(statement.value))
    formats = instance.model.formats
    own = (
        {formats.experts.dtype, formats.attention.dtype}
        if statement.field == "precision"
        else {instance.model.kv_dtype}
    )
    same = statement.value in own
    formula = f"the instance has {' and '.join(sorted(own))}"
    return confirmed(statement, formula) if same else contradicted(statement, formula, sorted(own)[0])


def judge_device(context: Context, statement: Statement) -> Claim:
    """The device's name is one of the catalogue's."""
    devices = context.facts.devices
    if not devices:
        return not_checkable(statement, "this device is not in the catalogue")
    names = ", ".join(device.name for device in devices)
    if context.facts.instance is not None:
        from shardproof.solver.documents.catalogue_match import find_devices

        named = {device.name for device in find_devices(str(statement.value))}
        if named and devices[0].name not in named:
            return contradicted(statement, f"the instance's device is {names}", names)
    return confirmed(statement, f"read as {names}", names)


def judge_device_figure(context: Context, statement: Statement) -> Claim:
    """A datasheet figure of a named device."""
    devices = context.facts.devices
    if not devices:
        return confirmed(statement, "taken as given: the device is not a named one")
    dtype = read_dtype(statement.text)
    accepted: list[tuple[Fraction, str]] = []
    for device in devices:
        if statement.field == "gpu_flops":
            peaks = device.peak_flops.items()
            accepted += [(Fraction(v), f"{device.name} {k} dense") for k, v in peaks if dtype in (None, k)]
        elif statement.field == "gpu_memory":
            both = {device.memory, device.visible_memory or device.memory}
            both |= {context.facts.instance.memory_limit} if context.facts.instance else set()
            accepted += [(Fraction(value), device.name) for value in both]
            accepted += [(Fraction(device.memory) * Fraction(2**30, 10**9), f"{device.name}, as GiB")]
        else:
            accepted.append((Fraction(device.memory_bandwidth), device.name))
    if not accepted:
        return not_checkable(statement, "the catalogue has no such figure of this device")
    unit = {"gpu_flops": "TFLOPS", "gpu_memory": "GB", "bandwidth": "GB/s"}[statement.field]
    size = {"TFLOPS": 10**12}.get(unit, 10**9)
    formula = " or ".join(f"{float(value) / size:,.4g} {unit} ({whose})" for value, whose in accepted[:4])
    if any(agrees(statement, value, tolerance=NEAR) for value, _ in accepted):
        return confirmed(statement, formula, accepted[0][0])
    if statement.field == "gpu_flops" and any(agrees(statement, value * 2, tolerance=NEAR) for value, _ in accepted):
        name = "tflops-with-sparsity"
        return Claim(statement, "contradicted", formula, accepted[0][0], (name,), MISTAKES[name])
    return contradicted(statement, formula, accepted[0][0])


def judge_mfu(context: Context, statement: Statement) -> Claim:
    """A share lies between 0 and 1; an efficiency must be the instance's, where one is given."""
    if not 0 < statement.number <= 1:
        return contradicted(statement, "a share lies above 0 and at most at 100 %")
    instance = context.facts.instance
    if instance is not None and statement.field == "mfu":
        known = instance.device.mfu
        same = agrees(statement, known, tolerance=EXACT)
        formula = f"the instance has {show(known, 'ratio')}"
        return confirmed(statement, formula, known) if same else contradicted(statement, formula, known)
    return confirmed(statement, "taken as given")


def judge_workload(context: Context, statement: Statement) -> Claim:
    """The workload is given; with an instance it must be the instance's."""
    if context.facts.instance is None or statement.section == "engine":
        return confirmed(statement, "taken as given")
    known = context.facts.workload(statement.field)
    if known is None:
        return not_checkable(statement, "the instance does not say")
    formula = f"the instance has {known:,}"
    same = (
        agrees(statement, Fraction(known))
        if statement.scale == 1
        else agrees(statement, Fraction(known), tolerance=NEAR)
    )
    return confirmed(statement, formula, Fraction(known)) if same else contradicted(statement, formula, Fraction(known))


def judge_limit(context: Context, statement: Statement) -> Claim:
    """A limit is given; with an instance it must be the instance's."""
    if context.facts.instance is None:
        return confirmed(statement, "taken as given")
    known = context.facts.limit(statement.field)
    if known is None:
        return not_checkable(statement, "the instance has no such limit")
    formula = f"the instance has {show(known, 'time')}"
    same = agrees(statement, known, tolerance=EXACT)
    return confirmed(statement, formula, known) if same else contradicted(statement, formula, known)


def judge_range(context: Context, statement: Statement) -> Claim:
    """Input plus output lies in the range of sequence lengths."""
    value = statement.value
    prompt, output = context.facts.workload("input_tokens"), context.facts.workload("output_tokens")
    if not isinstance(value, tuple) or len(value) != 2 or prompt is None:
        return not_checkable(statement, "input and output lengths are not stated")
    total = prompt + (output or 0)
    formula = f"input + output = {prompt} + {output or 0} = {total}, range [{value[0]}, {value[1]}]"
    if value[0] > value[1] or prompt > value[1]:
        return inconsistent(statement, formula)
    if total > value[1]:
        return not_checkable(statement, f"{formula}; holds only if the range is that of the prompt alone")
    return confirmed(statement, formula)


def judge_max_model_len(context: Context, statement: Statement) -> Claim:
    """The engine's longest sequence: at most the model's positions, at least input plus output."""
    model = context.facts.model
    prompt, output = context.facts.workload("input_tokens"), context.facts.workload("output_tokens")
    if (
        model is not None
        and context.document.first("longer_context") is None
        and statement.number > model.max_position
        and not agrees(statement, Fraction(model.max_position), tolerance=NEAR if statement.scale > 1 else Fraction(0))
    ):
        return contradicted(
            statement, f"{model.name} has {model.max_position:,} positions", Fraction(model.max_position)
        )
    if (
        prompt is not None
        and output is not None
        and statement.number < prompt + output
        and statement.section == "engine"
    ):
        return inconsistent(
            statement, f"input + output = {prompt} + {output} = {prompt + output}", Fraction(prompt + output)
        )
    if model is None:
        return not_checkable(statement, "the model is not known to the catalogue")
    return confirmed(statement, f"{model.name} has {model.max_position:,} positions")


def judge_tokens_total(context: Context, statement: Statement) -> Claim:
    """Tokens of the whole burst."""
    batch, prompt = context.facts.workload("batch"), context.facts.workload("input_tokens")
    output = context.facts.workload("output_tokens")
    if batch is None or prompt is None:
        return not_checkable(statement, "batch size or input length is not stated")
    each = prompt if statement.field == "prompt_tokens_total" else prompt + (output or 0)
    expected = Fraction(batch * each)
    formula = f"{batch:,} requests x {each:,} tokens = {batch * each:,}"
    rough = NEAR if statement.scale > 1 else Fraction(0)
    if agrees(statement, expected, tolerance=rough):
        return confirmed(statement, formula, expected)
    if statement.field == "prompt_tokens_total" and agrees(
        statement, Fraction(batch * (prompt + (output or 0))), tolerance=rough
    ):
        return Claim(
            statement, "contradicted", formula, expected, ("output-tokens-in-ttft",), MISTAKES["output-tokens-in-ttft"]
        )
    return contradicted(statement, formula, expected)


JUDGES = {
    "model": judge_model,
    **dict.fromkeys(("layers", "hidden", "vocab", "heads", "kv_heads", "head_dim", "experts", "topk", "shared_experts",
                     "moe_intermediate", "intermediate", "max_position"), judge_count),
    "parameters": judge_parameters,
    "active_parameters": judge_parameters,
    "precision": judge_precision,
    "kv_precision": judge_precision,
    "device": judge_device,
    "gpu_flops": judge_device_figure,
    "gpu_memory": judge_device_figure,
    "bandwidth": judge_device_figure,
    "mfu": judge_mfu,
    "bandwidth_efficiency": judge_mfu,
    **dict.fromkeys(("memory_fraction", "launched_share"), judge_mfu),
    **dict.fromkeys(("batch", "input_tokens", "output_tokens"), judge_workload),
    "ttft_limit": judge_limit,
    "tpot_limit": judge_limit,
    "sequence_range": judge_range,
    "max_model_len": judge_max_model_len,
    "prompt_tokens_total": judge_tokens_total,
    "resident_tokens_total": judge_tokens_total,
}  # fmt: skip
