"""Check a certificate of requests that come by themselves: ``python open_loop.py cert.json`` (standard library only).

The file holds the requests, the tables, hints and windows; from these the fewest GPUs are computed anew, in exact
arithmetic (docs/open-loop.md derives each step; ``open_loop_work.py`` beside this file has the costs of a request):

* a replica takes no more than a share of the rate, and the shares of a fleet's replicas add up to all of it;
* windows of time into which more work falls than they hold force requests to be late, windows apart add up.

The plan's GPUs are said beside the bound; that they do was played, and is not checked here.
"""

from __future__ import annotations

import importlib.util
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

FORMAT = "shardproof open-loop certificate 1"
RUN = {"arrivals": [int], "computed": [int], "found": [int], "output": [int]}
KEPT = [(int, int, int)]
SCENARIO = {
    "name": str,
    "rate": (int, int),
    "by_chance": int,
    "verified": int,
    "joint": int,
    "first": KEPT,
    "token": KEPT,
}
SCENARIO |= {"whole": KEPT, "mean_first": ("?", int), "mean_token": ("?", int), "runs": [RUN]}
TABLE = {"contexts": [int], "rounds": KEPT, "chunks": KEPT, "prompts": [(int, int)]}
OPTION = {"gpus": int, "ranks": int, "budget": int, "sizes": [int], "chunk_sizes": [int], "tables": [TABLE]}
SHAPE = {"option": int, "stages": int, "cache": int, "directions": [[(int, int, int)]]}
WINDOWS = {"gpus": int, "scenario": int, "runs": [[(int, int, int)]]}
FACTS = {"format": str, "instance": str, "max_gpus": int, "replicas": str, "premises": [str], "scenarios": [SCENARIO]}
FACTS |= {"options": [OPTION], "shapes": [SHAPE], "listed_below": int}
FILE = FACTS | {"windows": [WINDOWS], "claim": {"lower": int, "upper": ("?", int)}}
SCOPE = "for the requests and tables in the file, compared with no instance"


