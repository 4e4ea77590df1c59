"""Judges of what a launch implies: that the engine accepts the layout, that weights and context fit, GPUs asked for.

Who writes a start command (or states a layout on a device) says that it starts. Nothing here needs a workload.
Every doubt is the document's: all devices that its words may mean, every reading of its degrees, and
`LEEWAY` of a device more than the engine is told to use.
"""

from __future__ import annotations

import re
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

from shardproof.formulations.costs.engine_memory import EngineMemory, account
from shardproof.formulations.costs.engine_profiles import find_profile
from shardproof.formulations.engines.rules import Rule, broken_rules, rules_of
from shardproof.instances.engine import EngineSettings
from shardproof.instances.errors import ShardproofError
from shardproof.instances.hardware import Device
from shardproof.instances.instance import Instance
from shardproof.instances.speculative import Speculation
from shardproof.solver.audit.claim import Claim, confirmed, contradicted, idle, inconsistent, not_checkable, show
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.guessed import told
from shardproof.solver.audit.judges.given import judge_precision
from shardproof.solver.audit.readings import Reading
from shardproof.solver.audit.served import served_model, stage_weights
from shardproof.solver.documents.commands import ENGINE_NAMES
from shardproof.solver.documents.statement import Statement

LEEWAY = Fraction(3, 100)
PLANNER_RULES = frozenset({"nodes", "fixed"})
"""Rules by which planner or question keep the search small; engines start without them."""
ENGINES = ("vllm", "sglang", "trtllm")


def implied(context: Context) -> tuple[Statement, ...]:
    """Return what a document implies without saying it, at the line of its launch or of its layout."""
    place = _place(context)
    if place is None or context.facts.model is None:
        return ()
    fields = ["layout_accepted", "weights_fit"]
    if context.document.start is not None and context.document.engine == "vllm":
        fields.append("context_fits")
    return tuple(Statement(place[0], place[1], field, True, section="implied") for field in fields)


def _place(context: Context) -> tuple[int, str] | None:
    document = context.document
    if document.start is not None:
        return document.start
    if context.facts.stages or context.facts.instance is not None:
        return None
    layout = document.first("tp", "gpus", "gpus_listed") if document.first("tp", "gpus") else None
    return (layout.line, layout.text) if layout is not None else None


def judge_layout(context: Context, statement: Statement) -> Claim:
    """Some reading of the degrees keeps every rule of the engine."""
    facts = context.facts
    if _unset(context, "tp", "pp", "dp", "ep"):
        return not_checkable(statement, "degrees are set outside of this text")
    if not context.readings:
        return contradicted(statement, _no_reading(context))
    engine = context.document.engine if context.document.engine in ENGINES else "any"
    model, settings = served_model(context), EngineSettings()
    guessed = guesses_of(context)
    asked = cast(
        Instance,
        SimpleNamespace(model=model, device=facts.device, engine=engine, engine_settings=settings, speculative=guessed),
    )
    filled = {"whole-experts"} if facts.stated("redundant_experts") else set()
    rules = tuple(rule for rule in rules_of(engine) if rule.name not in PLANNER_RULES | filled)
    broken = [_broken(asked, reading, rules) for reading in context.readings]
    if all(broken):
        rule, option = broken[0][0], context.readings[0].option
        degrees = (
            f"attention TP {option.attn_tp} x DP {option.attn_dp}, experts TP {option.moe_tp} x EP {option.moe_ep}"
        )
        return contradicted(statement, f"{asked.model.name} at {degrees}: {rule.sentence}; it is not so here")
    return confirmed(statement, f"{len(rules)} rules of {ENGINE_NAMES.get(engine, 'every engine')} hold")


def guesses_of(context: Context) -> Speculation | None:
    """What guesses tokens ahead, as far as it is understood."""
    instance = context.facts.instance
    return told(context.document, context.facts.model, None).found if instance is None else instance.speculative


