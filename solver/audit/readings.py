"""Readings of the degrees: which deployments "TP 8, EP 8, DP 2, 16 GPUs" may mean.

People use the degrees in several ways: data parallelism as copies of the model or inside attention, expert
parallelism over the tensor-parallel ranks or as a factor of its own. A claim holds if it holds in any
reading that the stated numbers allow.
"""

from __future__ import annotations

from dataclasses import dataclass

from shardproof.instances.option import Option
from shardproof.solver.audit.facts import Facts


@dataclass(frozen=True)
class Reading:
    """One meaning of the degrees: copies of the pipeline, stages, and what a stage runs."""

    name: str
    replicas: int
    pp: int
    option: Option

    @property
    def gpus(self) -> int:
        """GPUs of all copies."""
        return self.replicas * self.pp * self.option.gpus


def readings(facts: Facts) -> tuple[Reading, ...]:
    """Return every reading of the stated degrees, most usual first, whatever the stated GPU count."""
    started = engine_readings(facts)
    if started is not None:
        return started
    pp, copies = facts.pp or 1, facts.replicas or 1
    dp, ep, moe_tp = facts.stated("dp") or 1, facts.stated("ep"), facts.stated("moe_tp")
    tp = facts.stated("tp") or _implied_tp(facts, pp * copies * dp)
    if min(pp, copies, dp, tp, ep or 1, moe_tp or 1) < 1 or max(pp, copies, dp, tp, ep or 1, moe_tp or 1) > 16384:
        return ()
    flag = facts.document.first("expert_parallel_enabled")
    if flag is not None and flag.value is True and ep is None and facts.experts != 0:
        ep = tp * dp if facts.document.engine != "sglang" else tp
    if ep is None and moe_tp is not None and (tp * dp) % moe_tp == 0:
        ep = tp * dp // moe_tp
    return _distinct(_candidates(facts, pp, copies, dp, tp, ep or 1))


def engine_readings(facts: Facts) -> tuple[Reading, ...] | None:
    """Return what the engine that a document starts makes of its degrees; ``None`` where none is started.

    vLLM: experts over all TP x DP ranks, copies for a dense model. SGLang: DP inside the TP ranks with DP
    attention, copies without. TensorRT-LLM: attention on every rank by itself with attention DP.
    """
    engine = facts.document.engine
    if facts.document.start is None or engine not in ("vllm", "sglang", "trtllm") or facts.stages:
        return None
    tp, pp, dp = facts.stated("tp") or 1, facts.pp or 1, facts.stated("dp") or 1
    if facts.document.open and facts.stated("tp") is None:
        return None
    copies, ep, moe_tp = facts.replicas or 1, facts.stated("ep"), facts.stated("moe_tp")
    if max(tp, pp, dp, copies, ep or 1, moe_tp or 1) > 16384:
        return ()
    inside = _is_on(facts, "attention_dp_enabled")
    exchange = facts.document.first("all_to_all")
    spread = _is_on(facts, "expert_parallel_enabled") or (exchange is not None and exchange.value != "none")
    if engine == "vllm":
        if facts.experts == 0:
            return (Reading("vLLM: data parallelism as copies", copies * dp, pp, Option(tp, 1, tp, 1)),)
        width = tp * dp
        ranks = (width, 1) if spread else (1, width)
        return (Reading("vLLM: experts over all ranks of a stage", copies, pp, Option(tp, dp, ranks[1], ranks[0])),)
    ep = ep or (tp // moe_tp if moe_tp and tp % moe_tp == 0 else tp if spread else 1)
    if tp % ep:
        return ()
    if engine == "trtllm":
        attention = (1, tp) if inside else (tp, 1)
        option = Option(*attention, tp // ep, ep, extra_slots=_extra_slots(facts, ep))
        return (Reading("TensorRT-LLM", copies, pp, option),)
    attention_dp = dp if inside else facts.stated("attention_dp") or 1
    if tp % attention_dp:
        return ()
    option = Option(tp // attention_dp, attention_dp, tp // ep, ep, extra_slots=_extra_slots(facts, ep))
    return (Reading("SGLang", copies * (1 if inside else dp), pp, option),)


def _is_on(facts: Facts, field: str) -> bool:
    switch = facts.document.first(field)
    return switch is not None and switch.value is True


def _implied_tp(facts: Facts, rest: int) -> int:
    """TP where the document does not say it: what the GPUs leave for it, else 1."""
    if facts.gpus and facts.gpus % rest == 0 and facts.gpus // rest <= 64:
        width = facts.gpus // rest
        ep = facts.stated("ep") or 1
        return width if width % ep == 0 or ep % width == 0 else 1
    return 1


def _candidates(facts: Facts, pp: int, copies: int, dp: int, tp: int, ep: int) -> list[Reading]:
    found: list[Reading] = []

    def add(name: str, replicas: int, attn_tp: int, attn_dp: int, moe_ep: int) -> None:
        width = attn_tp * attn_dp
        if width % moe_ep == 0:
            extra = _extra_slots(facts, moe_ep)
            option = Option(attn_tp=attn_tp, attn_dp=attn_dp, moe_tp=width // moe_ep, moe_ep=moe_ep, extra_slots=extra)
            found.append(Reading(name, replicas, pp, option))

    switched = facts.document.first("attention_dp_enabled")
    if switched is not None and switched.value is True:
        if facts.document.engine == "trtllm":
            add("attention runs data-parallel on every rank", copies, 1, tp, ep)
        elif tp % dp == 0:
            add("data-parallel attention inside the TP ranks", copies, tp // dp, dp, ep)
        return found
    add("data parallelism inside attention, experts over all ranks of a stage", copies, tp, dp, ep)
    if dp > 1:
        add("data parallelism as copies of the model", copies * dp, tp, 1, ep)
    if ep > 1:
        add("expert parallelism as a factor of its own", copies * dp, tp, ep, ep)
        add("expert and data parallelism as factors of their own", copies, tp, ep * dp, ep)
        if dp > 1:
            add("data and expert parallelism inside a stage", copies, tp, dp * ep, ep * dp)
    if ep > tp and ep % tp == 0:
        add("experts span the stage, attention repeats over it", copies * dp, tp, ep // tp, ep)
        add("experts span the stage, attention repeats over it", copies, tp, ep // tp, ep)
    if dp == copies and dp > 1:
        add("replicas and data parallelism are the same copies", copies, tp, 1, ep)
        if ep > 1:
            add("replicas and data parallelism are the same copies, experts a factor", copies, tp, ep, ep)
    return found


def _extra_slots(facts: Facts, moe_ep: int) -> int:
    """Slots of each rank that stated redundant experts add to the fewest."""
    redundant, experts = facts.stated("redundant_experts"), facts.experts
    if not redundant or not experts or moe_ep < 1:
        return 0
    return max(0, -(-(experts + redundant) // moe_ep) - -(-experts // moe_ep))


def _distinct(found: list[Reading]) -> tuple[Reading, ...]:
    seen: dict[tuple[int, int, Option], Reading] = {}
    for reading in found:
        seen.setdefault((reading.replicas, reading.pp, reading.option), reading)
    return tuple(seen.values())


def matching(facts: Facts) -> tuple[Reading, ...]:
    """Return the readings that give the stated GPU count; all of them where none does or none is stated."""
    found = readings(facts)
    if facts.gpus is None:
        return found
    return tuple(reading for reading in found if reading.gpus == facts.gpus) or found
