"""Judges of times: TTFT, TPOT, throughput, utilisation, bubbles, and whether limits are met.

TTFT has a floor that no plan on that many GPUs can beat: the FLOPs of the linear layers over all peaks at
the stated efficiency. Below it a claim is contradicted; near the recomputed time (or a careful author's
ideal one) it is confirmed; above it only a mistake that reproduces the number, or twice the time, is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from shardproof.instances.workload import Burst, ClosedLoop, OpenLoop
from shardproof.solver.audit.claim import Claim, agrees, confirmed, contradicted, inconsistent, not_checkable, show
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.judges.starts import guesses_of
from shardproof.solver.audit.mistakes import TIME_MISTAKES, Recipe, Trial, explain
from shardproof.solver.audit.recount import NOTHING, Assume, Recount
from shardproof.solver.documents.statement import Statement
from shardproof.solver.documents.values import BYTES_PER_ELEMENT

NEAR = 0.05


def gpu_counts(context: Context) -> tuple[int, ...]:
    """GPU counts that a time may be reckoned with: the stated one, and those of the degrees."""
    counts = [context.facts.gpus] if context.facts.gpus else []
    counts += sorted(context.gpu_counts())
    return tuple(dict.fromkeys(count for count in counts if count))


def shares(context: Context, batch: int) -> tuple[tuple[int, int], ...]:
    """Requests of one replica and the GPUs that work on them, for every way to read the degrees.

    A stated GPU count that no reading gives is a way of its own: nobody says what its GPUs are.
    """
    found = [(-(-batch // copies), gpus) for copies, gpus in replica_gpus(context)]
    total = context.facts.gpus
    if total and total not in context.gpu_counts():
        found.insert(0, (batch, total))
    elif total:
        found.sort(key=lambda share: share[1] != total)
    return tuple(dict.fromkeys(found))


def replica_gpus(context: Context) -> tuple[tuple[int, int], ...]:
    """Copies of the model and GPUs of each, for every way to read the degrees."""
    readings, options = context.readings, context.stage_options
    if options and readings and readings[0].name == "stage by stage":
        return ((readings[0].replicas, sum(option.gpus for option in options)),)
    return tuple(dict.fromkeys((reading.replicas, reading.pp * reading.option.gpus) for reading in readings))


def ttft_recipe(context: Context) -> Recipe | None:
    """Every way to reckon TTFT from work over speed; ``None`` where an input is not stated."""
    facts = context.facts
    batch, prompt, output = (facts.workload(name) for name in ("batch", "input_tokens", "output_tokens"))
    peak, mfu = facts.gpu_flops, facts.mfu
    if facts.model is None or facts.weight_bytes is None or not batch or not prompt or not peak or not mfu:
        return None
    count = Recount(facts.model, float(facts.weight_bytes), facts.kv_dtypes[0])
    stated_parameters = facts.document.number("parameters")
    pp = facts.pp or 1
    microbatches = _microbatches(context)
    ways = shares(context, batch) or ((batch, 1),)

    def trials(assume: Assume) -> Iterable[Trial]:
        tokens = prompt + (output or 0 if "output-tokens-in-ttft" in assume else 0)
        speed = float(peak) * (2 if "tflops-with-sparsity" in assume else 1)
        speed *= 1 if "mfu-ignored" in assume else float(mfu) ** (2 if "mfu-twice" in assume else 1)
        factor = 0.5 if "one-flop-per-parameter" in assume else 1.0
        fill = 1.0 if "pipeline-fill-ignored" in assume or not microbatches else 1 + (pp - 1) / microbatches
        for share, gpus in ways:
            requests = 1 if "one-request-instead-of-the-batch" in assume else share
            scores = count.attention_flops(batch=requests, tokens=tokens, assume=assume)
            for parameters, work in _work(count, stated_parameters, requests, tokens, assume):
                for flops, with_scores in ((work * factor, ""), (work * factor + scores, " + attention")):
                    if "full-instead-of-causal-attention" in assume and not with_scores:
                        continue
                    value = flops / (gpus * speed) * fill
                    work_text = f"{2 * factor:g} * {parameters} * {requests} * {tokens}{with_scores}"
                    text = f"{work_text} / ({gpus} * {speed / 10**12:.4g}e12)"
                    text += f" * (1 + {pp - 1}/{microbatches})" if fill != 1 else ""
                    yield Trial(value, text, "time")

    return trials


def _work(
    count: Recount, stated: Fraction | None, requests: int, tokens: int, assume: Assume
) -> Iterable[tuple[str, float]]:
    """Linear FLOPs with the parameter count that they come from."""
    if "total-instead-of-active-parameters" in assume:
        totals = [float(count.model.parameters)] + ([float(stated)] if stated else [])
        for total in reversed(totals):
            yield f"{total:.4g}".replace("e+", "e"), 2 * total * requests * tokens
        return
    active = count.model.active_parameters
    flops = count.linear_flops(batch=requests, tokens=tokens, assume=assume)
    yield f"{active:.4g}".replace("e+", "e"), flops
    yield f"{active:.4g}".replace("e+", "e"), float(2 * active * requests * tokens)


def _microbatches(context: Context) -> int | None:
    stated = context.facts.stated("microbatches")
    size, batch = context.facts.stated("microbatch_requests"), context.facts.workload("batch")
    if stated is None and size and batch:
        stated = -(-batch // size)
    return stated


def ttft_floor(context: Context) -> float | None:
    """The least time for the linear layers on a replica's own GPUs, seconds (``None``: also of a closed loop).

    In a closed loop no request waits for the prompts of all others, so the burst's floor says nothing.
    """
    deployment = context.deployment
    if deployment is not None and isinstance(deployment.instance.scenarios[0].workload, ClosedLoop):
        return None
    recipe = ttft_recipe(context)
    return min(trial.value for trial in recipe(frozenset({"pipeline-fill-ignored"}))) if recipe else None


def recomputed_ttft(context: Context) -> list[float]:
    """TTFT of every candidate plan, seconds."""
    return [c.evaluation.ttft / 10**9 for c in context.candidates if c.evaluation.scenarios]


def judge_ttft(context: Context, statement: Statement) -> Claim:
    """Judge a stated TTFT (of the slowest request, or the mean)."""
    if _is_in_service(context) and recomputed_ttft(context):
        return _judge_in_service(context, statement)
    recipe = ttft_recipe(context)
    if recipe is None:
        return not_checkable(statement, f"not stated: {'; '.join(_missing(context))}")
    ideal = list(recipe(NOTHING))
    known = recomputed_ttft(context)
    if statement.field == "ttft_mean":
        known += [s.ttft_mean / 10**9 for c in context.candidates for s in c.evaluation.scenarios]
    stated = statement.number
    floor = min(ideal, key=lambda trial: trial.value)
    expected = known[0] if known else floor.value
    formula = floor.formula
    if known:
        formula = f"linear layers at a flat rate, {formula}; the whole plan, all costs, {show(expected, 'time')}"
    consistent = (context.facts.gpus is None) or context.facts.gpus in context.gpu_counts()
    if any(agrees(statement, value, tolerance=NEAR) for value in [*known, *(t.value for t in ideal)]) and consistent:
        return confirmed(statement, formula, expected)
    low = min([floor.value, *known]) * (0.5 if statement.field == "ttft_mean" else 1)
    below = stated + statement.half < low * (1 - NEAR)
    high = max([*known, max(trial.value for trial in ideal)])
    sure = below or stated > 2 * high or not consistent
    found = explain(statement, recipe, TIME_MISTAKES, budget=context.budget, most=3 if sure else 1)
    if found is not None and (below or stated > high):
        return Claim(statement, "contradicted", formula, expected, found.mistakes, found.sentence)
    if below or stated > 2 * high:
        return contradicted(statement, formula, expected)
    return not_checkable(statement, f"{formula}; the rest depends on links and microbatches", expected)


def _is_in_service(context: Context) -> bool:
    """Whether the question's requests come one by one: no request waits for the prompts of all others."""
    return context.deployment is not None and any(
        not isinstance(scenario.workload, Burst) for scenario in context.deployment.instance.scenarios
    )