def _broken(asked: Instance, reading: Reading, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return broken_rules(asked, reading.option, rules, stages=reading.pp)


def _no_reading(context: Context) -> str:
    facts = context.facts
    degrees = ", ".join(
        f"{name.upper()} {facts.stated(name)}" for name in ("tp", "dp", "ep", "moe_tp") if facts.stated(name)
    )
    return f"no layout has {degrees}: the engine divides its TP ranks by DP (in attention) and by EP (in experts)"


def _unset(context: Context, *fields: str) -> bool:
    """Whether a launch leaves degrees to variables or files that are not here."""
    return context.document.open and all(context.facts.stated(field) is None for field in fields[:1])


def judge_weights(context: Context, statement: Statement) -> Claim:
    """The weights of the fullest stage fit the memory of a device."""
    devices = _devices(context)
    if not devices or not context.readings:
        return not_checkable(statement, "the device or the layout is not stated")
    if context.document.first("offload") is not None or _unset(context, "tp"):
        return not_checkable(statement, "part of the weights, or of the layout, stands elsewhere")
    model = served_model(context)
    needed, reading = min(((stage_weights(context, model, r), r) for r in context.readings), key=lambda pair: pair[0])
    memory, name = max((_memory(device), device.name) for device in devices)
    stated = context.facts.gpu_memory
    memory = max(memory, int(stated)) if stated is not None else memory
    each = f"{show(needed, 'bytes')} of weights on each of {reading.option.gpus * reading.pp} devices"
    formula = f"{model.name}: {each}; {name} has {show(memory, 'bytes')}"
    return contradicted(statement, formula, False) if needed > memory else confirmed(statement, formula, True)


def _memory(device: Device) -> int:
    """Bytes of a device at most: what a process sees, or the datasheet's GB read as GiB."""
    return device.visible_memory or device.memory * 2**30 // 10**9


def _devices(context: Context) -> tuple[Device, ...]:
    return context.facts.devices


def judge_context(context: Context, statement: Statement) -> Claim:
    """The cache holds one request of the longest context, the model's own where the launch states none."""
    devices, document = _devices(context), context.document
    if not devices or not context.readings:
        return not_checkable(statement, "the device is not stated")
    if document.first("offload", "own_memory") is not None or document.open:
        return not_checkable(statement, "part of the launch stands elsewhere")
    accounts = [
        found
        for reading in context.readings
        for device in devices
        if (found := _account(context, reading, device)) is not None
    ]
    if not accounts:
        return not_checkable(statement, "no account of this engine is known")
    best = max(accounts, key=lambda found: (found.refusal is None, found.kv_tokens))
    stated = context.facts.stated("max_model_len")
    assert context.facts.model is not None
    longest = stated or context.facts.model.max_position
    whose = "as stated" if stated else f"the default: all positions of {context.facts.model.name}"
    formula = f"context {longest:,} ({whose}); by the engine's account the cache holds {best.kv_tokens:,} tokens"
    if best.refusal is not None and "sampler" not in best.refusal:
        return contradicted(statement, f"{formula}: refused at start", Fraction(best.kv_tokens))
    return confirmed(statement, formula, True)


def _account(context: Context, reading: Reading, device: Device) -> EngineMemory | None:
    """The engine's account with `LEEWAY` more of the device than it is told to use."""
    facts = context.facts
    fraction = context.document.number("memory_fraction")
    limits: dict[str, Any] = {
        "max_model_len": facts.stated("max_model_len"),
        "max_num_seqs": facts.stated("max_sequences"),
        "max_num_batched_tokens": facts.stated("microbatch_tokens"),
    }
    utilisation = min(Fraction(1), (fraction or Fraction(92, 100)) + LEEWAY)
    eager, release = context.document.first("eager"), context.document.first("engine_version")
    try:
        settings = EngineSettings(
            name="vllm",
            version=None if release is None else str(release.value),
            gpu_memory_utilization=utilisation,
            enforce_eager=eager is not None and eager.value is True,
            **{name: value for name, value in limits.items() if value},
        )
        model = served_model(context)
        kv = str(facts.kv_dtypes[0])
        model = model.model_copy(update={"kv_dtype": kv}) if document_says_kv(context) else model
        stages = reading.pp if reading.pp <= model.layer_count else 1
        return account(
            model,
            reading.option,
            settings,
            total_bytes=_memory(device),
            stages=stages,
            speculation=guesses_of(context),
        )
    except (ShardproofError, ValueError, ArithmeticError, KeyError, IndexError):
        return None


def document_says_kv(context: Context) -> bool:
    """Whether the document states the dtype of the KV cache."""
    return context.document.first("kv_precision") is not None


def judge_requested(context: Context, statement: Statement) -> Claim:
    """GPUs that one copy asks for are the GPUs that its degrees take, here or on every node of it."""
    facts = context.facts
    if _unset(context, "tp"):
        return not_checkable(statement, "degrees are set outside of this text")
    accepted = _widths(context, parts=not statement.unit)
    if not accepted:
        return not_checkable(statement, "the degrees fit in no known way")
    asked = int(statement.number)
    taken = " or ".join(str(width) for width in sorted(accepted))
    formula = f"the degrees take {taken} GPUs, {asked} are requested"
    if asked in accepted:
        return confirmed(statement, formula, Fraction(asked))
    if asked < min(accepted):
        return contradicted(statement, formula, Fraction(min(accepted)))
    if (
        facts.stated("tp") is None
        and facts.stated("pp") is None
        and facts.stated("dp") is None
        and not facts.stated("ep")
    ):
        formula += f": no degree is stated, and {ENGINE_NAMES.get(context.document.engine, 'the engine')} takes one GPU"
    return inconsistent(statement, f"{formula}; {idle(asked - max(accepted))}", Fraction(max(accepted)))


def _widths(context: Context, *, parts: bool = True) -> set[int]:
    """GPUs of one copy under every reading, and with ``parts`` those of one of its nodes."""
    facts = context.facts
    copies = facts.replicas or 1
    found = {reading.gpus // copies for reading in context.readings}
    if not parts:
        return found
    nodes = facts.stated("nodes") or 1
    found |= {width // nodes for width in found if nodes > 1 and width % nodes == 0}
    local = facts.stated("dp_local")
    if local:
        found.add(local * (facts.stated("tp") or 1) * (facts.pp or 1))
    return found


def judge_available(context: Context, statement: Statement) -> Claim:
    """GPUs that are there (a cluster's, a hardware line's) are no fewer than the degrees take."""
    facts = context.facts
    widths = _taken(context)
    listed = int(statement.number) * (facts.stated("nodes") or 1)
    stated = any(facts.stated(name) for name in ("tp", "pp", "dp", "ep"))
    if not widths or not stated or statement.subject:
        return not_checkable(statement, "no degree of parallelism is stated")
    if "node" in statement.text.lower() or "server" in statement.text.lower():
        return not_checkable(statement, "how many nodes there are is not said")
    formula = f"{_degrees_text(context, min(widths))}, {listed} are there"
    if listed < min(widths):
        return contradicted(statement, formula, Fraction(min(widths)))
    unused = idle_gpus(context)
    formula += f"; {idle(unused[0])}" if unused and unused[1] == listed else ""
    return confirmed(statement, formula, statement.number)


def _taken(context: Context) -> set[int]:
    """GPUs that a plan takes with all its replicas; of a launch those of one, for a page may list a node's."""
    return _widths(context) if context.document.start is not None else context.gpu_counts()


def _degrees_text(context: Context, taken: int) -> str:
    copies = context.facts.replicas
    if context.document.start is not None or copies is None:
        return f"the degrees take {taken} GPUs"
    return f"{copies} replicas x {taken // copies} GPUs = {taken} GPUs"


def idle_gpus(context: Context) -> tuple[int, int] | None:
    """GPUs that stand idle and GPUs that are there, where a plan says how many replicas it has."""
    facts, listed = context.facts, context.document.first("gpus_listed", "gpus_owned")
    counts = context.gpu_counts()
    stated = any(facts.stated(name) for name in ("tp", "pp", "dp", "ep"))
    if listed is None or facts.replicas is None or context.document.start is not None or not counts or not stated:
        return None
    if facts.gpus is not None or re.search(r"node|server", listed.text.lower()):
        return None
    there = int(listed.number) * (facts.stated("nodes") or 1)
    return (there - max(counts), there) if there > max(counts) else None


KV_DTYPES = {
    "vllm": r"auto|bfloat16|float16|fp8(?:_\w+)?|nvfp4|turboquant_\w+|int8_per_token_head",
    "sglang": r"auto|fp8_e5m2|fp8_e4m3|mxfp8|bf16|bfloat16|nvfp4|fp4_\w+",
}
"""Values that the engines' own parsers take for ``--kv-cache-dtype`` (vLLM 0.33, SGLang 0.5.23)."""


def judge_kv_dtype(context: Context, statement: Statement) -> Claim:
    """A dtype of the KV cache is one that the engine's parser takes."""
    accepted = KV_DTYPES.get(context.document.engine)
    value = re.split(r"[\s=:]+", statement.text.strip())[-1].strip("'\"")
    if statement.section != "engine" or accepted is None or "dtype" not in statement.text:
        return judge_precision(context, statement)
    if re.fullmatch(accepted, value):
        return judge_precision(context, statement)
    name = ENGINE_NAMES[context.document.engine]
    return contradicted(statement, f"{name} takes no KV cache in {value}: {accepted.replace('|', ', ')}")


def judge_sequences(context: Context, statement: Statement) -> Claim:
    """Sequences at once: at least one, and a token of an iteration for each."""
    tokens = context.document.first("microbatch_tokens")
    if statement.number < 1:
        return contradicted(statement, "an engine runs at least one sequence")
    if tokens is not None and context.document.engine == "vllm" and tokens.number < statement.number:
        formula = f"an iteration has {int(tokens.number)} tokens (line {tokens.line}), fewer than one for each sequence"
        return contradicted(statement, formula, tokens.number)
    return confirmed(statement, "taken as given")


def judge_launched(context: Context, statement: Statement) -> Claim:
    """A setting that a plan keeps of its launch: at least one."""
    del context
    if statement.number < 1:
        return contradicted(statement, "an engine runs at least one sequence, one token at a time")
    return confirmed(statement, "taken as given")


def judge_release(context: Context, statement: Statement) -> Claim:
    """The release that an image starts: the one by whose account memory is judged; other engines name none."""
    engine, version = context.document.engine, str(statement.value)
    if engine not in ENGINES:
        return not_checkable(statement, "no account of this engine is known")
    since = find_profile(engine, version).since
    return not_checkable(statement, f"taken as given: memory is accounted as of {engine} {version} (since {since})")


def judge_local(context: Context, statement: Statement) -> Claim:
    """Data-parallel ranks of a node: no more than of all nodes."""
    ranks = context.facts.stated("dp")
    if ranks is not None and statement.number > ranks:
        return inconsistent(statement, f"there are {ranks} data-parallel ranks in all", Fraction(ranks))
    return confirmed(statement, "taken as given")


JUDGES = {
    "kv_precision": judge_kv_dtype,
    "max_sequences": judge_sequences,
    **dict.fromkeys(("launched_sequences", "launched_tokens"), judge_launched),
    **dict.fromkeys(("engine_version", "launched_version"), judge_release),
    "dp_local": judge_local,
    "layout_accepted": judge_layout,
    "weights_fit": judge_weights,
    "context_fits": judge_context,
    "gpus_requested": judge_requested,
    "gpus_available": judge_available,
    "gpus_listed": judge_available,
}
