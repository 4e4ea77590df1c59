"""The engines' own parsers asked: all options, and whether they take the lines of exported files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.exports.environments import WHEELS, environment

PARSERS = Path(__file__).parent / "parsers.py"


class Engine:
    """A parser that answers in a process of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        python = environment(name, folder)
        self.name = name
        self.version = WHEELS[name].version
        command = [str(python), str(PARSERS), name]
        self._errors = (folder / f"{name}.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def __enter__(self) -> Self:
        """Return itself; the process ends with the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the parser of {self.name} ended; see {self._errors.name}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def options(self) -> dict[str, Any]:
        """Return every option."""
        return self._ask({"options": True})

    def refusal(self, words: Sequence[str]) -> str | None:
        """Return why the engine refuses the arguments that follow its program, ``None`` if it takes them."""
        refused = self._ask({"words": list(words)}).get("refused")
        return None if refused is None else str(refused)
