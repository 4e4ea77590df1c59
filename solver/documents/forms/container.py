"""Containers: command, arguments, variables and GPUs of a pod's container, read as a launch."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from shardproof.solver.documents.commands import engine_of_image, read_call
from shardproof.solver.documents.forms.accelerators import device_of_pod, gpus_of_resources
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.launch import Launch, launch_of_call, of_image
from shardproof.solver.documents.shell import Command, Word, expand, read_script, script_word, split
from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.text import printable
from shardproof.solver.documents.tree import Node
from shardproof.solver.documents.values import make

_SHELL = re.compile(r"(?:^|/)(?:ba|z|da|a)?sh$")


@dataclass(frozen=True)
class Group:
    """Pods that serve one copy together, and copies: ``pods`` 1 and ``replicas`` ``None`` where nothing says.

    ``open``: how many pods make one copy is not known here.
    """

    form: str
    pods: int = 1
    replicas: int | None = None
    replicas_line: int = 0
    other_gpus: int = 0
    open: bool = False


def count_of(node: Node | None) -> int | None:
    """Return a scalar as a count; ``None`` where it is none."""
    text = (node.scalar or "").strip() if node is not None else ""
    return int(text) if text.isdigit() and len(text) < 7 else None


def variables_of(container: Node, known: Known) -> dict[str, str]:
    """Return the variables of a container, those that stand in other places left out."""
    found = dict(known.variables)
    for item in container.each("env"):
        value = item.get("value")
        if value is not None and value.scalar is not None:
            found[item.text("name")] = expand(value.scalar, found)
    return found


def words_of(node: Node | None) -> list[Word]:
    """Return a command or arguments as words; one text is split as a shell does."""
    if node is None:
        return []
    if node.scalar is not None:
        return [Word(text, node.first) for text in split(node.scalar)]
    return [Word(item.scalar, item.first) for item in node.items or () if item.scalar is not None]


def commands_of(container: Node, known: Known) -> list[Command]:
    """Return the commands that a container runs."""
    environment = variables_of(container, known)
    words = words_of(container.get("command") or container.get("entrypoint")) + words_of(container.get("args"))
    words = [replace(word, text=expand(word.text, environment)) for word in words]
    if words and _SHELL.search(words[0].text):
        place = script_word(words)
        if place is not None:
            body = words[place]
            script = read_script(body.text, line=body.line, environment=environment, files=known.files)
            return list(script.commands)
    return [Command(tuple(words), environment, known.files)] if words else []


def launches_of(container: Node, known: Known, group: Group, pod: Node | None = None) -> list[Launch]:
    """Return the engine starts of a container, with GPUs, copies and device of its pod."""
    known = known.of_pod(pod)
    image = container.text("image")
    own = words_of(container.get("command") or container.get("entrypoint"))
    is_script = bool(own) and bool(_SHELL.search(own[0].text))
    found = []
    for command in commands_of(container, known):
        call = read_call(command, sections=known.sections)
        if call is None and not is_script and engine_of_image(image) and _bare_flags(command):
            head = (Word("vllm", command.line), Word("serve", command.line))
            call = read_call(replace(command, words=head + command.words), sections=known.sections)
        if call is not None:
            launch = launch_of_call(call, command, form=group.form, sections=known.sections)
            found.append(with_resources(of_image(launch, image, container.line), container, group, pod))
    return found


def _bare_flags(command: Command) -> bool:
    """Whether arguments stand alone, for the image's own entry point."""
    return bool(command.words) and not _SHELL.search(command.words[0].text) and "python" not in command.words[0].text


def with_resources(launch: Launch, container: Node, group: Group, pod: Node | None) -> Launch:
    """Add what the pod says: GPUs of one copy, copies, device."""
    added: list[Statement] = []
    gpus = gpus_of_resources(container.get("resources"))
    if gpus is not None and not group.open:
        total = gpus[0] * group.pods + group.other_gpus
        pods = f" x {group.pods} pods" if group.pods > 1 else ""
        several = group.pods > 1 or group.other_gpus > 0
        text = f"GPUs requested: {gpus[0]}{pods}"
        added.append(requested(total, gpus[1], text, launch.sections, everywhere=several))
    if group.replicas is not None and group.replicas >= 1:
        added.append(number_statement("replicas", group.replicas, group.replicas_line, "replicas", launch.sections))
    device, line = device_of_pod(pod) if pod is not None else ("", 0)
    if device:
        added.append(device_statement(device, line, launch.sections))
    return replace(launch, statements=(*launch.statements, *added))


def requested(total: int, line: int, text: str, sections: tuple[str, ...], *, everywhere: bool = False) -> Statement:
    """GPUs that one copy asks for; ``everywhere``: in all of its pods, so that they are all that it has."""
    found = make(Entry(line, text, sections, "GPUs", str(total)), "gpus_requested", Fraction(total), "engine")
    return replace(found, unit="in all pods") if everywhere else found


def number_statement(field: str, number: int, line: int, key: str, sections: tuple[str, ...]) -> Statement:
    """A count that a form states in a field of its own."""
    return make(Entry(line, f"{key}: {number}", sections, key, str(number)), field, Fraction(number), "engine")


def device_statement(device: str, line: int, sections: tuple[str, ...]) -> Statement:
    """The device that a form binds its pods to."""
    shown = printable(device, limit=80)
    return make(Entry(line, f"device: {shown}", sections, "device", shown), "device", shown, "hardware")
