"""A question given as a file, as fields, or both: what the flags of the command line and keywords in Python say."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from shardproof.instances.errors import InputError

if TYPE_CHECKING:
    from decimal import Decimal
    from fractions import Fraction

    from shardproof.instances.instance import Instance
    from shardproof.instances.pools import PoolsQuestion

    Ratio = str | float | Fraction | Decimal
    Question = str | Path | Mapping[str, Any] | Instance
    Asking = str | Path | Mapping[str, Any] | Instance | PoolsQuestion

Asked = TypeVar("Asked", bound=Callable[..., Any])

FIELDS: dict[str, tuple[str, ...]] = {
    "model": ("model",),
    "device": ("device",),
    "engine": ("engine", "name"),
    "gpu_memory_utilization": ("engine", "gpu_memory_utilization"),
    "max_model_len": ("engine", "max_model_len"),
    "max_num_seqs": ("engine", "max_num_seqs"),
    "max_num_batched_tokens": ("engine", "max_num_batched_tokens"),
    "enforce_eager": ("engine", "enforce_eager"),
    "block_size": ("engine", "block_size"),
    "rope_scaling": ("engine", "rope_scaling"),
    "allow_long_max_model_len": ("engine", "allow_long_max_model_len"),
    "isl": ("workload", "input_tokens"),
    "osl": ("workload", "output_tokens"),
    "batch_size": ("workload", "batch_size"),
    "concurrency": ("workload", "concurrency"),
    "request_rate": ("workload", "rate"),
    "arrival_cv": ("workload", "arrival_cv"),
    "trace": ("workload", "trace"),
    "prefix_cache_hit": ("workload", "prefix_cache_hit"),
    "ttft": ("limits", "ttft"),
    "ttft_p50": ("limits", "ttft_p50"),
    "ttft_p90": ("limits", "ttft_p90"),
    "ttft_p99": ("limits", "ttft_p99"),
    "tpot": ("limits", "tpot"),
    "tpot_p50": ("limits", "tpot_p50"),
    "tpot_p90": ("limits", "tpot_p90"),
    "tpot_p99": ("limits", "tpot_p99"),
    "e2e": ("limits", "e2e"),
    "e2e_p99": ("limits", "e2e_p99"),
    "goodput": ("limits", "goodput"),
    "max_gpus": ("limits", "max_gpus"),
    "max_price": ("limits", "price_per_hour"),
    "memory": ("limits", "memory"),
    "mfu": ("hardware", "mfu"),
    "efficiency": ("efficiency",),
    "weights": ("precision", "weights"),
    "kv_cache": ("precision", "kv_cache"),
    "load_profile": ("load_profile",),
    "max_stage_gpus": ("max_stage_gpus",),
    "stage_widths": ("stage_widths",),
    "runtime_reserve": ("runtime_reserve",),
    "margin": ("margin",),
    "confidence": ("confidence",),
    "replicas": ("replicas",),
    "calibration": ("calibrations",),
    "tp": ("fixed", "tensor_parallel"),
    "dp": ("fixed", "data_parallel"),
    "ep": ("fixed", "expert_parallel"),
    "serving": ("serving",),
    "transfer_bandwidth": ("transfer", "bandwidth"),
    "transfer_setup": ("transfer", "setup"),
    "speculative_config": ("speculative",),
    "speculative_method": ("speculative", "method"),
    "draft_tokens": ("speculative", "draft_tokens"),
    "acceptance": ("speculative", "acceptance"),
    "acceptance_length": ("speculative", "acceptance_length"),
    "draft_model": ("speculative", "draft_model"),
    "devices": ("devices",),
    "objective": ("objective",),
    "spare": ("spare",),
    "placement": ("placement",),
    "resolution": ("resolution",),
}
"""Where each flag's or keyword's value stands in an instance file."""


_OWN_FIELDS = {
    "burst": ("batch_size",),
    "closed-loop": ("concurrency", "independent", "first_prompt_tokens", "window"),
    "requests": ("rate", "arrival_cv", "trace", "prefix_cache_hit", "input_lengths", "output_lengths"),
}
"""Fields of a workload that only one kind has."""


class Fields(TypedDict, total=False):
    """The fields of an instance that a keyword sets or overrides; quantities are text with their unit."""

    model: str | Path | None
    device: str | None
    engine: str | None
    gpu_memory_utilization: Ratio | None
    max_model_len: int | None
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    enforce_eager: bool | None
    block_size: int | None
    rope_scaling: str | Mapping[str, Any] | None
    allow_long_max_model_len: bool | None
    isl: int | None
    osl: int | None
    batch_size: int | None
    concurrency: int | None
    request_rate: Ratio | None
    arrival_cv: Ratio | None
    trace: str | Path | None
    prefix_cache_hit: Ratio | None
    ttft: str | None
    ttft_p50: str | None
    ttft_p90: str | None
    ttft_p99: str | None
    tpot: str | None
    tpot_p50: str | None
    tpot_p90: str | None
    tpot_p99: str | None
    e2e: str | None
    e2e_p99: str | None
    goodput: Ratio | None
    max_gpus: int | None
    max_price: str | None
    memory: str | None
    mfu: Ratio | None
    efficiency: str | None
    weights: str | None
    kv_cache: str | None
    load_profile: str | Path | None
    max_stage_gpus: int | None
    stage_widths: str | None
    runtime_reserve: str | None
    margin: Ratio | None
    confidence: Ratio | None
    replicas: str | None
    calibration: str | Path | None
    tp: int | None
    dp: int | None
    ep: int | None
    serving: str | None
    transfer_bandwidth: str | None
    transfer_setup: str | None
    speculative_config: str | Mapping[str, Any] | None
    speculative_method: str | None
    draft_tokens: int | None
    acceptance: Ratio | Sequence[Ratio] | None
    acceptance_length: Ratio | None
    draft_model: str | Path | None
    devices: str | Sequence[str | Mapping[str, Any]] | None
    objective: str | None
    spare: str | Mapping[str, int] | None
    placement: str | None
    resolution: int | None


def shows_fields(function: Asked) -> Asked:
    """List every field in the signature that notebooks complete, in the place of ``**fields``."""
    signature = inspect.signature(function)
    given = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
    known = {item.name for item in given}
    types = Fields.__annotations__
    fields = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_written(types.get(name)))
        for name in FIELDS
        if name not in known
    ]
    function.__signature__ = signature.replace(parameters=[*given, *fields])  # type: ignore[attr-defined]
    return function


def _written(annotation: Any) -> Any:
    """Return an annotation as text: postponed ones are kept in a wrapper that reads badly in help()."""
    return getattr(annotation, "__forward_arg__", annotation)


def check_fields(fields: Mapping[str, Any], function: str) -> None:
    """Refuse keywords that are no field, as Python does for a function that lists them.

    Raises
    ------
    TypeError
        With the nearest field.
    """
    for name in fields:
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; fields: {', '.join(FIELDS)}"
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")


def overrides_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree of fields that are set; whatever is no field of an instance is left out."""
    tree: dict[str, Any] = {}
    for name, path in FIELDS.items():
        value = fields.get(name)
        if value is None:
            continue
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = _standing(name, value)
    named = tree.get("engine", {}).get("name")
    if named is not None:
        tree["engine"] |= _engine_tree(str(named))
    workload = tree.get("workload", {})
    _one_load(fields)
    if "rate" in workload:
        workload["rate"] = _per_second(workload["rate"])
    if "rate" in workload or "trace" in workload:
        workload["kind"] = "requests"
    elif "concurrency" in workload:
        tree["workload"]["kind"] = "closed-loop"
    elif "batch_size" in tree.get("workload", {}):
        tree["workload"]["kind"] = "burst"
    return tree


