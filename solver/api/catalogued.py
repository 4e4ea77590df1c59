"""`catalog`: the models and devices that can be named, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.instances.hardware import Device
    from shardproof.instances.model import Model

KINDS = ("models", "devices")


@dataclass(frozen=True, repr=False)
class Catalogued(Answered):
    """Models and devices as plain values; keys name their units, every number has its source."""

    models: tuple[Mapping[str, Any], ...]
    devices: tuple[Mapping[str, Any], ...]
    document: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``catalog --json`` prints."""
        return dict(self.document)

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each model and each device."""
        kinds = (("model", self.models), ("device", self.devices))
        return [{"kind": kind, **item} for kind, items in kinds for item in items]

    def __str__(self) -> str:
        """Return how many there are, or the name of the one."""
        if len(self.models) + len(self.devices) == 1:
            return str((*self.models, *self.devices)[0]["name"])
        return f"{len(self.models)} models, {len(self.devices)} devices"

    def __repr__(self) -> str:
        """Return one line."""
        return f"Catalogued({self})"

    def _repr_html_(self) -> str:
        from shardproof.solver.api.html import piece, table_of_rows

        return piece(
            str(self), *(table_of_rows([_brief(item) for item in items]) for items in (self.models, self.devices))
        )


def _brief(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an item that are no tables of their own; `to_dict` has their sources."""
    return {key: value for key, value in item.items() if key != "source" and not isinstance(value, Mapping | list)}


def catalog(*words: str) -> Catalogued:
    """List the models and devices of the catalogue, or show one of them.

    Parameters
    ----------
    *words
        Nothing, ``"models"`` or ``"devices"`` list all; a catalogue name, a Hugging Face id or the path of a
        config.json shows one, with its kind before it where both kinds know the name.

    Raises
    ------
    InputError
        If there is no such kind or name; the message has the nearest ones.

    Examples
    --------
    >>> import shardproof
    >>> shardproof.catalog("h100-sxm").devices[0]["memory_bytes"]
    80000000000
    """
    kind, name = _read_words(words)
    document = _all(kind) if name is None else _one(kind, name)
    models = document.get("models") or ([document["model"]] if "model" in document else [])
    devices = document.get("devices") or ([document["device"]] if "device" in document else [])
    return Catalogued(tuple(models), tuple(devices), document)


def _read_words(words: tuple[str, ...]) -> tuple[str | None, str | None]:
    from shardproof.instances.errors import InputError

    if len(words) > 2:
        raise InputError("catalog: give at most a kind (models or devices) and a name")
    if words and words[0] in KINDS:
        return words[0], words[1] if len(words) == 2 else None
    if len(words) == 2:
        raise InputError(f"catalog: '{words[0]}' is no kind; write 'models' or 'devices'")
    return None, words[0] if words else None


def _all(kind: str | None) -> dict[str, Any]:
    from shardproof.instances import catalogue

    document: dict[str, Any] = {}
    if kind in (None, "models"):
        document["models"] = [describe_model(catalogue.load_model(name)) for name in catalogue.model_names()]
    if kind in (None, "devices"):
        document["devices"] = [describe_device(catalogue.load_device(name)) for name in catalogue.device_names()]
    return document


def _one(kind: str | None, name: str) -> dict[str, Any]:
    from shardproof.instances import catalogue
    from shardproof.instances.errors import InputError

    if kind == "devices" or (kind is None and catalogue.is_device(name)):
        return {"device": describe_device(catalogue.load_device(name))}
    try:
        return {"model": describe_model(catalogue.load_model(name), layers=True)}
    except InputError as error:
        if kind is None and catalogue.is_plain_name(name):
            raise InputError([*error.problems, *catalogue.unknown_device(name).problems]) from None
        raise


