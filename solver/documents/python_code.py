"""Python code that starts an engine: ``LLM(...)``, engine arguments, Ray's ``LLMConfig``, commands as lists.

The code is parsed into a syntax tree (`ast`) and never run. Names count where they are assigned one constant;
whatever else a value is made of (calls, arguments of functions) stays unread.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from shardproof.solver.documents.commands import EngineCall, engine_of, field_of, read_call
from shardproof.solver.documents.forms.container import device_statement, requested
from shardproof.solver.documents.launch import Launch, launch_of_call
from shardproof.solver.documents.shell import Command, Word, read_script
from shardproof.solver.documents.statement import Entry, Statement

FORM = "Python code"
MAX_CALLS = 2_000
_CALLS = {
    "LLM": "", "AsyncLLM": "vllm", "EngineArgs": "vllm", "AsyncEngineArgs": "vllm", "AsyncLLMEngine": "vllm",
    "Engine": "sglang", "ServerArgs": "sglang", "LLMConfig": "vllm", "VLLM": "vllm",
    "vLLMEngineProcessorConfig": "vllm",
}  # fmt: skip
_MODULES = {"vllm": "vllm", "sglang": "sglang", "tensorrt_llm": "trtllm", "ray": "vllm"}
_Value = str | int | float | bool | None


@dataclass(frozen=True)
class _Names:
    """What the code says of names: constants, dictionaries, and the engine that a name was imported from."""

    values: dict[str, ast.expr]
    engines: dict[str, str]


def read_python(text: str, *, line: int = 1, sections: tuple[str, ...] = ()) -> list[Launch] | None:
    """Return the launches of a Python text; ``None`` where it is no Python.

    Lines that a notebook hands to the shell or to itself (``!``, ``%``) must have been taken out before.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names = _names(tree)
    shift = line - 1
    found: list[Launch] = []
    held: set[int] = set()
    for node in _nodes(tree):
        if isinstance(node, ast.Call) and (engine := _engine(node, names)):
            found.append(_call(node, engine, names, shift, sections))
        elif isinstance(node, ast.List | ast.Tuple) and id(node) not in held:
            held |= {id(part) for part in ast.walk(node)}
            found += _command(node, names, shift, sections)
        elif isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in held:
            held |= {id(part) for part in ast.walk(node)}
            found += _script(node, names, shift, sections)
    return [_with_accelerator(launch, tree, names, shift) for launch in found]


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes from the top down, a list before what it holds."""
    for count, node in enumerate(ast.walk(tree)):
        if count > 50 * MAX_CALLS:
            return
        yield node


def _names(tree: ast.AST) -> _Names:
    """Collect what names stand for; one that is assigned twice stands for nothing."""
    values: dict[str, ast.expr] = {}
    twice: set[str] = set()
    engines: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    twice |= {target.id} if target.id in values else set()
                    values[target.id] = node.value
        elif isinstance(node, ast.ImportFrom) and node.module:
            engine = _MODULES.get(node.module.split(".")[0], "")
            engines |= {alias.asname or alias.name: engine for alias in node.names if engine}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                engine = _MODULES.get(alias.name.split(".")[0], "")
                engines |= {alias.asname or alias.name.split(".")[0]: engine} if engine else {}
    return _Names({name: value for name, value in values.items() if name not in twice}, engines)


def _engine(node: ast.Call, names: _Names) -> str:
    """Return the engine that a call starts; empty where it starts none."""
    if isinstance(node.func, ast.Name):
        return _CALLS.get(node.func.id, "") or names.engines.get(node.func.id, "vllm") if node.func.id in _CALLS else ""
    if isinstance(node.func, ast.Attribute) and node.func.attr in _CALLS and isinstance(node.func.value, ast.Name):
        owner = names.engines.get(node.func.value.id, "")
        return owner or (_CALLS[node.func.attr] if node.func.attr != "Engine" else "")
    return ""


def _constant(node: ast.expr | None, names: _Names, depth: int = 0) -> _Value:
    """Return what an expression is worth without running it; ``None`` where that is not known."""
    if node is None or depth > 8:
        return None
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool):
        return node.value
    if isinstance(node, ast.Name):
        return _constant(names.values.get(node.id), names, depth + 1)
    if isinstance(node, ast.JoinedStr):
        parts = [_constant(part, names, depth + 1) for part in node.values]
        return None if any(part is None for part in parts) else "".join(map(str, parts))
    if isinstance(node, ast.FormattedValue):
        return _constant(node.value, names, depth + 1)
    if isinstance(node, ast.BinOp):
        return _arithmetic(node, names, depth)
    if isinstance(node, ast.Call):
        return _default(node, names, depth)
    return None


def _arithmetic(node: ast.BinOp, names: _Names, depth: int) -> _Value:
    left, right = _constant(node.left, names, depth + 1), _constant(node.right, names, depth + 1)
    if isinstance(left, str) and isinstance(right, str) and isinstance(node.op, ast.Add):
        return (left + right)[:20_000]
    if not isinstance(left, int) or not isinstance(right, int) or max(abs(left), abs(right)) > 10**9:
        return None
    if isinstance(node.op, ast.Mult):
        return left * right
    if isinstance(node.op, ast.Add):
        return left + right
    return left // right if isinstance(node.op, ast.FloorDiv) and right else None


def _default(node: ast.Call, names: _Names, depth: int) -> _Value:
    """``str(x)`` and ``int(x)`` are x; ``os.environ.get(NAME, default)`` is its default."""
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if name in ("str", "int", "float") and len(node.args) == 1:
        return _constant(node.args[0], names, depth + 1)
    if name in ("getenv", "get") and len(node.args) == 2:
        return _constant(node.args[1], names, depth + 1)
    return None


def _arguments(node: ast.Call | ast.Dict, names: _Names) -> Iterator[tuple[str, ast.expr]]:
    """Yield names and values of a call's keywords or a dictionary's entries, ``**`` of a known one included."""
    if isinstance(node, ast.Dict):
        pairs: list[tuple[str | None, ast.expr]] = [
            (str(key.value) if isinstance(key, ast.Constant) else None, value)
            for key, value in zip(node.keys, node.values, strict=True)
        ]
    else:
        pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
    for name, value in pairs:
        if name is not None:
            yield name, value
        else:
            below = names.values.get(value.id) if isinstance(value, ast.Name) else value
            if isinstance(below, ast.Dict) or (isinstance(below, ast.Call) and _is_dict(below)):
                yield from _arguments(below, names)


def _is_dict(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict"


def _call(node: ast.Call, engine: str, names: _Names, shift: int, sections: tuple[str, ...]) -> Launch:
    """Read a call's arguments as the engine's flags; nested settings (KV cache, Ray's parts) as their own."""
    fields: list[tuple[str, Entry]] = []
    unread: list[tuple[int, str]] = []
    extra: list[Statement] = []
    if node.args and isinstance(model := _constant(node.args[0], names), str):
        fields.append(("model", Entry(node.lineno + shift, f"model={model!r}"[:160], sections, "model", model)))
    waiting = list(_arguments(node, names))
    while waiting and len(fields) < 200:
        name, value = waiting.pop(0)
        line = value.lineno + shift
        if isinstance(value, ast.Name) and isinstance(names.values.get(value.id), ast.Dict | ast.Call):
            value = names.values[value.id]
        if isinstance(value, ast.Dict | ast.Call) and name in _NESTED:
            waiting += [(_NESTED_NAMES.get((name, key), key), below) for key, below in _arguments(value, names)]
            continue
        known = _constant(value, names)
        field = field_of(engine, _NESTED_NAMES.get(("", name), name))
        shown = known if known is not None else ast.unparse(value)[:80]
        if name == "accelerator_type" and isinstance(known, str):
            extra.append(device_statement(known.replace("-", " "), line, sections))
        elif field and known is not None:
            fields.append((field, Entry(line, f"{name}={shown!r}"[:160], sections, name, str(known))))
        else:
            unread.append((line, f"{name}={shown}"))
    text = f"{ast.unparse(node.func)}(...)"
    call = EngineCall(engine, node.lineno + shift, text, tuple(fields), tuple(unread))
    launch = launch_of_call(call, Command((), {}, {}), form=FORM, sections=sections)
    missing = any(field_of(engine, text.partition("=")[0]) for _, text in unread)
    return replace(launch, statements=(*launch.statements, *extra), open=launch.open or missing)


_NESTED = frozenset({
    "kv_cache_config", "engine_kwargs", "model_loading_config", "moe_config", "quant_config", "engine_args",
})  # fmt: skip
_NESTED_NAMES = {
    ("model_loading_config", "model_source"): "model",
    ("model_loading_config", "model_id"): "served_model_name",
    ("", "quantization_config"): "quantization",
}


def _command(node: ast.List | ast.Tuple, names: _Names, shift: int, sections: tuple[str, ...]) -> list[Launch]:
    """A command as a list of words: ``["vllm", "serve", MODEL, "--tensor-parallel-size", str(N)]``."""
    words = []
    for part in node.elts[:400]:
        value = _constant(part, names)
        words.append(Word("$" if value is None else str(value), part.lineno + shift))
    if not engine_of(" ".join(word.text for word in words)):
        return []
    command = Command(tuple(words), {}, {})
    call = read_call(command, sections=sections)
    return [] if call is None else [launch_of_call(call, command, form=FORM, sections=sections)]


def _script(node: ast.Constant | ast.JoinedStr, names: _Names, shift: int, sections: tuple[str, ...]) -> list[Launch]:
    """A command in one text, as it is handed to a shell."""
    value = _constant(node, names)
    if not isinstance(value, str) or len(value) > 20_000 or not engine_of(value):
        return []
    if not re.match(r"^\s*(?:[A-Z_]+=\S+ |exec |nohup |python3? |vllm |trtllm|sglang |docker |#!)", value):
        return []
    found = []
    for command in read_script(value, line=node.lineno + shift).commands:
        call = read_call(command, sections=sections)
        if call is not None and len(command.words) > 3:
            found.append(launch_of_call(call, command, form=FORM, sections=sections))
    return found


def _with_accelerator(launch: Launch, tree: ast.AST, names: _Names, shift: int) -> Launch:
    """``gpu="H100:8"`` of a decorator, as serverless platforms take it, is the device and the GPUs of the launch."""
    if launch.has("device"):
        return launch
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "gpu":
            value = _constant(node.value, names)
            match = re.fullmatch(r"([A-Z]{1,3}\d{1,4}[A-Z]?(?:-\d+GB)?)(?:!)?(?::(\d{1,2}))?", str(value))
            if match:
                line = node.value.lineno + shift
                count = int(match[2] or 1)
                added = (
                    device_statement(match[1].replace("-", " "), line, launch.sections),
                    requested(count, line, f"gpu={value!r}", launch.sections),
                )
                return replace(launch, statements=(*launch.statements, *added))
    return launch
