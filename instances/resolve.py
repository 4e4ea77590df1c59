"""From a question as written to a question resolved: names become catalogue items, what is open a stated default."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from shardproof.instances.correction import chosen
from shardproof.instances.errors import InputError
from shardproof.instances.hardware import Device
from shardproof.instances.instance import (
    DEFAULT_MAX_GPUS,
    DEFAULT_RUNTIME_RESERVE,
    RESERVE_ASSUMED,
    WHOLE_PROMPTS,
    WIDEST_DEFAULT_STAGE,
    Checkpoint,
    Hardware,
    Instance,
    InstanceFile,
    own_limits,
)
from shardproof.instances.load_profile.profile import LoadProfile
from shardproof.instances.load_profile.synthetic import EXAMPLES, is_synthetic
from shardproof.instances.model import Formats, Model
from shardproof.instances.reading import is_file, read_mapping, refuse, validate
from shardproof.instances.rope import check_positions
from shardproof.instances.speculative import Speculation
from shardproof.instances.traffic.facts import with_traces
from shardproof.instances.workload import Scenario

Found = TypeVar("Found")


def load_instance(path: Path, overrides: dict[str, Any] | None = None) -> Instance:
    """Read and resolve an instance file (YAML or JSON); ``overrides`` are merged over its fields."""
    tree = merge(read_mapping(path), overrides or {})
    return resolve_tree(tree, where=str(path), folder=path.parent)


def resolve_tree(tree: dict[str, Any], *, where: str, folder: Path | None = None) -> Instance:
    """Check a parsed instance and resolve it against the catalogue."""
    return resolve(validate(InstanceFile, with_traces(tree, folder), where=where), where=where, folder=folder)


def merge(tree: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Lay ``overrides`` over a tree, mapping by mapping."""
    merged = dict(tree)
    for key, value in overrides.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def resolve(file: InstanceFile, *, where: str = "instance", folder: Path | None = None) -> Instance:
    """Replace names by catalogue items and fill in defaults, noting each as an assumption.

    Raises
    ------
    InputError
        If a name is not found, or the limits leave no GPU.
    """
    model, checkpoint = _resolve_model(file, where, folder)
    device = _resolve_device(file, where)
    _check_engine(file, device, _longest(file), where)
    memory = min(device.usable_memory, file.limits.memory or device.usable_memory)
    max_gpus = _gpu_budget(file, device, where)
    widest = file.max_stage_gpus or _usual_stage(file, device)
    calibration, note = _calibration(file, device, where)
    correction, said = chosen(file.calibrations, folder, (device.name, file.engine.name, model.name))
    speculation, guessed = _speculation(file, model, where, folder)
    return Instance(
        name=file.name,
        model=model,
        device=device,
        activations=file.precision.activations,
        engine=file.engine.name,
        engine_settings=file.engine,
        scenarios=file.scenarios or (_main_scenario(file),),
        memory_limit=memory,
        max_gpus=max_gpus,
        max_stage_gpus=min(widest, max_gpus),
        stage_widths=file.stage_widths,
        runtime_reserve=_runtime_reserve(file),
        reserve_stated=file.runtime_reserve is not None,
        load_profile=_loads(file, folder, where),
        margin=file.margin,
        confidence=file.confidence,
        replicas=file.replicas,
        serving=file.serving,
        transfer=file.transfer,
        speculative=speculation,
        fixed=file.fixed,
        calibration=calibration,
        correction=correction,
        assumptions=(
            *(*file.assumptions, *note, *said, *guessed),
            *(*_assumed(file, device, calibrated=calibration is not None), *_unused(file)),
        ),
        checkpoint=checkpoint,
    )


def _speculation(
    file: InstanceFile, model: Model, where: str, folder: Path | None
) -> tuple[Speculation | None, tuple[str, ...]]:
    """What guesses tokens ahead, and what is assumed of it; a draft is a file beside the instance, or named."""
    if file.speculative is None:
        return None, ()
    from shardproof.instances.drafts import speculation_of

    def load(name: str) -> Model:
        from shardproof.instances.catalogue import load_draft

        return _named(load_draft, _nearby(name, folder), where=where, field="speculative.draft_model")

    return speculation_of(file.speculative, model, where, load)


def _nearby(name: str, folder: Path | None) -> str:
    """Return the path of a file beside the instance, or the name itself."""
    nearby = folder / name if folder is not None else None
    return str(nearby) if nearby is not None and is_file(nearby) else name


