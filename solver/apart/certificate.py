"""The certificate of pools apart: one for each pool, one for replicas of both phases, and what they add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shardproof.formulations.apart.phases import as_together, is_steady, pool_instance
from shardproof.formulations.apart.transfer import prompt_bytes, sending_time
from shardproof.solver.checkers.apart import FORMAT, CheckError, part
from shardproof.solver.proof.certificate import certificate_document

if TYPE_CHECKING:
    from shardproof.instances.instance import Instance
    from shardproof.solver.result import Result

PARTS = ("prefill", "decode", "together")


def questions_of(instance: Instance) -> dict[str, Instance]:
    """Return the question that each part of a certificate answers."""
    found = {"together": as_together(instance)}
    if instance.max_gpus > 1:
        found |= {"prefill": pool_instance(instance, "prefill"), "decode": pool_instance(instance, "decode")}
    return found


def apart_document(instance: Instance, result: Result) -> dict[str, Any] | None:
    """Return the certificate of an answer; ``None`` where it is not one of bursts, or a part has no proof."""
    if is_steady(instance) or result.status == "undecided":
        return None
    asked, parts = questions_of(instance), dict[str, Any]()
    for name in PARTS:
        found = result.pools.get(name)
        if found is not None and (found.evidence is None or found.status == "undecided" or found.engines):
            return None
        parts[name] = (
            None if found is None or found.evidence is None else certificate_document(found.evidence, asked[name])
        )
    return {
        "format": FORMAT,
        "instance": instance.fingerprint,
        "serving": instance.serving,
        "max_gpus": instance.max_gpus,
        "transfer": [
            {
                "scenario": scenario.name,
                "bytes": prompt_bytes(instance, scenario.workload.input_tokens),
                "sending_ns": sending_time(instance, scenario.workload.input_tokens),
            }
            for scenario in instance.scenarios
        ],
        **parts,
        "claim": _claim(parts, instance),
    }


def _claim(parts: dict[str, Any], instance: Instance) -> dict[str, int | None]:
    """What the parts add up to, by the checker's own reading of each."""
    found = {name: part(parts[name], name) for name in PARTS}
    lower, uppers = found["prefill"][0] + found["decode"][0], list[int]()
    if found["prefill"][1] is not None and found["decode"][1] is not None:
        uppers.append(found["prefill"][1] + found["decode"][1])
    if instance.serving == "any":
        lower = min(lower, found["together"][0])
        uppers += [] if found["together"][1] is None else [found["together"][1]]
    return {"lower": lower, "upper": min((value for value in uppers if value <= instance.max_gpus), default=None)}


__all__ = ["PARTS", "CheckError", "apart_document", "questions_of"]
