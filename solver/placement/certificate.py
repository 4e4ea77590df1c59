"""The certificate of a placement: loads, slots, what is claimed, and why nothing is lighter."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from shardproof.formulations.placement.bounds import LowerBound
from shardproof.formulations.placement.free_split import split_freely
from shardproof.instances.writing import write_whole
from shardproof.solver.placement.result import LayerPlacement, PlacementResult

KIND = "shardproof-placement"
VERSION = 1


def certificate(result: PlacementResult) -> dict[str, Any]:
    """Return the certificate as a JSON document; fractions are written ``numerator/denominator``."""
    rules = result.rules
    return {
        "kind": KIND,
        "version": VERSION,
        "ranks": rules.ranks,
        "replicas": result.layers[0].problem.filled,
        "slots_per_rank": result.layers[0].problem.width,
        "split": rules.split,
        "distinct": rules.distinct,
        "groups": rules.groups if rules.grouped else None,
        "nodes": rules.nodes if rules.grouped else 1,
        "denominator": result.denominator,
        "layers": [_layer(found) for found in result.layers],
    }


def write_certificate(result: PlacementResult, path: Path) -> None:
    """Write the certificate as one JSON file."""
    write_whole(path, json.dumps(certificate(result)) + "\n")


def _layer(found: LayerPlacement) -> dict[str, Any]:
    row: dict[str, Any] = {
        "layer": found.layer,
        "loads": [list(loads) for loads in found.problem.loads],
        "slots": [list(held) for held in found.slots],
        "max_load": _text(found.max_load),
        "bound": _bound(found.bound),
    }
    if found.problem.split == "free":
        splits = [split_freely(loads, found.slots) for loads in found.problem.loads]
        row["shares"] = [
            [[[expert, _text(share)] for expert, share in rank] for rank in split.shares] for split in splits
        ]
    return row


def _bound(bound: LowerBound) -> dict[str, Any]:
    """Return a bound; a price holds for its cell and those after it, up to the next one listed."""
    row: dict[str, Any] = {
        "value": _text(bound.value),
        "argument": bound.argument,
        "profile": bound.profile,
    }
    if bound.prices is not None:
        prices = bound.prices.prices
        priced = [[k, price] for k, price in enumerate(prices) if price != (prices[k - 1] if k else 0)]
        row["prices"] = {
            "cells": bound.prices.cells,
            "slot_price": bound.prices.slot_price,
            "prices": priced,
        }
    return row


def _text(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"
