"""Variables that stand in files of their own: ``.env`` files, and the settings of systemd units."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from shardproof.solver.documents.commands import EngineCall, field_of, read_flags
from shardproof.solver.documents.launch import Launch, launch_of_call
from shardproof.solver.documents.shell import Command, Word, expand, read_script, split
from shardproof.solver.documents.statement import Entry

_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$")
_NAMES = {
    "model": "model", "model_name": "model", "model_id": "model", "model_path": "model", "hf_model": "model",
    "hf_model_id": "model", "llm_model": "model", "model_repo": "model", "served_model": "model",
    "tp": "tensor-parallel-size", "tp_size": "tensor-parallel-size", "tensor_parallelism": "tensor-parallel-size",
    "tensor_parallel": "tensor-parallel-size", "pp": "pipeline-parallel-size", "pp_size": "pipeline-parallel-size",
    "pipeline_parallelism": "pipeline-parallel-size", "dp": "data-parallel-size", "dp_size": "data-parallel-size",
    "gpu_memory_util": "gpu-memory-utilization", "max_seq_len": "max-model-len", "max_context_len": "max-model-len",
    "context_length": "max-model-len",
}  # fmt: skip
_ARGUMENTS = re.compile(r"(?:^|_)(?:ARGS|ARGUMENTS|FLAGS|OPTIONS|OPTS|EXTRA|COMMAND|CMD)$")
_PREFIX = re.compile(r"^(?:VLLM|SGLANG|SGL|TRTLLM|TRT_LLM|LLM|ENGINE|SERVER)_")


@dataclass(frozen=True)
class Variables:
    """Names with their values and lines."""

    values: dict[str, str]
    lines: dict[str, int]


def read_variables(text: str) -> Variables:
    """Read ``NAME=value`` lines; comments and quotes are taken off, known names put in."""
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        match = _LINE.match(line)
        if match is None or line.lstrip().startswith("#"):
            continue
        value = match[2]
        if value[:1] in ("'", '"') and value[:1] in value[1:]:
            value = value[1 : value.index(value[0], 1)]
        else:
            value = re.sub(r"\s+#.*$", "", value)
        values[match[1]] = expand(value, values)
        lines[match[1]] = number
    return Variables(values, lines)


def looks_like_variables(text: str) -> bool:
    """Whether every line that says something is ``NAME=value``."""
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    upper = [line for line in lines if re.match(r"^\s*(?:export\s+)?[A-Z][A-Z0-9_]*=", line)]
    return len(lines) >= 2 and len(upper) == len(lines)


def launch_of_variables(found: Variables, *, sections: tuple[str, ...] = ()) -> Launch | None:
    """Return the launch that variables describe; ``None`` where they name no model or no degree."""
    engine = _engine(found)
    fields: list[tuple[str, Entry]] = []
    unread: list[tuple[int, str]] = []
    for name, value in found.values.items():
        line, text = found.lines[name], f"{name}={value}"
        bare = _PREFIX.sub("", name).lower()
        if _ARGUMENTS.search(name) and value.lstrip().startswith("-"):
            flags, missed = read_flags(engine, [Word(part, line) for part in split(value)], sections=sections)
            fields, unread = fields + flags, unread + missed
            continue
        field = field_of(engine, _NAMES.get(bare, bare)) if value else ""
        if name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES") and re.fullmatch(r"\d+(?:,\d+)*", value):
            fields.append(("visible_gpus", Entry(line, text, sections, name, str(value.count(",") + 1))))
        elif field:
            fields.append((field, Entry(line, text[:160], sections, name, value)))
        else:
            unread.append((line, text))
    if not any(field == "model" for field, _ in fields):
        return None
    if len({field for field, _ in fields}) < 2:
        return None
    first = min(entry.line for _, entry in fields)
    call = EngineCall(engine, first, "variables of the engine", tuple(fields), tuple(unread))
    command = Command((), found.values, {})
    return replace(launch_of_call(call, command, form="environment file", sections=sections), open=True)


def _engine(found: Variables) -> str:
    names = " ".join(found.values).upper() + " " + " ".join(found.values.values()).lower()
    if "SGLANG" in names or "SGL_" in names or "sglang" in names:
        return "sglang"
    return "trtllm" if "TRTLLM" in names or "tensorrt" in names or "trtllm" in names else "vllm"


def looks_like_unit(text: str) -> bool:
    """Whether a text is a systemd unit that starts something."""
    return bool(re.search(r"^\[Service\]", text, re.M) and re.search(r"^ExecStart=", text, re.M))


def script_of_unit(text: str, files: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Return a unit's start as a script with its lines in place, and its variables.

    ``files``: texts of environment files by name. Specifiers (``%i``) stay as they are.
    """
    environment: dict[str, str] = {}
    lines: list[str] = []
    starting = False
    for line in text.split("\n"):
        match = re.match(r"^(Environment|EnvironmentFile|ExecStart)=(.*)$", line)
        if match and match[1] == "Environment":
            pairs = [part.partition("=") for part in split(match[2])]
            environment |= {name: value for name, equals, value in pairs if equals}
        elif match and match[1] == "EnvironmentFile":
            name = match[2].lstrip("-").rpartition("/")[2]
            environment |= read_variables(files.get(name, "")).values
        if match and match[1] == "ExecStart":
            starting = True
            lines.append(match[2].lstrip("@-:+!"))
        else:
            lines.append(line if starting else "")
        starting = starting and line.rstrip().endswith("\\")
    return "\n".join(lines), environment


__all__ = ["Variables", "launch_of_variables", "looks_like_unit", "looks_like_variables", "read_script",
           "read_variables", "script_of_unit"]  # fmt: skip
