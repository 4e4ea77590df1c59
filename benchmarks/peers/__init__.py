"""Other planners and simulators on the same questions; each runs in a Python environment of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


def answer_of(script: Path, question: dict[str, Any], python: str) -> dict[str, Any]:
    """Have another interpreter answer a question, which a script reads on its standard input."""
    done = subprocess.run([python, script], input=json.dumps(question), capture_output=True, text=True, check=True)
    answered: dict[str, Any] = json.loads(done.stdout)
    return answered
