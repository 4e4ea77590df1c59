"""Check a certificate of prefill and decode apart: ``python apart.py cert.json`` (standard library only).

The file holds a certificate for each pool, and one for replicas that serve both phases where that was allowed too
(docs/apart.md). Each is accepted by the checker beside this file, ``certificate.py``; what is left is to add up:

* no GPU serves both phases, so that a plan apart has at least the fewest GPUs of each pool together;
* the plans of both pools together are a plan apart, if they keep the budget;
* where both ways are allowed a plan is of one way or the other, and the smaller bound holds for all.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

FORMAT = "shardproof apart certificate 1"
NUMBERS = {"lower": int, "upper": ("?", int)}
LINK = {"scenario": str, "bytes": int, "sending_ns": int}
SHAPE = {"format": str, "instance": str, "serving": str, "max_gpus": int, "transfer": [LINK]}
SHAPE |= {"prefill": object, "decode": object, "together": object, "claim": NUMBERS}


def _beside() -> Any:
    """Load the checker of single certificates, the file beside this one."""
    spec = importlib.util.spec_from_file_location("certificate_beside", Path(__file__).with_name("certificate.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checker = _beside()
CheckError: type[Exception] = checker.CheckError


def part(document: Any, name: str) -> tuple[int, int | None, bool]:
    """Accept the certificate of one part: fewest GPUs, GPUs of its plan (``None``: none), whether it is certified."""
    if document is None:
        return 1, None, False
    try:
        checker.check(json.dumps(document).encode())
    except CheckError as error:
        raise CheckError(f"{name}: {error}") from None
    claim = document["claims"]["gpus"]
    certified = claim["by"] == "certified"
    return max(1, claim["lower"]) if certified else 1, claim["upper"], certified


def judge(document: Any) -> str:
    """Say what the document proves, in one line."""
    checker.need(isinstance(document, dict) and document.get("format") == FORMAT, f"the format is not {FORMAT!r}")
    checker.shaped(document, SHAPE, "certificate")
    most, serving = document["max_gpus"], document["serving"]
    checker.need(serving in ("apart", "any"), f"serving is {serving!r}, neither 'apart' nor 'any'")
    checker.need((document["together"] is not None) == (serving == "any"), "together stands there for 'any' alone")
    prefill, decode = (part(document[name], name) for name in ("prefill", "decode"))
    lower, certified = prefill[0] + decode[0], prefill[2] and decode[2]
    certified |= lower > most
    upper = None if prefill[1] is None or decode[1] is None else prefill[1] + decode[1]
    upper = None if upper is None or upper > most else upper
    if serving == "any":
        least, found, sure = part(document["together"], "together")
        lower, certified = min(lower, least), certified and sure
        uppers = [value for value in (upper, found) if value is not None and value <= most]
        upper = min(uppers, default=None)
    stated = document["claim"]["lower"], document["claim"]["upper"]
    checker.need(stated == (lower, upper), f"gpus: {stated[0]}..{stated[1]} is claimed, {lower}..{upper} is proved")
    kind = "optimal" if lower == upper else "gap" if upper else "infeasible" if lower > most else "bound"
    said = f"certified-{kind}" if certified else "solver-claimed"
    pools = f"prefill {prefill[0]}..{prefill[1]}, decode {decode[0]}..{decode[1]}"
    ways = "prefill and decode apart" if serving == "apart" else "apart, or together all"
    scope = f"in exact integer arithmetic, verified by checker {checker.VERSION}, {checker.SCOPE}"
    return f"{said}: gpus {lower}..{'none' if upper is None else upper} ({pools}); {ways}, {scope}"


def check(raw: bytes) -> str:
    """Say what a certificate proves, in one line; `CheckError` when anything is malformed, missing or wrong."""
    try:
        return judge(checker.parse(raw.decode()))
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise CheckError(f"malformed: {error!r:.200}") from None


if __name__ == "__main__":
    try:
        sys.stdout.write(f"accepted: {check(Path(sys.argv[1]).read_bytes())}\n")
    except (CheckError, OSError) as error:
        sys.stdout.write(f"refused: {error}\n")
        sys.exit(4)