def describe_model(model: Model, *, layers: bool = False) -> dict[str, Any]:
    """Return what the catalogue knows of a model as plain values; ``layers``: its layer kinds too."""
    from shardproof.instances.layers import MixtureOfExperts

    mixtures = [
        layer.feed_forward for layer in model.kinds.values() if isinstance(layer.feed_forward, MixtureOfExperts)
    ]
    classes = (name for name in type(model.formats).model_fields if name != "exceptions")
    formats = {name: getattr(model.formats, name) for name in classes}
    formats |= dict(model.formats.exceptions)
    described: dict[str, Any] = {
        "name": model.name,
        "family": model.family,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "published_parameters": model.published_parameters,
        "extra_parameters": model.extra_parameters,
        "weight_bytes": _weight_bytes(model),
        "layers": model.layer_count,
        "hidden": model.hidden,
        "vocab": model.vocab,
        "max_position": model.max_position,
        "experts": mixtures[0].experts if mixtures else None,
        "topk": mixtures[0].topk if mixtures else None,
        "kv_bytes_per_token": _kv_bytes_per_token(model),
        "kv_dtype": model.kv_dtype,
        "formats": {name: stored.dtype for name, stored in formats.items()},
        "source": model.source,
        "notes": list(model.notes),
    }
    if layers:
        described["runs"] = [{"pattern": list(run.pattern), "repeat": run.repeat} for run in model.runs]
        described["kinds"] = {name: _described_kind(model, name) for name in model.kinds}
    return described


def _described_kind(model: Model, name: str) -> dict[str, Any]:
    layer = model.kinds[name]
    return {
        "layers": model.layer_kinds.count(name),
        "parameters": model.layer_parameters(name),
        "attention": layer.attention.model_dump(mode="json", exclude={"projections"}),
        "feed_forward": layer.feed_forward.model_dump(mode="json"),
    }


def describe_device(device: Device) -> dict[str, Any]:
    """Return what the catalogue knows of a device as plain values, rates and sizes in base units."""
    return {
        "name": device.name,
        "vendor": device.vendor,
        "architecture": device.architecture,
        "peak_flops": dict(device.peak_flops),
        "memory_bytes": device.memory,
        "visible_memory_bytes": device.visible_memory,
        "memory_bandwidth_bytes_per_s": device.memory_bandwidth,
        "mfu": float(device.mfu),
        "bandwidth_efficiency": float(device.bandwidth_efficiency),
        "devices_per_node": device.devices_per_node,
        "scale_up_bytes_per_s": device.scale_up.bandwidth,
        "scale_out_bytes_per_s": device.scale_out.bandwidth,
        "price_per_hour": None if device.price_per_hour is None else float(device.price_per_hour),
        "price_basis": None if device.price_basis is None else device.price_basis.model_dump(),
        "watts": device.watts,
        "engines": None if device.engines is None else list(device.engines),
        "source": device.source,
        "sources": dict(device.sources),
        "notes": list(device.notes),
    }


def _weight_bytes(model: Model) -> int:
    from shardproof.formulations.costs import memory
    from shardproof.instances.option import Option

    alone = Option(attn_tp=1, attn_dp=1, moe_tp=1, moe_ep=1)
    per_kind = {name: memory.layer_weight_bytes(model, layer, alone) for name, layer in model.kinds.items()}
    head = 0 if model.tied else memory.head_bytes(model, alone)
    return memory.embedding_bytes(model, alone) + head + sum(per_kind[name] for name in model.layer_kinds)


def _kv_bytes_per_token(model: Model) -> int:
    """KV cache of one more token while no window is full, all layers, bytes."""
    from shardproof.formulations.costs.memory import kv_bytes_per_request
    from shardproof.instances.layers import LinearAttention
    from shardproof.instances.option import Option

    alone = Option(attn_tp=1, attn_dp=1, moe_tp=1, moe_ep=1)
    per_kind = {
        name: 0 if isinstance(layer.attention, LinearAttention) else kv_bytes_per_request(model, layer, alone, 1)
        for name, layer in model.kinds.items()
    }
    return sum(per_kind[name] for name in model.layer_kinds)