_FILES = {"calibration": True, "load_profile": False, "trace": False}
"""Fields that may name a file, and whether they do so always: a flag's stands where the user does, an instance's own
beside the instance."""


def _standing(name: str, value: Any) -> Any:
    """Return a flag's value; the path of a file as it is found from here."""
    text = str(value) if isinstance(value, Path) else value
    if name == "speculative_config":
        return _speculative_tree(text)
    if name not in _FILES or not isinstance(text, str):
        return text
    from shardproof.instances.reading import is_file

    names_file = _FILES[name] or is_file(Path(text))
    return str(Path(text).absolute()) if names_file else text


def _speculative_tree(value: Any) -> Any:
    """Return what an engine's own flag says of speculative decoding as a mapping, to which other flags may add."""
    from shardproof.instances.reading import refuse
    from shardproof.instances.speculative import canonical

    try:
        tree = canonical(value)
    except ValueError as error:
        raise refuse("command line", str(error), field="speculative", value=str(value)[:80]) from None
    if not isinstance(tree, dict):
        raise refuse("command line", 'is no mapping; write for example \'{"method": "mtp"}\'', field="speculative")
    return tree


def _one_load(fields: Mapping[str, Any]) -> None:
    """Refuse two ways in which requests come, which no one question has."""
    from shardproof.instances.reading import refuse

    ways = {"batch_size": "a burst", "concurrency": "a closed loop", "request_rate": "requests that come by themselves"}
    given = [name for name in ways if fields.get(name) is not None]
    if len(given) > 1:
        said = " and ".join(f"--{name.replace('_', '-')} ({ways[name]})" for name in given)
        raise refuse("command line", f"requests come in one way: {said} exclude each other; leave one")