def _usual_stage(file: InstanceFile, device: Device) -> int:
    """Devices of the widest stage where the file says none: a node's, or more where it fixes the degrees."""
    return max(min(device.devices_per_node, WIDEST_DEFAULT_STAGE), file.fixed.gpus)


def _runtime_reserve(file: InstanceFile) -> int:
    """Bytes that the runtime keeps: as stated, else none beside an engine's own account."""
    if file.runtime_reserve is not None:
        return file.runtime_reserve
    return DEFAULT_RUNTIME_RESERVE if file.engine.name == "any" else 0


def _check_engine(file: InstanceFile, device: Device, longest: int, where: str) -> None:
    """Refuse an engine that does not run on the device, and requests that it is told not to accept."""
    engine = file.engine
    if engine.name != "any" and device.engines is not None and engine.name not in device.engines:
        known = ", ".join(device.engines) or "none that is known here"
        raise refuse(where, f"{engine.name} does not run on {device.name}; it takes {known}", field="engine")
    if engine.max_model_len is not None and longest > engine.max_model_len:
        raise refuse(
            where,
            f"requests of {longest} tokens are longer than max_model_len; raise it or shorten them",
            field="engine.max_model_len",
            value=str(engine.max_model_len),
        )


def _longest(file: InstanceFile) -> int:
    scenarios = file.scenarios or (_main_scenario(file),)
    return max(scenario.workload.input_tokens + scenario.workload.output_tokens for scenario in scenarios)


def _loads(file: InstanceFile, folder: Path | None, where: str) -> LoadProfile | str | None:
    """Loads of the file that is named, or the name of a synthetic profile, whose loads depend on the model."""
    source = file.load_profile
    if source is None or is_synthetic(source):
        return source
    from shardproof.instances.load_profile.read import load_profile

    path = Path(source) if folder is None else folder / source
    if not is_file(path):
        remedy = f"is no file here; synthetic profiles are {', '.join(EXAMPLES)}"
        raise refuse(where, remedy, field="load_profile", value=source)
    return load_profile(str(path))


def _main_scenario(file: InstanceFile) -> Scenario:
    assert file.workload is not None
    return Scenario(workload=file.workload, limits=own_limits(file.limits))


def _resolve_model(file: InstanceFile, where: str, folder: Path | None) -> tuple[Model, Checkpoint]:
    model, asked = file.model, None
    if isinstance(model, str):
        from shardproof.instances.catalogue import load_model

        named = _nearby(model, folder)
        model = _named(load_model, named, where=where, field="model")
        asked = _served_name(named)
    positions = file.engine.positions(model.max_position)
    if not file.engine.allow_long_max_model_len:
        check_positions(_longest(file), positions, model.name, where)
    changes: dict[str, Any] = {} if positions == model.max_position else {"max_position": positions}
    own = cache = None
    if file.precision.weights is not None:
        changes["formats"] = Formats.uniform(file.precision.weights)
        changes["quant_method"] = None
        uniform = model.with_formats(changes["formats"])
        changes |= {"kinds": uniform.kinds, "predictors": uniform.predictors}
        stored = {part.dtype for part in (model.formats.attention, model.formats.dense_ffn, model.formats.experts)}
        own = None if file.precision.weights in stored else model.formats.attention.dtype
    if file.precision.kv_cache is not None:
        changes["kv_dtype"] = file.precision.kv_cache
        cache = None if file.precision.kv_cache == model.kv_dtype else model.kv_dtype
    checkpoint = Checkpoint(name=asked, weights=own, kv_cache=cache)
    return model.model_copy(update=changes) if changes else model, checkpoint


def _served_name(asked: str) -> str | None:
    """Return what an engine is asked to serve: the id as it was given, or the folder of a config (else ``None``)."""
    path = Path(asked)
    if is_file(path):
        return str(path.parent if path.name == "config.json" else path)
    return asked if "/" in asked else None


def _named(load: Callable[[str], Found], name: str, *, where: str, field: str) -> Found:
    """Load a catalogue item; a name that is not found is said with the file and field that hold it."""
    try:
        return load(name)
    except InputError as error:
        raise InputError(
            replace(problem, where=where, field=problem.field or field) if problem.where == "catalogue" else problem
            for problem in error.problems
        ) from None


def _resolve_device(file: InstanceFile, where: str) -> Device:
    if isinstance(file.device, str):
        from shardproof.instances.catalogue import load_device

        device = _named(load_device, file.device, where=where, field="device")
    else:
        device = file.device
    if not device.peak_flops:
        raise refuse(where, "give at least one dtype", field="device.peak_flops")
    given = {key: getattr(file.hardware, key) for key in Hardware.model_fields}
    changes = {key: value for key, value in given.items() if value is not None}
    if "memory" in changes:
        changes["visible_memory"] = None
    return device.model_copy(update=changes) if changes else device