def _judge_in_service(context: Context, statement: Statement) -> Claim:
    """Hold a TTFT against that of `predict`: work over speed of all prompts together is no TTFT in service."""
    candidates = [c for c in context.candidates if c.evaluation.scenarios]
    times = [Fraction(c.evaluation.ttft, 10**9) for c in candidates]
    if statement.field == "ttft_mean":
        times = [Fraction(s.ttft_mean) / 10**9 for c in candidates for s in c.evaluation.scenarios] + times
    gpus, loads = candidates[0].plan.gpus, context.deployment.instance.scenarios if context.deployment else ()
    shown = ", ".join(dict.fromkeys(_in_flight(scenario.workload) for scenario in loads))
    formula = f"TTFT of the plan on {gpus} GPUs, {shown}: {show(times[0], 'time')}"
    if any(agrees(statement, value, tolerance=NEAR) for value in times):
        return confirmed(statement, formula, times[0])
    if not min(times) / 2 <= statement.number <= 2 * max(times):
        recipe = ttft_recipe(context)
        found = explain(statement, recipe, TIME_MISTAKES, budget=context.budget, most=3) if recipe else None
        told = (found.mistakes, found.sentence) if found else ((), "")
        return Claim(statement, "contradicted", formula, times[0], *told)
    return not_checkable(statement, f"{formula}; links and the engine's release decide the rest", times[0])