def tree_of(
    instance: str | Path | Mapping[str, Any] | None, fields: Mapping[str, Any]
) -> tuple[dict[str, Any], str, Path | None]:
    """Return the merged tree of file (or mapping) and fields, what messages call it, and the file's folder."""
    from shardproof.instances.reading import read_mapping

    overrides = overrides_of(fields)
    if instance is None:
        return {"name": "command-line", **overrides}, "command line", None
    if isinstance(instance, Mapping):
        return _laid_over(dict(instance), overrides), "instance", None
    path = Path(instance)
    return _laid_over(read_mapping(path), overrides), str(instance), path.parent


def _laid_over(tree: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    from shardproof.instances.resolve import merge

    if "devices" in overrides:
        tree = {key: value for key, value in tree.items() if key != "device"}
    if isinstance(overrides.get("speculative"), dict) and tree.get("speculative") is not None:
        tree = tree | {"speculative": _speculative_tree(tree["speculative"])}
    return merge(_with_engine(_without_other_kind(tree, overrides), overrides), overrides)


_SCALES = {"k": 1000, "K": 1024, "m": 10**6, "M": 2**20}


def whole_number(text: str, name: str) -> int:
    """Read a whole number, also as engines write it: ``8k`` is 8,000, ``8K`` 8,192; commas may part thousands.

    Raises
    ------
    InputError
        If it is none.
    """
    from shardproof.instances.reading import refuse

    factor = _SCALES.get(text[-1:], 1)
    digits = (text[:-1] if factor > 1 else text).replace(",", "")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12:
        raise refuse("question", "is no whole number; write for example 8192 or 8k", field=name, value=text[:40])
    return int(digits) * factor


def _per_second(rate: Any) -> str:
    """Read a rate as benchmark tools do: a plain number is requests per second."""
    text = str(rate).strip()
    return text if "/" in text or "per" in text else f"{text}/s"


def _engine_tree(text: str) -> dict[str, Any]:
    """Read ``vllm@0.11`` as a mapping."""
    name, at, version = text.partition("@")
    return {"name": name} | ({"version": version} if at else {})


def _with_engine(tree: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Write the file's engine as a mapping; drop its settings where a field names another engine."""
    asked, held = overrides.get("engine"), tree.get("engine")
    if asked is None or held is None:
        return tree
    if isinstance(held, str):
        held = _engine_tree(held)
    if not isinstance(held, dict) or asked.get("name", held.get("name")) != held.get("name"):
        return {key: value for key, value in tree.items() if key != "engine"}
    return tree | {"engine": held}


def _without_other_kind(tree: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Drop the file's count of requests where a field asks for the other kind of workload."""
    asked, held = overrides.get("workload", {}), tree.get("workload")
    kind = asked.get("kind")
    if not isinstance(held, dict) or kind is None or kind == held.get("kind"):
        return tree
    others = {name for other, names in _OWN_FIELDS.items() if other != kind for name in names}
    others |= {"input_tokens", "output_tokens"} if "trace" in asked else set()
    return tree | {"workload": {key: value for key, value in held.items() if key not in others}}


def instance_from(instance: Question | None, fields: Mapping[str, Any]) -> Instance:
    """Read, override and resolve an instance given as a file, a mapping, fields, or a file and fields.

    Raises
    ------
    InputError
        If the file or a field is wrong or missing, or fields are to change an instance already resolved.
    """
    from shardproof.instances.instance import Instance
    from shardproof.instances.resolve import resolve_tree

    if isinstance(instance, Instance):
        changed = sorted(overrides_of(fields))
        if changed:
            raise InputError(
                f"an Instance is final, and {', '.join(changed)} would change it; "
                "give the instance file (or its mapping) with these fields"
            )
        return instance
    tree, where, folder = _complete_tree(instance, fields)
    _refuse_pools(tree, where)
    return resolve_tree(tree, where=where, folder=folder)


def asked_from(instance: Asking | None, fields: Mapping[str, Any]) -> Instance | PoolsQuestion:
    """Read a question of one device and model as `instance_from` does, or one about pools of several.

    Raises
    ------
    InputError
        If the question is wrong or incomplete.
    """
    from shardproof.instances.pool_fields import is_about_pools

    if instance is None or isinstance(instance, str | Path | Mapping):
        tree, where, folder = tree_of(instance, fields)
        if is_about_pools(tree):
            from shardproof.instances.pools_resolve import resolve_pools
            from shardproof.instances.traffic.facts import with_traces

            return resolve_pools(with_traces(tree, folder), where=where, folder=folder)
        return instance_from(instance, fields)
    from shardproof.instances.pools import PoolsQuestion

    if not isinstance(instance, PoolsQuestion):
        return instance_from(instance, fields)
    if overrides_of(fields):
        raise InputError("a PoolsQuestion is final; give the instance file (or its mapping) with these fields")
    return instance


def asks_about_pools(instance: str | Path | Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Whether a file or mapping, with fields laid over it, is a question about several devices or models."""
    from shardproof.instances.pool_fields import is_about_pools

    return is_about_pools(tree_of(instance, fields)[0])


def _complete_tree(
    instance: str | Path | Mapping[str, Any] | None, fields: Mapping[str, Any]
) -> tuple[dict[str, Any], str, Path | None]:
    tree, where, folder = tree_of(instance, fields)
    if instance is None and not ("model" in tree and ("device" in tree or "devices" in tree)):
        raise InputError("name an instance file, or give at least a model and a device (--model, --device)")
    asked = tree.get("workload") or {}
    if instance is None and not {"kind", "input_tokens", "output_tokens"} <= asked.keys() and "trace" not in asked:
        raise InputError(
            "without a file give the tokens of a request (--isl, --osl), and --batch-size (a burst), --concurrency"
            " (a closed loop) or --request-rate (requests that come by themselves); or a --trace"
        )
    return tree, where, folder


def _refuse_pools(tree: Mapping[str, Any], where: str) -> None:
    """Refuse a question about pools where one of a single device and model is asked for."""
    from shardproof.instances.pool_fields import POOL_FIELDS, is_about_pools
    from shardproof.instances.reading import refuse

    if is_about_pools(tree):
        field = next(name for name in POOL_FIELDS if name in tree)
        remedy = (
            "asks about several devices or models; solve, explain, sensitivity and batch answer that;"
            " compare, predict, simulate and export take plans of fleets, verify checks their certificates"
        )
        raise refuse(where, remedy, field=field)
