"""Launches that a form describes by fields of its own, instead of by a command."""

from __future__ import annotations

from shardproof.solver.documents.commands import ENGINE_NAMES, EngineCall, read_flags
from shardproof.solver.documents.launch import Launch, launch_of_call
from shardproof.solver.documents.shell import Command, Word, split
from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.text import printable
from shardproof.solver.documents.tree import Node
from shardproof.solver.documents.values import make


def engine_launch(
    engine: str,
    model: Node | None,
    line: int,
    form: str,
    sections: tuple[str, ...],
    *,
    extra: str = "",
    variables: dict[str, str] | None = None,
) -> Launch:
    """Return a launch of an engine with a model (``hf://`` taken off) and further flags as one text."""
    named = model.scalar.removeprefix("hf://") if model is not None and model.scalar else ""
    fields = []
    if named and model is not None:
        fields.append(("model", Entry(model.line, f"model: {printable(model.scalar or '')}", sections, "model", named)))
    flags, unread = read_flags(engine, [Word("--", line), *(Word(text, line) for text in split(extra))])
    text = f"{ENGINE_NAMES[engine]} serves {named}".strip()
    call = EngineCall(engine, line, text, tuple(fields + flags), tuple(item for item in unread if item[1] != "--"))
    return launch_of_call(call, Command((), variables or {}, {}), form=form, sections=sections)


def switch_statement(field: str, line: int, text: str, sections: tuple[str, ...]) -> Statement:
    """A switch that a form turns on in a field of its own."""
    return make(Entry(line, text, sections, text, "true"), field, True, "engine")