def _in_flight(load: Burst | ClosedLoop | OpenLoop) -> str:
    if isinstance(load, ClosedLoop):
        return f"{load.requests} requests in flight"
    return f"{load.requests} requests at once" if isinstance(load, Burst) else "requests that come by themselves"


def _missing(context: Context) -> list[str]:
    """What a TTFT would be reckoned from and is not stated, one by one."""
    facts = context.facts
    load = (("batch", "requests at once"), ("input_tokens", "input tokens"))
    choices = " or ".join(device.name for device in facts.devices)
    peak = f"the peak of a GPU (the device may be {choices}; name one)" if choices else "the peak of a GPU"
    found = [
        ("a model of the catalogue", facts.model is None),
        ("the format of the weights", facts.model is not None and facts.weight_bytes is None),
        *((words, not facts.workload(name)) for name, words in load),
        (peak, not facts.gpu_flops),
        ("the compute efficiency (MFU)", not facts.mfu),
    ]
    return [words for words, is_missing in found if is_missing]


def judge_meets(context: Context, statement: Statement) -> Claim:
    """Whether a limit is met: by the stated figure, and by the recomputed one."""
    name = "ttft" if statement.field == "meets_ttft" else "tpot"
    limit = context.facts.limit(f"{name}_limit")
    if limit is None:
        return not_checkable(statement, f"no {name.upper()} limit is stated")
    says = statement.value is True
    stated = context.document.first(name)
    if stated is not None and (stated.number <= limit) != says:
        return inconsistent(
            statement, f"{show(stated.number, 'time')} (line {stated.line}) against {show(limit, 'time')}", not says
        )
    figures = [
        Fraction(c.evaluation.ttft if name == "ttft" else c.evaluation.tpot, 10**9)
        for c in context.candidates
        if c.evaluation.scenarios
    ]
    if not figures:
        return not_checkable(statement, "the plan's times cannot be recomputed from what is stated")
    best, worst = min(figures), max(figures)
    allowed = context.allowed(limit, name)
    formula = f"recomputed {show(best, 'time')}, limit {show(limit, 'time')}"
    formula += "" if allowed == limit else f", {show(allowed, 'time')} with the margin taken off"
    floor = ttft_floor(context) if name == "ttft" else None
    if says and (best > allowed * Fraction(11, 10) or (floor is not None and floor > limit)):
        return contradicted(statement, formula, False)
    if not says and worst < allowed * Fraction(9, 10):
        return contradicted(statement, formula, True)
    meets = best <= allowed
    return confirmed(statement, formula, meets) if meets == says else not_checkable(statement, formula)


def judge_tpot(context: Context, statement: Statement) -> Claim:
    """Judge a stated TPOT: not below the time to read what every step must read."""
    facts = context.facts
    bandwidth = facts.bandwidth or max((Fraction(device.memory_bandwidth) for device in facts.devices), default=None)
    if facts.model is None or not bandwidth or facts.weight_bytes is None:
        return not_checkable(statement, "model or memory bandwidth are not stated")
    width = _widest_replica(context)
    if width is None:
        return not_checkable(statement, "the GPUs are not stated")
    least_bytes = min(facts.weight_bytes, BYTES_PER_ELEMENT[facts.model.formats.experts.dtype])
    read = (facts.model.active_parameters - 2 * facts.model.vocab * facts.model.hidden) * least_bytes
    floor = read / (width * bandwidth)
    known = [Fraction(c.evaluation.tpot, 10**9) for c in context.candidates if c.evaluation.scenarios]
    rate = f"{width} GPUs{' of a replica' if facts.replicas else ''} * {show(bandwidth / 10**12)} TB/s"
    formula = f"the active weights alone, {show(read, 'bytes')} / ({rate}) = {show(floor, 'time')}"
    if known:
        formula += f"; with all costs {show(known[0], 'time')}"
    if statement.number + statement.half < floor and guesses_of(context) is None:
        return contradicted(statement, formula, known[0] if known else floor)
    if any(agrees(statement, value, tolerance=2 * NEAR) for value in known):
        return confirmed(statement, formula, known[0])
    return not_checkable(statement, f"{formula}; depends on the decode batch and links", known[0] if known else None)


def _widest_replica(context: Context) -> int | None:
    """The most GPUs that can work on one token: a replica's own under any reading.

    Where neither copies nor all degrees are stated, the stated GPUs may be one replica's.
    """
    facts = context.facts
    widths = [gpus for _, gpus in replica_gpus(context)]
    tp = facts.stated("tp")
    is_open = facts.replicas is None and (tp is None or facts.experts != 0)
    if facts.gpus and not facts.stages and (is_open or not widths):
        widths.append(facts.gpus)
    return max(widths, default=None)


