"""The engine's arguments in every exported file, as the engine will see them once variables are filled in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

PROGRAMS = {
    "vllm": (["vllm", "serve"], ["-m", "dynamo.vllm"]),
    "sglang": (["-m", "sglang.launch_server"], ["-m", "dynamo.sglang"]),
}
_OWN = {"dynamo.vllm": ("--disaggregation-mode",)}
_VARIABLE = re.compile(r"\$\(\(.*?\)\)|\$\{?[A-Z_]+\}?")
_CHART = {
    "tensorParallelSize": "--tensor-parallel-size",
    "maxModelLen": "--max-model-len",
    "maxNumSeqs": "--max-num-seqs",
    "gpuMemoryUtilization": "--gpu-memory-utilization",
}


def lines(files: Mapping[str, str], engine: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (file, arguments of the engine) for every start in exported files."""
    for name, text in files.items():
        found: Iterator[list[str]] = iter(())
        if name.endswith(".sh"):
            found = (shlex.split(line) for line in text.splitlines() if line.startswith("exec "))
        elif name.endswith(".yaml") and not name.endswith("config.yaml"):
            found = (words for tree in yaml.safe_load_all(text) for words in _starts(tree))
        for words in found:
            arguments = _after(words, engine)
            if arguments is not None:
                yield name, arguments


def _after(words: list[str], engine: str) -> list[str] | None:
    for program in PROGRAMS.get(engine, ()):
        for place in range(len(words) - len(program) + 1):
            if words[place : place + len(program)] == program:
                rest = [word for word in words[place + len(program) :] if word not in ("$@", "$others")]
                return [_VARIABLE.sub("1", word) for word in _without(rest, _OWN.get(program[-1], ()))]
    return None


def _without(words: list[str], flags: tuple[str, ...]) -> list[str]:
    """Leave out flags with their values: those of a launcher around the engine."""
    found = list(words)
    for flag in flags:
        if flag in found:
            place = found.index(flag)
            del found[place : place + 2]
    return found


def _starts(tree: Any) -> Iterator[list[str]]:
    if isinstance(tree, list):
        for value in tree:
            yield from _starts(value)
    if not isinstance(tree, dict):
        return
    words = [*_words(tree.get("entrypoint")), *_words(tree.get("command")), *_words(tree.get("args"))]
    if words[:2] == ["/bin/bash", "-c"]:
        script = re.sub(r"\$\(\(.*?\)\)", "1", words[2])
        words = shlex.split(script[script.index("exec ") :])
    if words:
        yield words
    if "engine_kwargs" in tree:
        yield ["vllm", "serve", tree["model_loading_config"]["model_source"], *_flags(tree["engine_kwargs"])]
    if "vllmConfig" in tree:
        config = tree["vllmConfig"]
        fields = [word for key, flag in _CHART.items() if key in config for word in (flag, str(config[key]))]
        yield ["vllm", "serve", tree["modelURL"], *fields, *config.get("extraArgs", [])]
    if isinstance(tree.get("serveConfigV2"), str):
        yield from _starts(yaml.safe_load(tree["serveConfigV2"]))
    for value in tree.values():
        yield from _starts(value)


def _words(value: Any) -> list[str]:
    return [str(word) for word in value] if isinstance(value, list) else []


def _flags(arguments: Mapping[str, Any]) -> list[str]:
    found = []
    for key, value in arguments.items():
        flag = "--" + key.replace("_", "-")
        found += [flag] if value is True else [flag, str(value)]
    return found
