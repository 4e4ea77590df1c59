"""A question under any engine, read as the same question under one of them.

``any`` stands for every engine that is known and runs on the device, and for plans free of an engine's rules. What an
engine changes of a question is what `resolve` reads off its name: the reserve that nobody stated, and whose curves
stand in. All else stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from shardproof.instances.catalogue import load_draft
from shardproof.instances.drafts import speculation_of, with_speculation
from shardproof.instances.engine import EngineName, EngineSettings
from shardproof.instances.instance import RESERVE_ASSUMED, WHOLE_PROMPTS, Instance
from shardproof.instances.plan import Plan
from shardproof.instances.speculative import Speculative

NAMED: tuple[EngineName, ...] = tuple(name for name in get_args(EngineName) if name != "any")
"""Engines that a question can name."""


def runs_on(instance: Instance, engine: EngineName) -> bool:
    """Whether an engine is known to run on the instance's device (a device that says nothing takes them all)."""
    return instance.device.engines is None or engine in instance.device.engines


def under_engine(instance: Instance, engine: EngineName) -> Instance:
    """Return the question that `resolve` would have made of the same fields and a named engine."""
    changes = {
        "engine": engine,
        "engine_settings": EngineSettings(name=engine),
        "runtime_reserve": instance.runtime_reserve if instance.reserve_stated else 0,
        "assumptions": _assumptions(instance, engine),
    }
    return instance.model_copy(update=changes)


def under_any(instance: Instance, wanted: Callable[[Instance], bool]) -> Instance:
    """Return the reading of a question under any engine that is wanted (the question itself where none is)."""
    readings = [under_engine(instance, engine) for engine in NAMED] if instance.engine == "any" else []
    return next((one for one in readings if wanted(one)), instance)


def _assumptions(instance: Instance, engine: EngineName) -> tuple[str, ...]:
    notes: dict[str, str] = {}
    if instance.calibration is not None:
        from shardproof.instances.calibration import calibration_for

        pair = [calibration_for(instance.calibration[0], instance.device, engine=name) for name in ("any", engine)]
        if pair[0] is not None and pair[1] is not None:
            notes[pair[0][1]] = pair[1][1]
    kept = (one for one in instance.assumptions if one not in (RESERVE_ASSUMED, WHOLE_PROMPTS))
    return tuple(notes.get(one, one) for one in kept)


def question_of(instance: Instance, plan: Plan) -> Instance:
    """Return the question that a plan answers: under the engine that the plan names, where the question names none.

    A plan guesses tokens ahead as it says; how many guesses hold is the question's, where both guess alike.
    """
    if instance.engine == "any" and plan.engine in NAMED:
        instance = under_engine(instance, plan.engine)
    own, asked = plan.speculative, instance.speculative
    if own is None:
        return instance
    told = own if isinstance(own, Speculative) else None
    if told is not None and asked is not None and (told.method, told.guesses) == (asked.method, asked.guesses):
        return instance
    heard = speculation_of(told, instance.model, instance.name, load_draft)
    return with_speculation(instance, *heard, "the plan says so")
