"""What engines are told of speculative decoding, each in its own words.

Sources: vLLM docs/features/speculative_decoding (``--speculative-config``); SGLang arg_groups/speculative_hook.py
(NEXTN is its name of the model's own modules; a chain of k guesses is verified as k + 1 tokens); TensorRT-LLM
docs/source/features/speculative-decoding.md (``speculative_config`` of the options file).
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from shardproof.instances.catalogue import published_name
from shardproof.instances.instance import Instance
from shardproof.instances.speculative import Speculation

LOOKED_UP = 4
"""Tokens that a guess of ``ngram`` matches before it, at most, where an engine asks for them."""

VLLM = {"mtp": "mtp", "eagle": "eagle", "eagle3": "eagle3", "draft": "draft_model", "ngram": "ngram"}
SGLANG = {"mtp": "NEXTN", "eagle": "EAGLE", "eagle3": "EAGLE3", "draft": "STANDALONE", "ngram": "NGRAM"}
TRTLLM = {"mtp": "MTP", "eagle": "Eagle", "eagle3": "Eagle", "draft": "DraftTarget", "ngram": "NGram"}
"""TensorRT-LLM's ``Eagle`` is EAGLE-3 in every version: newer ones call it so as well."""

UNNAMED = "your/head-that-guesses"
"""What stands where a head that guesses has no name."""


def draft_name(speculation: Speculation) -> str | None:
    """Return the id or path of what guesses, as an engine is told it (``None``: it needs none)."""
    if speculation.method in ("mtp", "ngram"):
        return None
    named = speculation.draft_name
    if named is None:
        return UNNAMED
    path = Path(named)
    return str(path.parent) if path.name == "config.json" else published_name(named)


def vllm_words(instance: Instance) -> list[str]:
    """Return vLLM's flag."""
    speculation = instance.speculative
    if speculation is None:
        return []
    told: dict[str, Any] = {"method": VLLM[speculation.method], "num_speculative_tokens": speculation.guesses}
    named = draft_name(speculation)
    told |= {} if named is None else {"model": named}
    told |= {"prompt_lookup_max": LOOKED_UP} if speculation.method == "ngram" else {}
    return [f"--speculative-config {shlex.quote(json.dumps(told))}"]


def sglang_words(instance: Instance) -> list[str]:
    """Return SGLang's flags."""
    speculation = instance.speculative
    if speculation is None:
        return []
    words = [f"--speculative-algorithm {SGLANG[speculation.method]}"]
    if speculation.method != "ngram":
        words += [f"--speculative-num-steps {speculation.guesses}", "--speculative-eagle-topk 1"]
    words.append(f"--speculative-num-draft-tokens {speculation.verified}")
    named = draft_name(speculation)
    return words if named is None else [*words, f"--speculative-draft-model-path {shlex.quote(named)}"]


def trtllm_lines(instance: Instance) -> list[str]:
    """Return lines of TensorRT-LLM's options file."""
    speculation = instance.speculative
    if speculation is None:
        return []
    told = [f"decoding_type: {TRTLLM[speculation.method]}", f"max_draft_len: {speculation.guesses}"]
    if speculation.method == "mtp":
        told.append(f"num_nextn_predict_layers: {speculation.guesses}")
    if speculation.method == "ngram":
        told.append(f"max_matching_ngram_size: {LOOKED_UP}")
    named = draft_name(speculation)
    told += [] if named is None else [f"speculative_model_dir: {named}"]
    lines = [f"speculative_config: {{{', '.join(told)}}}"]
    return [*lines, "disable_overlap_scheduler: true"] if speculation.method in ("draft", "ngram") else lines