def _beside() -> Any:
    """Load the costs of requests, the file beside this one."""
    spec = importlib.util.spec_from_file_location("open_loop_costs", Path(__file__).with_name("open_loop_work.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


costs = _beside()
single, Scenario, Option, Shape, ZERO = costs.single, costs.Scenario, costs.Option, costs.Shape, Fraction(0)
CheckError: type[Exception] = single.CheckError


def crowded(windows: dict[str, Any], scenario: Any, shapes: list[tuple[int, Any]]) -> bool:
    """Whether in every run windows apart force more requests to be late than may be, on whatever replicas."""
    gpus, able = windows["gpus"], [(width, shape) for width, shape in shapes if width <= windows["gpus"]]
    for run, arrivals, chosen in zip(
        scenario.runs, (run["arrivals"] for run in scenario.file["runs"]), windows["runs"], strict=True
    ):
        after, token, tokens, share = scenario.demands()[chosen[0][0]]
        due = [at + after + (token or 0) * (one[2] - 1) for at, one in zip(arrivals, run, strict=True)]
        known, late = dict[Any, Fraction](), 0
        spans = [(first, last, arrivals[first], max(due[first : last + 1])) for _, first, last in chosen]
        single.need(len({place for place, _, _ in chosen}) == 1, "malformed: windows of different demands")
        single.need(all(b[0] > a[1] and b[2] >= a[3] for a, b in pairwise(spans)), "windows overlap")
        for first, last, start, stop in spans:
            for one in run[first : last + 1]:
                if one not in known:
                    each = [width * shape.work(one, token, tokens=tokens) for width, shape in able]
                    known[one] = min(each, default=costs.NO_BOUND)
            work = [known[one] for one in run[first : last + 1]]
            late += max(0, -(-(sum(work) - gpus * (stop - start)) // max(work))) if max(work) else 0
        if late <= costs.allowed(*share, len(run)):
            return False
    return True


def fewest(widths: list[int], takes: list[Fraction], most: int, *, alike: bool) -> int:
    """Fewest GPUs whose replicas take the whole rate, as far as one more than ``most``."""
    pairs = list(zip(widths, takes, strict=True))
    if alike:
        return min([most + 1, *(width * -(-1 // share) for width, share in pairs if share)])
    best = [ZERO]
    while best[-1] < 1 and len(best) <= most + 1:
        best.append(max([best[-1], *(best[len(best) - width] + share for width, share in pairs if width <= len(best))]))
    return min(len(best) - 1, most + 1)


def shapes_in(document: dict[str, Any]) -> tuple[list[Any], list[tuple[int, list[Any]]]]:
    """Return the scenarios, and for every shape in the file its GPUs and what replicas of it do under each."""
    scenarios, most = [Scenario(one) for one in document["scenarios"]], document["max_gpus"]
    single.need(bool(scenarios) and document["replicas"] in ("alike", "free") and most > 0, "malformed: the question")
    options = [
        [Option(one, table, scenario) for table, scenario in zip(one["tables"], scenarios, strict=True)]
        for one in document["options"]
    ]
    found = []
    for one in document["shapes"]:
        trio = zip(scenarios, options[one["option"]], one["directions"], strict=True)
        shapes = [Shape(scenario, option, one, directions) for scenario, option, directions in trio]
        found.append((document["options"][one["option"]]["gpus"] * one["stages"], shapes))
    return scenarios, found


def rates(document: dict[str, Any]) -> list[tuple[int, list[Fraction]]]:
    """GPUs of every shape, and the rate of each scenario, in millionths a second, that no replica of it passes."""
    scenarios, shapes = shapes_in(document)
    each = [scenario.rate * 10**15 for scenario in scenarios]
    return [
        (width, [ZERO if one.refused() else one.takes() * rate for one, rate in zip(alone, each, strict=True)])
        for width, alone in shapes
    ]


def proved(document: dict[str, Any]) -> int:
    """Fewest GPUs that the file proves, one more than its budget at most; its own claim is not looked at."""
    (scenarios, listed), most = shapes_in(document), document["max_gpus"]
    widths, takes, able = list[int](), list[Fraction](), [list[tuple[int, Any]]() for _ in scenarios]
    for width, shapes in listed:
        refused = any(shape.refused() for shape in shapes)
        widths.append(width)
        takes.append(ZERO if refused else min(shape.takes() for shape in shapes))
        for place, shape in enumerate(() if refused else shapes):
            able[place].append((width, shape))
    lower = fewest(widths, takes, most, alike=document["replicas"] == "alike")
    for windows in document["windows"]:
        place = windows["scenario"]
        if lower <= windows["gpus"] and crowded(windows, scenarios[place], able[place]):
            lower = windows["gpus"] + 1
    return int(max(1, min(lower, document["listed_below"], most + 1)))


def judge(document: Any) -> str:
    """Say what the document proves, in one line."""
    single.need(isinstance(document, dict) and document.get("format") == FORMAT, f"the format is not {FORMAT!r}")
    single.shaped(document, FILE, "certificate")
    lower, upper, most = proved(document), document["claim"]["upper"], document["max_gpus"]
    stated = document["claim"]["lower"]
    single.need(bool(document["premises"]), "no premise is named")
    single.need(stated == lower, f"at least {stated} GPUs is claimed, {lower} is proved")
    single.need(upper is None or lower <= upper <= most, f"a plan of {upper} GPUs stands against {lower}..{most}")
    said = "certified-infeasible" if lower > most else "certified-bound"
    played = "" if upper is None else f", a plan of {upper} was played (not checked here)"
    return f"{said}: at least {lower} GPUs{played}; {len(document['premises'])} premises named in the file; {SCOPE}"


def check(raw: bytes) -> str:
    """Say what a certificate proves, in one line; `CheckError` when anything is malformed, missing or wrong."""
    try:
        return judge(single.parse(raw.decode()))
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise CheckError(f"malformed: {error!r:.200}") from None


if __name__ == "__main__":
    try:
        sys.stdout.write(f"accepted: {check(Path(sys.argv[1]).read_bytes())}\n")
    except (CheckError, OSError) as error:
        sys.stdout.write(f"refused: {error}\n")
        sys.exit(4)