def judge_throughput(context: Context, statement: Statement) -> Claim:
    """Output tokens per second against batch and TPOT as stated."""
    batch, tpot = context.facts.workload("batch"), context.document.number("tpot")
    if batch is None or not tpot:
        return not_checkable(statement, "batch size or TPOT is not stated")
    output, ttft = context.facts.workload("output_tokens"), context.document.number("ttft")
    accepted = [Fraction(batch) / tpot]
    if output:
        accepted += [batch * output / ((ttft or 0) + n * tpot) for n in (output, max(1, output - 1))]
    copies = (context.facts.replicas or 1) * (context.facts.stated("dp") or 1)
    accepted += [value * copies for value in accepted]
    if statement.field == "throughput_per_gpu":
        counts = context.gpu_counts()
        gpus = context.facts.gpus or (min(counts) if len(counts) == 1 else None)
        if not gpus:
            return not_checkable(statement, "the GPUs are not stated")
        accepted = [value / gpus for value in accepted]
    formula = f"{batch} sequences / {show(tpot, 'time')} = {show(accepted[0])} tokens/s"
    if any(agrees(statement, value, tolerance=NEAR) for value in accepted):
        return confirmed(statement, formula, accepted[0])
    if re_input(statement):
        return not_checkable(statement, f"{formula}; counts other tokens too")
    return inconsistent(statement, formula, accepted[0])


def re_input(statement: Statement) -> bool:
    """Whether the line may count prompt tokens as well."""
    words = statement.text.lower()
    return any(word in words for word in ("prefill", "input", "prompt", "total", "combined"))


def judge_compute_utilization(context: Context, statement: Statement) -> Claim:
    """Useful FLOPs over what the stated GPUs could do in the stated TTFT; never above the efficiency."""
    facts = context.facts
    recipe, ttft = ttft_recipe(context), context.document.first("ttft")
    if recipe is None or facts.gpu_flops is None or not facts.mfu:
        return not_checkable(statement, f"not stated: {'; '.join(_missing(context))}")
    stated = statement.number
    if stated > 1:
        return contradicted(statement, "no more than 100 % can be used")
    gpus = facts.gpus or (gpu_counts(context) or (1,))[0]
    if ttft is None or not ttft.number:
        return not_checkable(statement, "no TTFT is stated that it could refer to")
    work = (
        max(trial.value for trial in recipe(frozenset({"pipeline-fill-ignored"})))
        * min(gpu_counts(context))
        * facts.gpu_flops
        * facts.mfu
    )
    used = work / (gpus * facts.gpu_flops * ttft.number)
    formula = (
        f"{show(work)} FLOPs of prefill / ({gpus} GPUs * {show(facts.gpu_flops)} FLOP/s * {show(ttft.number, 'time')}, "
        f"line {ttft.line}) = {show(used, 'ratio')}"
    )
    if stated > facts.mfu * Fraction(3, 2) + statement.half and stated > 3 * used / facts.mfu:
        return inconsistent(statement, f"{formula}; the efficiency is {show(facts.mfu, 'ratio')}", used)
    options = (used, used / facts.mfu)
    if any(agrees(statement, value, tolerance=Fraction(1, 10)) for value in options):
        return confirmed(statement, formula, used)
    if stated > 2 * max(options):
        return inconsistent(statement, formula, used)
    return not_checkable(statement, f"{formula}; may mean the share of time, or the decode phase", used)


def judge_bubble(context: Context, statement: Statement) -> Claim:
    """Idle share of a pipeline: (stages - 1) / (microbatches + stages - 1)."""
    pp, microbatches = context.facts.pp, _microbatches(context)
    if not pp or not microbatches:
        return not_checkable(statement, "stages or microbatches are not stated")
    expected, other = Fraction(pp - 1, microbatches + pp - 1), Fraction(pp - 1, microbatches)
    formula = f"({pp} - 1) / ({microbatches} + {pp} - 1) = {show(expected, 'ratio')}"
    same = agrees(statement, expected, tolerance=NEAR) or agrees(statement, other, tolerance=NEAR)
    return confirmed(statement, formula, expected) if same else inconsistent(statement, formula, expected)


JUDGES = {
    "ttft": judge_ttft,
    "ttft_mean": judge_ttft,
    "meets_ttft": judge_meets,
    "meets_tpot": judge_meets,
    "tpot": judge_tpot,
    "throughput": judge_throughput,
    "throughput_per_gpu": judge_throughput,
    "compute_utilization": judge_compute_utilization,
    "bubble": judge_bubble,
}
