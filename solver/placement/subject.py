"""What is to be placed: how many experts, in which layers of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shardproof.instances.layers import MixtureOfExperts
from shardproof.instances.load_profile.profile import LoadProfile
from shardproof.instances.model import Model
from shardproof.instances.reading import refuse


@dataclass(frozen=True)
class Subject:
    """Experts per layer (``None``: what the profile has), the layers' numbers, and all layers of the model."""

    experts: int | None
    layer_numbers: tuple[int, ...] | None
    layer_count: int | None
    profile: LoadProfile | str | None = None

    @property
    def layers(self) -> int | None:
        """Number of mixture-of-experts layers."""
        return None if self.layer_numbers is None else len(self.layer_numbers)


def subject_of_model(model: Model, *, profile: LoadProfile | str | None = None) -> Subject:
    """Find a model's mixture-of-experts layers; refuses a model without any, or with unlike ones."""
    numbers, widths = [], set()
    for number, kind in enumerate(model.layer_kinds):
        ffn = model.kinds[kind].feed_forward
        if isinstance(ffn, MixtureOfExperts):
            numbers.append(number)
            widths.add(ffn.experts)
    if len(widths) != 1:
        found = ", ".join(map(str, sorted(widths))) or "none"
        remedy = "placement needs mixture-of-experts layers of one width"
        raise refuse(model.name, remedy, field="experts", value=found)
    return Subject(widths.pop(), tuple(numbers), model.layer_count, profile)


def find_subject(*, instance: Path | None, model: str | None, experts: int | None, layers: int | None) -> Subject:
    """Take the subject from an instance file, a catalogue model, or plain numbers."""
    if instance is not None:
        from shardproof.instances.resolve import load_instance

        loaded = load_instance(instance)
        return subject_of_model(loaded.model, profile=loaded.load_profile)
    if model is not None:
        from shardproof.instances.catalogue import load_model

        return subject_of_model(load_model(model))
    return Subject(experts, None if layers is None else tuple(range(layers)), layers)
