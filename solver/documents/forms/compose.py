"""Compose files: services with image, command, variables and GPU reservations.

Source: the Compose specification (``deploy.resources.reservations.devices``, ``gpus``, interpolation).
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from shardproof.solver.documents.commands import engine_of_image, read_call
from shardproof.solver.documents.forms.container import count_of, number_statement, requested, words_of
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.launch import Launch, launch_of_call, of_image
from shardproof.solver.documents.shell import Command, Word, expand, read_script, script_word
from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.tree import Node
from shardproof.solver.documents.values import make
from shardproof.solver.documents.variables import Variables, launch_of_variables

FORM = "Compose service"


def read(tree: Node, known: Known) -> list[Launch] | None:
    """Return the launches of the services; ``None`` where there are no services with images."""
    services = tree.pairs("services")
    if not any(service.get("image") or service.get("build") for _, service in services):
        return None
    return [launch for name, service in services for launch in _service(name, service, known)]


def _service(name: str, service: Node, known: Known) -> list[Launch]:
    environment = _environment(service, known)
    image = expand(service.text("image"), known.variables)
    words = words_of(service.get("entrypoint")) + words_of(service.get("command"))
    words = [replace(word, text=_interpolate(word.text, known)) for word in words]
    found = []
    for command in _commands(words, environment):
        call = read_call(command, sections=known.sections)
        if call is None and engine_of_image(image) and words and not words[0].text.endswith("sh"):
            head = (Word("vllm", command.line), Word("serve", command.line))
            call = read_call(replace(command, words=head + command.words), sections=known.sections)
        if call is not None:
            launch = launch_of_call(call, command, form=FORM, sections=known.sections)
            launch = of_image(launch, image, service.line)
            found.append(replace(launch, name=name, statements=(*launch.statements, *_request(service, known))))
    return found or _by_variables(name, service, environment, known)


def _by_variables(name: str, service: Node, environment: dict[str, str], known: Known) -> list[Launch]:
    """An image whose own script starts the engine is told by variables what to serve."""
    if not re.search(r"vllm|sglang|tensorrt|trtllm", service.text("image") + name):
        return []
    lines = dict.fromkeys(environment, service.line)
    for key, node in service.pairs("environment"):
        lines[key] = node.line
    for item in service.each("environment"):
        lines[(item.scalar or "").partition("=")[0]] = item.line
    launch = launch_of_variables(Variables(environment, lines), sections=known.sections)
    return (
        []
        if launch is None
        else [replace(launch, name=name, statements=(*launch.statements, *_request(service, known)))]
    )


def _interpolate(text: str, known: Known) -> str:
    """``${NAME:-default}`` by the ``.env`` beside; ``$$`` is a dollar for the container's own shell."""
    return expand(text.replace("$$", "\0"), known.variables).replace("\0", "$")


def _commands(words: list[Word], environment: dict[str, str]) -> list[Command]:
    place = script_word(words) if words and words[0].text.endswith("sh") else None
    if place is not None:
        script = read_script(words[place].text, line=words[place].line, environment=environment)
        return list(script.commands)
    expanded = tuple(replace(word, text=expand(word.text, environment)) for word in words)
    return [Command(expanded, environment, {})] if words else []


def _environment(service: Node, known: Known) -> dict[str, str]:
    found = dict(known.variables)
    for key, node in service.pairs("environment"):
        found[key] = _interpolate(node.scalar or "", known)
    for item in service.each("environment"):
        key, equals, value = (item.scalar or "").partition("=")
        if equals:
            found[key] = _interpolate(value, known)
    return found


def _request(service: Node, known: Known) -> list[Statement]:
    found: list[Statement] = []
    gpus = service.get("gpus")
    devices = list(service.each("deploy", "resources", "reservations", "devices")) + list(service.each("gpus"))
    for device in devices:
        ids, count = device.get("device_ids"), device.get("count")
        listed = ",".join(item.scalar or "" for item in ids.items) if ids is not None and ids.items else ""
        number = listed.count(",") + 1 if listed else _count(count, known)
        line = (ids or count or device).line
        if number is not None:
            found.append(requested(number, line, f"GPUs reserved: {number}", known.sections))
            break
    if not found and gpus is not None and (number := _count(gpus, known)) is not None:
        found.append(requested(number, gpus.line, f"GPUs reserved: {number}", known.sections))
    replicas = service.get("deploy", "replicas")
    if (copies := count_of(replicas)) and replicas is not None:
        found.append(number_statement("replicas", copies, replicas.line, "deploy.replicas", known.sections))
    visible = _environment(service, known).get("CUDA_VISIBLE_DEVICES", "")
    if visible and all(part.strip().isdigit() for part in visible.split(",")) and not found:
        entry = Entry(service.line, f"CUDA_VISIBLE_DEVICES={visible}", known.sections, "", visible)
        found.append(make(entry, "visible_gpus", Fraction(visible.count(",") + 1), "engine"))
    return found


def _count(node: Node | None, known: Known) -> int | None:
    if node is None or node.scalar is None:
        return None
    return count_of(Node(node.line, scalar=expand(node.scalar, known.variables)))
