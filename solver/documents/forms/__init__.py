"""Deployment forms: one module per form, each with ``read(tree, known)``; the list below is all of them.

A form's reader gets one parsed YAML document and what the other documents of the same text hold (files of
ConfigMaps, variables of an ``.env``), and returns the launches in it, or ``None`` where it is no such form.
"""

from __future__ import annotations

from collections.abc import Callable

from shardproof.solver.documents.forms import (
    compose,
    dynamo,
    helm,
    kserve,
    kubernetes,
    llm_service,
    ray_serve,
    trtllm_options,
)
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.launch import Launch
from shardproof.solver.documents.tree import Node

FORMS: tuple[tuple[str, Callable[[Node, Known], list[Launch] | None]], ...] = (
    ("Dynamo", dynamo.read),
    ("KServe InferenceService", kserve.read),
    ("KServe LLMInferenceService", llm_service.read),
    ("Ray Serve", ray_serve.read),
    ("Kubernetes", kubernetes.read),
    ("Helm values", helm.read),
    ("Compose", compose.read),
    ("ConfigMap", trtllm_options.read),
)
"""In the order in which they are tried; a document is of the first form that knows it."""


def read_forms(trees: tuple[Node, ...], known: Known) -> tuple[list[Launch], list[tuple[int, str]]] | None:
    """Return launches of all documents and (line, form) of each; ``None`` where no form knows any of them."""
    shared = known.with_files(trees)
    launches: list[Launch] = []
    places: list[tuple[int, str]] = []
    for tree in trees:
        for name, read in FORMS:
            found = read(tree, shared)
            if found is not None:
                launches += found
                kind = tree.text("kind")
                places.append((tree.line, f"{name}: {kind}" if kind and kind not in name else name))
                break
    return (_without_used_files(launches), places) if places else None


def _without_used_files(launches: list[Launch]) -> list[Launch]:
    """Drop the options of a ConfigMap where a workload of the same text starts its engine with them."""
    texts = [launch.text for launch in launches if not launch.name or launch.form != trtllm_options.FORM]
    return [
        launch
        for launch in launches
        if launch.form != trtllm_options.FORM or not any(launch.name in text for text in texts)
    ]
