"""Fenced blocks: what each is (commands, code, a manifest, a log, plain text), and the launches in it.

Log lines, code and measured results are no claims about a plan; they are named as what they are and left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from shardproof.instances.errors import InputError
from shardproof.solver.documents.commands import engine_of, read_call
from shardproof.solver.documents.forms import read_forms
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.forms.trtllm_options import TELLING
from shardproof.solver.documents.launch import Launch, launch_of_call, options_of
from shardproof.solver.documents.markdown import Block
from shardproof.solver.documents.python_code import read_python
from shardproof.solver.documents.shell import Script, read_script
from shardproof.solver.documents.statement import Entry, ReadLine
from shardproof.solver.documents.text import printable
from shardproof.solver.documents.tree import Node, read_tree
from shardproof.solver.documents.values import make
from shardproof.solver.documents.variables import (
    launch_of_variables,
    looks_like_unit,
    looks_like_variables,
    read_variables,
    script_of_unit,
)

SHELL = frozenset({
    "bash", "sh", "shell", "console", "zsh", "fish", "terminal", "shell-session", "shellsession", "cmd", "powershell",
    "ksh",
})  # fmt: skip
PYTHON = frozenset(["python", "py", "python3", "ipython", "pycon"])
TREES = frozenset(["yaml", "yml", "json", "jsonc", "json5"])
TEXTS = frozenset(("", "text", "txt", "plaintext", "plain", "markdown", "md", "conf"))
LOG = re.compile(
    r"^\s*(?:\(?\w+(?: pid=\d+|_\w+ pid=\d+)[^)]*\)|\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\[?\d\d:\d\d:\d\d|[IWEF]\d{4} "
    r"|(?:INFO|WARNING|WARN|ERROR|DEBUG|CRITICAL|Traceback|RuntimeError|ValueError)\b(?::|\s))"
)
_RESULT = re.compile(r"={6,}.*(?:result|benchmark)|^\|\s*Tasks\s*\|", re.I | re.M)
_CODE = re.compile(
    r"^\s*(?:from \w[\w.]* import |import \w|def \w+\(|class \w+|print\(|return\b|\w+ = \w[\w.]*\(|[{}\[\]]+,?$)"
)

_PROMPT = re.compile(r"^(\s*)(?:\$|>|PS [^>]*>|#(?= ?(?:vllm|python3?|docker|sglang|trtllm)\b))\s+", re.M)


@dataclass(frozen=True)
class Found:
    """What a block holds: launches, what its lines were read as, and whether it is plain text of the page."""

    launches: tuple[Launch, ...] = ()
    lines: tuple[ReadLine, ...] = ()
    text: bool = False
    comments: str = ""


def read_block(block: Block, known: Known) -> Found:
    """Return what a block holds."""
    known = replace(known, sections=block.sections)
    kind = kind_of(block)
    if kind == "shell":
        return _shell(block, known)
    if kind == "python":
        return _python(block)
    if kind == "tree":
        return _tree(block, known)
    if kind == "variables":
        launch = launch_of_variables(read_variables(block.text), sections=block.sections)
        moved = () if launch is None else (shifted(launch, block.line - 1),)
        return Found(moved, (_whole(block, "variables of the environment"),))
    if kind == "unit":
        script, environment = script_of_unit(block.text, {})
        return Found(
            _launches(read_script(script, line=block.line, environment=environment), block.sections, "systemd unit")
        )
    if kind == "text":
        return Found(text=True)
    return Found(lines=(_whole(block, kind),))


def kind_of(block: Block) -> str:
    """Name what a block is, by its language and then by its content."""
    language, text = block.language, block.text
    if _RESULT.search(text):
        return "measured result, no claim about the plan"
    if language in SHELL:
        return "shell"
    if language in PYTHON:
        return "python"
    if language in TREES:
        return "tree"
    if looks_like_unit(text):
        return "unit"
    if language in ("env", "dotenv", "properties") or (language in TEXTS and looks_like_variables(text)):
        return "variables"
    return _by_content(text) if language in TEXTS else f"code ({language}), no claim about the plan"


def _by_content(text: str) -> str:
    lines = [line for line in text.split("\n") if line.strip()]
    logs = sum(bool(LOG.match(line)) for line in lines)
    if lines and 2 * logs >= len(lines):
        return "log, no claim about the plan"
    if re.search(r"^(?:apiVersion|services|kind):", text, re.M):
        return "tree"
    if sum(bool(_CODE.match(line)) for line in lines) * 2 > len(lines) or re.search(r"^(?:from|import) \w", text, re.M):
        return "python"
    if engine_of(text) or re.search(r"\bdocker run\b", text):
        return "shell"
    return "text"


def _whole(block: Block, said: str) -> ReadLine:
    first = next((line for line in block.text.split("\n") if line.strip()), "")
    return ReadLine(block.line, printable(first), said)


def _shell(block: Block, known: Known) -> Found:
    text = _PROMPT.sub(r"\1", block.text)
    script = read_script(text, line=block.line, environment=known.variables, files=known.files)
    launches = _launches(script, block.sections, "engine command")
    launches += _options_alone(script, block, launches)
    comments = "\n".join(word.text for word in script.comments)
    said = () if launches else (_whole(block, "shell commands that start no engine"),)
    return Found(launches, said, comments=comments)


def _launches(script: Script, sections: tuple[str, ...], form: str) -> tuple[Launch, ...]:
    """The engine starts of a script; one that has neither model nor flags is a mention."""
    found = []
    for command in script.commands:
        call = read_call(command, sections=sections)
        if call is not None and call.fields and not re.search(r"\b(?:pip|uv|apt|brew|conda) ", call.text):
            found.append(launch_of_call(call, command, form=form, sections=sections))
    return tuple(found)


def _options_alone(script: Script, block: Block, launches: tuple[Launch, ...]) -> tuple[Launch, ...]:
    """TensorRT-LLM options that a here-document writes and no command of the block asks for."""
    used = any(launch.engine == "trtllm" for launch in launches)
    found = []
    for name, (text, line) in script.files.items():
        if used or not name.endswith((".yaml", ".yml")):
            continue
        try:
            trees = read_tree(text, name=name)
        except InputError:
            continue
        for tree in trees:
            if len(TELLING & {key for key, _ in tree.pairs()}) >= 2:
                found.append(options_launch(tree, block.sections, line - 1, name))
    return tuple(found)


def options_launch(tree: Node, sections: tuple[str, ...], shift: int, name: str) -> Launch:
    """A file of TensorRT-LLM options as a launch; the command that reads it stands elsewhere."""
    line = tree.line + shift
    about = Entry(line, name, sections, "", name)
    statements = (make(about, "engine", "trtllm", "engine"), *options_of("trtllm", tree, sections, shift=shift))
    return Launch("trtllm", "TensorRT-LLM options", line, name, statements, sections=sections, open=True)


def _python(block: Block) -> Found:
    lines = [re.sub(r"^\s*(?:>>>|\.\.\.) ?", "", line) for line in block.text.split("\n")]
    launches = read_python("\n".join(lines), line=block.line, sections=block.sections)
    if launches is None and engine_of(block.text):
        script = read_script(block.text, line=block.line)
        launches = list(_launches(script, block.sections, "engine command"))
    said = () if launches else (_whole(block, "code (python), no claim about the plan"),)
    return Found(tuple(launches or ()), said)


def _tree(block: Block, known: Known) -> Found:
    try:
        trees = read_tree(block.text, name="block")
    except InputError:
        return Found(lines=(_whole(block, "code, no claim about the plan"),))
    found = read_forms(trees, known)
    if found is not None:
        launches = tuple(shifted(launch, block.line - 1) for launch in found[0])
        lines = tuple(ReadLine(line + block.line - 1, "", form) for line, form in found[1])
        return Found(launches, lines)
    for tree in trees:
        if len(TELLING & {key for key, _ in tree.pairs()}) >= 2:
            return Found((options_launch(tree, block.sections, block.line - 1, "options"),))
    return Found(lines=(_whole(block, "code, no claim about the plan"),))


def shifted(launch: Launch, shift: int) -> Launch:
    """Move a launch that was read from a part of a text to the part's place."""
    return replace(
        launch,
        line=launch.line + shift,
        statements=tuple(replace(item, line=item.line + shift) for item in launch.statements),
        unread=tuple(replace(item, line=item.line + shift) for item in launch.unread),
    )
