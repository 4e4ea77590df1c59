"""Dockerfiles: what each stage's ENTRYPOINT and CMD start, with the variables of ENV and ARG.

Source: the Dockerfile reference: the exec form (a JSON list) starts its words as they stand, the shell form runs a
script; CMD gives the arguments of an ENTRYPOINT in exec form; a stage built ``FROM`` another has its settings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from shardproof.solver.documents.commands import engine_of_image, read_call
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.launch import Launch, launch_of_call, of_image
from shardproof.solver.documents.shell import Command, Word, expand, read_script, split

FORM = "Dockerfile"
_INSTRUCTION = re.compile(r"^\s*([A-Za-z]+)\s+(.*)$", re.S)


@dataclass(frozen=True)
class Stage:
    """One stage: its base image, variables, and the texts of ENTRYPOINT and CMD with their lines."""

    image: str = ""
    name: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    entry: tuple[int, str] | None = None
    arguments: tuple[int, str] | None = None
    own: bool = False


def is_dockerfile(name: str) -> bool:
    """Whether a file is called as Dockerfiles are."""
    plain = name.lower()
    return bool(re.fullmatch(r"(?:dockerfile|containerfile)(?:[.-].+)?", plain)) or plain.endswith(".dockerfile")


def launches_of_dockerfile(text: str, known: Known) -> list[Launch]:
    """Return the engine starts of every stage that starts something."""
    found = []
    for stage in _stages(text):
        for command in _commands(stage, known) if stage.own else ():
            call = read_call(command)
            if call is None and engine_of_image(stage.image) and command.words[0].text.startswith("-"):
                head = (Word("vllm", command.line), Word("serve", command.line))
                call = read_call(replace(command, words=head + command.words))
            if call is not None and call.fields:
                found.append(of_image(launch_of_call(call, command, form=FORM), stage.image, command.line))
    return found


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, instruction, rest) with its continued lines, comments among them made empty ones."""
    lines = text.split("\n")
    place = 0
    while place < len(lines):
        first, held = place, list[str]()
        while place < len(lines):
            line = lines[place]
            place += 1
            is_comment = line.lstrip().startswith("#")
            held.append("\\" if is_comment and held else "" if is_comment else line.rstrip())
            if not is_comment and not line.rstrip().endswith("\\"):
                break
        match = _INSTRUCTION.match("\n".join(held))
        if match:
            yield first + 1, match[1].upper(), match[2].strip()


def _stages(text: str) -> list[Stage]:
    stages: list[Stage] = []
    shared: dict[str, str] = {}
    for line, name, rest in _instructions(text):
        if name == "FROM":
            stages.append(_started(expand(_joined(rest), shared), stages, shared))
        elif not stages:
            shared |= _variables(name, rest, shared)
        else:
            stages[-1] = _with(stages[-1], line, name, rest)
    return stages


def _started(rest: str, stages: list[Stage], shared: dict[str, str]) -> Stage:
    words = [word for word in rest.split() if not word.startswith("--")]
    image = words[0] if words else ""
    name = words[2] if len(words) > 2 and words[1].lower() == "as" else ""
    below = next((stage for stage in stages if stage.name and stage.name == image), None)
    if below is not None:
        return replace(below, name=name, own=False)
    return Stage(image, name, dict(shared))


def _with(stage: Stage, line: int, name: str, rest: str) -> Stage:
    if name == "ENTRYPOINT":
        return replace(stage, entry=(line, rest), arguments=None if not stage.own else stage.arguments, own=True)
    if name == "CMD":
        return replace(stage, arguments=(line, rest), own=True)
    return replace(stage, variables=stage.variables | _variables(name, rest, stage.variables))


def _joined(text: str) -> str:
    return text.replace("\\\n", " ")


def _variables(name: str, rest: str, known: dict[str, str]) -> dict[str, str]:
    if name not in ("ENV", "ARG"):
        return {}
    rest = _joined(rest)
    pairs = [word.partition("=") for word in split(rest)]
    if name == "ENV" and not any(equals for _, equals, _ in pairs):  # the old form: ENV NAME the rest of the line
        key, _, value = rest.partition(" ")
        return {key: expand(value.strip(), known)}
    return {key: expand(value, known) for key, equals, value in pairs if equals}


def _commands(stage: Stage, known: Known) -> list[Command]:
    environment = known.variables | stage.variables
    entry, arguments = _exec(stage.entry), _exec(stage.arguments)
    if stage.entry is not None and entry is None:
        return _script(stage.entry, environment, known)
    if entry is None and arguments is None and stage.arguments is not None:
        return _script(stage.arguments, environment, known)
    if arguments is None and stage.arguments is not None:
        line, text = stage.arguments
        arguments = [Word(word, line) for word in split(expand(_joined(text), environment))]
    words = [*(entry or ()), *(arguments or ())]
    if len(words) > 2 and re.search(r"(?:^|/)(?:ba|da|z)?sh$", words[0].text) and words[1].text in ("-c", "-lc"):
        return _script((words[2].line, words[2].text), environment, known)
    return [Command(tuple(words), environment, known.files)] if words else []


def _script(held: tuple[int, str], environment: dict[str, str], known: Known) -> list[Command]:
    line, text = held
    return list(read_script(text, line=line, environment=environment, files=known.files).commands)


def _exec(held: tuple[int, str] | None) -> list[Word] | None:
    """The words of an exec form; ``None`` for the shell form."""
    if held is None:
        return None
    line, text = held
    try:
        found = json.loads(_joined(text))
    except (ValueError, RecursionError):
        return None
    return [Word(str(word), line) for word in found] if isinstance(found, list) else None
