"""The command line with hostile files and flags: exit codes, and what reaches the terminal."""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from benchmarks.fuzz import answers, questions
from benchmarks.fuzz.mutations import ODD_VALUES
from benchmarks.fuzz.reader import Content, Reader
from shardproof.instances.errors import UNPRINTABLE
from shardproof.solver.cli import main

DOCUMENTED = (0, 1, 2, 3, 4)
"""Exit codes that a verb may end with."""
LINES: tuple[tuple[str, str], ...] = (
    ("instances", "solve FILE --time-limit 0.2s --json"),
    ("instances", "solve FILE --time-limit 0.2s -o OUT.json --certificate OUT.cert"),
    ("pools", "solve FILE --time-limit 0.2s"),
    ("devices", "solve FILE --time-limit 0.2s"),
    ("documents", "audit FILE --json"),
    ("documents", "audit FILE -i CASE"),
    ("documents", "compare FILE -i CASE"),
    ("fleets", "predict FILE -i CASE"),
    ("fleets", "export FILE -i CASE --to kubernetes -o OUT"),
    ("fleets", "simulate FILE -i CASE --num-requests 9 --seeds 1"),
    ("sweeps", "batch FILE -o OUT --dry-run"),
    ("certificates", "verify FILE"),
    ("certificates", "verify FILE -i CASE --json"),
    ("ledgers", "report FILE -o OUT.html"),
    ("results", "check PLAN FILE -i CASE --seeds 1"),
    ("start-logs", "check PLAN --log FILE -i CASE"),
    ("profiles", "place --experts 4 --layers 3 --profile FILE --ranks 2 --time-limit 0.05s"),
    ("configs", "catalog models FILE"),
    ("traces", "solve CASE --trace FILE --time-limit 0.2s"),
    ("corrections", "predict PLAN -i CASE --calibration FILE"),
)
"""The reader whose hostile files are given to a line, and the line."""


class ExitError(Exception):
    """A verb ended in a way that is not documented."""


def _lines(files: Sequence[Reader]) -> Reader:
    others = {reader.name: reader for reader in files}

    def make(chance: random.Random) -> Content:
        name, line = chance.choice(LINES)
        raw, suffix = others[name].make(chance)
        if suffix in (".folder", ".both"):
            raw, suffix = b"{}", ".json"
        words = _with_an_odd_flag(chance, _words(line))
        return json.dumps([words, suffix, raw.decode("latin-1")]).encode(), ".line"

    def read(path: Path) -> object:
        words, suffix, text = json.loads(path.read_bytes())
        file, case, plan = (path.with_name(name) for name in (f"fuzzed{suffix}", "case.yaml", "plan.yaml"))
        file.write_bytes(text.encode("latin-1"))
        case.write_text(yaml.safe_dump({**questions.BURST, "engine": "vllm"}), encoding="utf-8")
        plan.write_text(yaml.safe_dump(answers.PLAN), encoding="utf-8")
        places = {"FILE": str(file), "CASE": str(case), "PLAN": str(plan), "OUT": str(path.with_name("out"))}
        return ended([_placed(word, places) for word in words])

    return Reader("verbs", "flags", make, read, names_file=False)


def _words(line: str) -> list[str]:
    import shlex

    return shlex.split(line)


def _placed(word: str, places: dict[str, str]) -> str:
    for name, place in places.items():
        if word == name or word.startswith(f"{name}."):
            return place + word.removeprefix(name)
    return word


def _with_an_odd_flag(chance: random.Random, words: Sequence[str]) -> list[str]:
    """Now and then replace the value of a flag, or add a flag that is not known."""
    made = list(words)
    if chance.random() < 0.1:
        odd = str(chance.choice(ODD_VALUES)).replace("\x00", "")
        made.insert(chance.randrange(1, len(made) + 1), odd)
    return made


def ended(words: Sequence[str]) -> int:
    """Run a line; return its exit code.

    Raises
    ------
    ExitError
        If the code is not documented, a refusal says nothing, or a control character would reach the terminal.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as error:
            code = error.code
    said = err.getvalue()
    if code not in DOCUMENTED:
        raise ExitError(f"exit code {code}: {said[:300]}")
    if code == 2 and not said.strip():
        raise ExitError("exit code 2 without a message")
    if UNPRINTABLE.search(said.replace("\r", "")) or UNPRINTABLE.search(out.getvalue()):
        raise ExitError(f"control characters: {said[:200]!r} {out.getvalue()[:200]!r}")
    assert isinstance(code, int)
    return code


def readers(files: Sequence[Reader]) -> Iterator[Reader]:
    """The reader of command lines; ``files``: the readers whose hostile files the lines name."""
    yield _lines(files)