def _gpu_budget(file: InstanceFile, device: Device, where: str) -> int:
    budget = file.limits.max_gpus or DEFAULT_MAX_GPUS
    if file.limits.price_per_hour is not None:
        if device.price_per_hour is None:
            raise refuse(
                where,
                f"device {device.name} has no price; say one: --devices '{device.name}@0.80 USD/h' --objective price,"
                " or in a file hardware.price_per_hour",
                field="limits.price_per_hour",
            )
        affordable = file.limits.price_per_hour // device.price_per_hour
        if affordable < 1:
            raise refuse(
                where,
                f"buys no {device.name} at {float(device.price_per_hour):g} USD/h; raise it",
                field="limits.price_per_hour",
                value=f"{float(file.limits.price_per_hour):g} USD/h",
            )
        budget = min(budget, int(affordable))
    return budget


def _calibration(file: InstanceFile, device: Device, where: str) -> tuple[tuple[str, str] | None, tuple[str, ...]]:
    """Return the curves that time operations (name and digest), and the sentence that says whose they are."""
    stated = file.hardware.mfu is not None or file.hardware.bandwidth_efficiency is not None
    named = isinstance(file.device, str)
    if file.efficiency == "flat" or (file.efficiency is None and (stated or not named)):
        return None, ()
    from shardproof.instances.calibration import calibration_digest, calibration_for

    name = device.name
    found = calibration_for(name, device, engine=file.engine.name)
    if found is None:
        if file.efficiency == "calibrated":
            raise refuse(where, f"no curves for {name}; write flat, with hardware.mfu", field="efficiency")
        return None, ()
    return (name, calibration_digest(name)), (found[1],)


def _unused(file: InstanceFile) -> tuple[str, ...]:
    """What the file says to no effect."""
    if file.serving == "together" and file.transfer.model_fields_set:
        return ("transfer: without effect, replicas serve prefill and decode together (serving: together)",)
    return ()


def _assumed(file: InstanceFile, device: Device, *, calibrated: bool) -> tuple[str, ...]:
    """Sentences for what the file leaves open."""
    found = [] if calibrated else [*_assumed_efficiencies(file, device)]
    named = file.engine.name != "any"
    kinds = {scenario.workload.kind for scenario in file.scenarios or (_main_scenario(file),)}
    sentences = {
        RESERVE_ASSUMED: file.runtime_reserve is None and not named,
        "KV cache dtype: the model's own, not given by the instance": file.precision.kv_cache is None,
        "usable memory per device: the datasheet's figure, what a process sees is not known": (
            device.visible_memory is None and file.limits.memory is None
        ),
        f"at most {DEFAULT_MAX_GPUS} GPUs are searched: limits.max_gpus is not given": (
            file.limits.max_gpus is None and file.limits.price_per_hour is None
        ),
        f"a stage is at most {_usual_stage(file, device)} devices wide: max_stage_gpus is not given": (
            file.max_stage_gpus is None
        ),
        WHOLE_PROMPTS: "burst" in kinds and not named,
        "closed loop: every request in flight is resident; prefill runs beside the decode; waits grow with the load": (
            "closed-loop" in kinds
        ),
        "expert loads: equal, no load profile is given": file.load_profile is None
        and not isinstance(file.model, Model),
    }
    found += [sentence for sentence, holds in sentences.items() if holds]
    for name, degree in file.fixed.stated.items():
        found.append(f"{name.replace('_', ' ')} {degree} in every stage, as asked for (fixed.{name})")
    if file.replicas == "alike":
        found.append("replicas are all alike, as asked for (replicas: alike)")
    return tuple(found)


def _assumed_efficiencies(file: InstanceFile, device: Device) -> Iterator[str]:
    """Yield what neither the instance nor a catalogue device says of its efficiencies."""
    inline = isinstance(file.device, Device)
    own = file.device.model_fields_set if isinstance(file.device, Device) else device.model_fields_set
    where = "the instance" if inline else "the instance or the catalogue"
    if file.hardware.mfu is None and "mfu" not in own:
        yield f"compute efficiency (mfu) {float(device.mfu):g}: not given by {where}"
    if file.hardware.bandwidth_efficiency is None and "bandwidth_efficiency" not in own:
        yield f"memory bandwidth efficiency {float(device.bandwidth_efficiency):g}: not given by {where}"
