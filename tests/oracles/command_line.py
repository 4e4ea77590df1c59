"""The command line inside the process of a test: what it prints and its exit code, without a start of Python."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from shardproof.solver.cli import main


@dataclass(frozen=True)
class Finished:
    """What a command ended with."""

    returncode: int
    stdout: str
    stderr: str


def run_inside(*arguments: str) -> Finished:
    """Run `shardproof` as its console script does, with streams of its own and without colour."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setenv("NO_COLOR", "1")
        try:
            main(list(arguments))
            code: object = None
        except SystemExit as ended:
            code = ended.code
    for stream in (out, err):
        stream.flush()
    shown, said = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    assert isinstance(code, int)
    return Finished(code, shown, said)
