"""Judges of the rest: nodes, prices, microbatches, and sentences of quality (equal, balanced, minimal)."""

from __future__ import annotations

from fractions import Fraction

from shardproof.instances.workload import Burst
from shardproof.solver.audit.claim import Claim, agrees, confirmed, contradicted, inconsistent, not_checkable, show
from shardproof.solver.audit.context import Context
from shardproof.solver.documents.statement import Statement
from shardproof.solver.documents.text import printable

NEAR = Fraction(1, 100)


def judge_nodes(context: Context, statement: Statement) -> Claim:
    """Nodes times GPUs per node hold the GPUs."""
    facts = context.facts
    nodes, each = facts.stated("nodes"), facts.stated("gpus_per_node")
    gpus = facts.gpus
    if statement.field == "gpus_per_node" and facts.device is not None and nodes is None:
        return not_checkable(
            statement, f"{facts.device.name} comes with {facts.device.devices_per_node} a node as a rule"
        )
    if nodes is None or each is None or not each:
        return not_checkable(statement, "nodes or GPUs per node are not stated")
    owned = facts.stated("gpus_owned", "max_gpus")
    formula = f"{nodes} nodes x {each} GPUs = {nodes * each}"
    if gpus is None and owned is None:
        taken = taken_gpus(context)
        if taken is not None and nodes * each < taken:
            return inconsistent(statement, f"{formula}, but replicas and degrees take {taken}")
        return not_checkable(statement, f"{formula}; no GPU count is stated")
    if nodes * each in (gpus, owned) or (gpus is not None and nodes == -(-gpus // each)):
        return confirmed(statement, formula)
    if gpus is not None and nodes * each < gpus:
        return inconsistent(
            statement,
            f"{formula}, but {gpus} GPUs are allocated",
            Fraction(-(-gpus // each) if statement.field == "nodes" else each),
        )
    return not_checkable(statement, f"{formula}; not all of them need be used")


def taken_gpus(context: Context) -> int | None:
    """The fewest GPUs that replicas and degrees of a plan come to, where both are stated."""
    facts, counts = context.facts, context.gpu_counts()
    stated = any(facts.stated(name) for name in ("tp", "pp", "dp", "ep"))
    if not counts or not stated or facts.replicas is None or context.document.start is not None:
        return None
    return min(counts)


def judge_owned(context: Context, statement: Statement) -> Claim:
    """GPUs that are there: no fewer than the plan takes."""
    gpus = context.facts.gpus or taken_gpus(context)
    if gpus is not None and gpus > statement.number:
        return inconsistent(statement, f"the plan takes {gpus}", Fraction(gpus))
    nodes, each = context.facts.stated("nodes"), context.facts.stated("gpus_per_node")
    if nodes and each and nodes * each != statement.number and statement.field == "gpus_owned":
        return inconsistent(statement, f"{nodes} nodes x {each} GPUs = {nodes * each}", Fraction(nodes * each))
    return confirmed(statement, "taken as given")


def judge_price(context: Context, statement: Statement) -> Claim:
    """A price per GPU is given; it differs by who asks."""
    del context
    return not_checkable(statement, "prices differ by seller")


def judge_price_total(context: Context, statement: Statement) -> Claim:
    """Price of all GPUs per hour."""
    stated, gpus = context.document.number("price"), context.facts.gpus
    if gpus is None and context.best is not None:
        gpus = context.best.plan.gpus
    price = stated if stated is not None else _asked_price(context)
    if price is None or gpus is None:
        return not_checkable(statement, "price per GPU or GPU count is not stated")
    expected = price * gpus
    formula = f"{gpus} GPUs x {float(price):.4g} USD/h = {float(expected):.5g} USD/h"
    scales = [Fraction(1)]
    words = statement.text.lower()
    scales = (
        [Fraction(24)]
        if "day" in words
        else [Fraction(720), Fraction(730), Fraction(744)]
        if "month" in words
        else scales
    )
    scales = [Fraction(8760)] if "year" in words else scales
    same = any(agrees(statement, expected * scale, tolerance=NEAR) for scale in scales)
    if same:
        return confirmed(statement, formula, expected)
    if stated is None:
        return not_checkable(statement, f"{formula} as the question prices them; prices differ by seller", expected)
    return inconsistent(statement, formula, expected * scales[0])


def _asked_price(context: Context) -> Fraction | None:
    """The price of a GPU that the question names, per hour."""
    return None if context.facts.instance is None else context.facts.instance.device.price_per_hour


def _fills_iterations(context: Context) -> bool:
    """Whether an engine fills its iterations with whatever has come: in service, where requests do not come at once."""
    instance = context.instance
    return instance is not None and instance.engine != "any" and not isinstance(instance.scenarios[0].workload, Burst)


def judge_microbatches(context: Context, statement: Statement) -> Claim:
    """Microbatches times their requests are the batch."""
    facts = context.facts
    batch, count, size = facts.workload("batch"), facts.stated("microbatches"), facts.stated("microbatch_requests")
    tokens, prompt = facts.stated("microbatch_tokens"), facts.workload("input_tokens")
    if statement.field == "microbatch_tokens":
        if size and prompt and not context.document.engine and not _fills_iterations(context):
            chunk = -(-prompt // (facts.stated("prompt_chunks") or 1))
            expected = Fraction(size * chunk)
            formula = f"{size} requests x {chunk} tokens = {expected}"
            same = agrees(statement, expected, tolerance=NEAR if statement.scale > 1 else Fraction(0))
            return (confirmed if same else inconsistent)(statement, formula, expected)
        return confirmed(statement, "taken as the plan's")
    if size is None and tokens and prompt and tokens % prompt == 0 and not context.document.engine:
        size = tokens // prompt
    if batch is not None and count is None and statement.field == "microbatch_requests":
        if statement.number > batch:
            return inconsistent(statement, f"the batch is {batch}", Fraction(batch))
        return confirmed(statement, "taken as the plan's")
    if batch is None or count is None or not size:
        return not_checkable(statement, "batch size, microbatches or their size are not all stated")
    copies = {1, facts.replicas or 1, facts.stated("dp") or 1, (facts.replicas or 1) * (facts.stated("dp") or 1)}
    formula = f"{count} microbatches x {size} requests = {count * size}, the batch is {batch}"
    if any(-(-batch // (share * size)) == count for share in copies):
        return confirmed(statement, formula)
    return inconsistent(statement, formula, Fraction(-(-batch // size)) if statement.field == "microbatches" else None)


def judge_equal_layers(context: Context, statement: Statement) -> Claim:
    """Stages can have equal layers only if their number divides the model's."""
    layers, pp = context.facts.layers, context.facts.pp
    if layers is None or pp is None or statement.value is not True:
        return not_checkable(statement, "layers or stages are not stated")
    if layers % pp:
        return contradicted(
            statement, f"{layers} layers / {pp} stages = {layers / pp:.4g}: they cannot be equal", Fraction(layers, pp)
        )
    sizes = {row.last - row.first + 1 for row in context.facts.stages if row.first is not None and row.last is not None}
    if len(sizes) > 1:
        return inconsistent(statement, f"stages of {sorted(sizes)} layers are listed")
    return confirmed(statement, f"{layers} layers / {pp} stages = {layers // pp}", Fraction(layers, pp))


def judge_balanced_layers(context: Context, statement: Statement) -> Claim:
    """Stages can always be cut within one layer of each other; listed ones may not be."""
    sizes = [row.last - row.first + 1 for row in context.facts.stages if row.first is not None and row.last is not None]
    if not sizes or statement.value is not True:
        return not_checkable(statement, "how balanced is not said")
    text = f"stages of {min(sizes)} to {max(sizes)} layers are listed"
    return confirmed(statement, text) if max(sizes) - min(sizes) <= 1 else not_checkable(statement, text)


def judge_balanced_heads(context: Context, statement: Statement) -> Claim:
    """Heads can be balanced if TP divides them."""
    heads, tp = context.facts.heads, context.facts.stated("tp")
    if heads is None or tp is None or tp < 1 or statement.value is not True:
        return not_checkable(statement, "heads or tensor parallelism are not stated")
    if heads % tp:
        return contradicted(statement, f"{heads} heads / TP {tp} = {heads / tp:.4g}")
    return confirmed(statement, f"{heads} heads / TP {tp} = {heads // tp}")


def judge_load_balanced(context: Context, statement: Statement) -> Claim:
    """GPUs can be spread evenly over stages only if the stages divide them."""
    gpus, pp = context.facts.gpus, context.facts.pp
    if gpus is None or pp is None or statement.value is not True:
        return not_checkable(statement, "says too little to be checked")
    if gpus % pp and len({row.gpus for row in context.facts.stages}) <= 1:
        return contradicted(statement, f"{gpus} GPUs / {pp} stages = {gpus / pp:.4g}: the stages differ", False)
    return not_checkable(statement, f"{gpus} GPUs / {pp} stages = {gpus // pp}; loads themselves are not stated")


def judge_memory_balanced(context: Context, statement: Statement) -> Claim:
    """Memory can be balanced only where every GPU belongs to a stage of the same width."""
    gpus, pp = context.facts.gpus, context.facts.pp
    counts = context.gpu_counts()
    if gpus is not None and counts and gpus not in counts and context.facts.stated("tp") is not None:
        return inconsistent(statement, f"the degrees use {min(counts)} of {gpus} GPUs; the others hold nothing")
    if gpus is not None and pp and gpus % pp and not context.facts.stages:
        return contradicted(statement, f"{gpus} GPUs / {pp} stages = {gpus / pp:.4g}")
    return not_checkable(statement, "how even is even is not said")


def judge_projections(context: Context, statement: Statement) -> Claim:
    """Projections are parallel only with TP above 1."""
    tp = context.facts.stated("tp")
    if tp is None or statement.value is not True:
        return not_checkable(statement, "tensor parallelism is not stated")
    if tp == 1:
        return contradicted(statement, "with TP 1 every GPU computes whole projections", False)
    return confirmed(statement, f"TP {tp}")


def judge_minimal(context: Context, statement: Statement) -> Claim:
    """Fewest GPUs: against the proven optimum (filled in where a solve has been made), else a cheap bound."""
    del context
    return not_checkable(statement, "needs the proven optimum")


def judge_uniform_experts(context: Context, statement: Statement) -> Claim:
    """Expert loads depend on traffic."""
    if context.facts.experts == 0:
        return contradicted(statement, "the model has no experts")
    return not_checkable(statement, "no load profile is stated")


def judge_visible(context: Context, statement: Statement) -> Claim:
    """GPUs that a command may see: no fewer than its degrees take."""
    counts = context.gpu_counts()
    if counts and statement.number < min(counts):
        return inconsistent(statement, f"the degrees take {min(counts)} GPUs", Fraction(min(counts)))
    return confirmed(statement, f"the degrees take {show(min(counts))} GPUs" if counts else "taken as given")


def judge_switch(context: Context, statement: Statement) -> Claim:
    """A switch of the engine."""
    if statement.field == "expert_parallel_enabled" and statement.value is True and context.facts.experts == 0:
        return contradicted(statement, "the model has no experts", False)
    return confirmed(statement, "taken as given")


def judge_given(context: Context, statement: Statement) -> Claim:
    """Nothing to recompute."""
    del context
    return confirmed(statement, "taken as given")


def judge_missing_file(context: Context, statement: Statement) -> Claim:
    """A file that a command names and that is not here: what it sets is not known."""
    del context
    name = printable(str(statement.value))
    return not_checkable(statement, f"{name} is not here; what it sets is not known, put it beside the document")


JUDGES = {
    "nodes": judge_nodes,
    "gpus_per_node": judge_nodes,
    "gpus_owned": judge_owned,
    "max_gpus": judge_owned,
    "price": judge_price,
    "price_total": judge_price_total,
    **dict.fromkeys(("microbatches", "microbatch_requests", "microbatch_tokens"), judge_microbatches),
    "equal_layers": judge_equal_layers,
    "balanced_layers": judge_balanced_layers,
    "balanced_heads": judge_balanced_heads,
    "load_balanced": judge_load_balanced,
    "memory_balanced": judge_memory_balanced,
    "projections_parallel": judge_projections,
    "minimal_gpus": judge_minimal,
    "uniform_expert_load": judge_uniform_experts,
    "visible_gpus": judge_visible,
    "expert_parallel_enabled": judge_switch,
    "attention_dp_enabled": judge_switch,
    **dict.fromkeys(
        (
            "engine",
            "extra_slots",
            "decode_microbatches",
            "prompt_chunks",
            "redundant_experts",
            "activation_dtype",
            "block_size",
            "dense_layers",
            "all_to_all",
            "served_name",
            "attention_dp",
            "dcp",
            "pcp",
            "longer_context",
            "offload",
            "own_memory",
            "eager",
        ),
        judge_given,
    ),
    "config_file": judge_missing_file,
}
