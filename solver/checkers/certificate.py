"""Check a shardproof certificate: ``python checker.py cert.json``. Format and rules: docs/certificate.md.

Standard library only, exact integers, no code shared with the solver; what it can recompute it does not read.
"""

from __future__ import annotations

import json
import re
import sys
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, zip_longest
from typing import Any

VERSION, FORMAT, MAX_BYTES, LARGEST, MAX_LAYERS = "1", "shardproof certificate 1", 64 * 2**20, 10**40, 4096
ROW = {"name": str, "table": int, "limit": ("?", int), "microbatches": int, "marked": int}
TABLE = {"base": [int], "entry": [int], "first": [int], "last": [int], "layer": [[int]], "slack": int}
AXIS = {"name": str, "rule": str, "size": int, "choices": [{"value": int, "rows": [int], "options": ("?", [int])}]}
LAYOUT = {"name": str, "replicas": int, "max_gpus": ("?", int), "rows": [int], "axes": [AXIS]}
PROGRAM = {"kinds": [(int, int)], "options": [(int, int, int, int)], "tables": [TABLE], "rows": [ROW]}
PROGRAM |= {"layouts": [LAYOUT], "max_gpus": int, "batch_sizes": [int]}
PLAN = {"layout": int, "choices": [int], "stages": [(int, int, int)]}
CLAIM = {"lower": int, "upper": ("?", int), "by": str, "trees": [[[object]]]}
CLAIMS = {"gpus": CLAIM, "ttft_ns": ("?", CLAIM), "memory_bytes": ("?", CLAIM)}
SHAPE = {"format": str, "instance": str, "program": PROGRAM, "plan": ("?", PLAN), "claims": CLAIMS}
NODES = {"axis": (str, int), "max": (str, str, int), "leaf": (str, [[(str, str, int)]], [[[int]]])}
Costs = dict[int, list[int]]  # per option: beginning at layer 0, beginning later, layers before j = 0..L (and ending)


class CheckError(Exception):
    """The certificate does not prove what it claims; the message says where."""


def need(condition: bool, reason: str) -> None:
    """Refuse unless the condition holds."""
    if not condition:
        raise CheckError(reason)


def parse(text: str) -> Any:
    """JSON of objects, arrays, strings, null and short natural numbers; no key twice in an object."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(pairs)) == len(pairs), "malformed: a key stands twice in one object")
        return dict(pairs)

    def refused(number: str) -> None:
        raise CheckError(f"malformed: the number {number[:40]}")

    return json.loads(text, object_pairs_hook=unique, parse_float=refused, parse_constant=refused)


def shaped(value: Any, want: Any, where: str) -> bool:
    """Refuse unless the value is as wanted: dict = exactly these keys, list = array, tuple = fixed array."""
    if type(want) is tuple and want[0] == "?":
        return value is None or shaped(value, want[1], where)
    if type(want) is dict and type(value) is dict and value.keys() == want.keys():
        return all(shaped(value[key], want[key], f"{where}.{key}") for key in want)
    if type(value) is list and type(want) in (list, tuple) and (type(want) is list or len(want) == len(value)):
        wants = want * len(value) if type(want) is list else want
        return all(shaped(item, part, where) for item, part in zip(value, wants, strict=True))
    fits = type(value) is want and (0 <= value < LARGEST if want is int else re.fullmatch("[ -~]{1,200}", str(value)))
    need(bool(fits) or want is object, f"malformed: {where} is {str(value)[:50]!r}")
    return True


def limited(row: dict[str, Any], ttft: int | None, memory: int | None) -> dict[str, Any]:
    """Lower a marked row's limit to the level's, and say what follows for a single stage."""
    level = (ttft if row["microbatches"] else memory) if row["marked"] else None
    limit = min((value for value in (row["limit"], level) if value is not None), default=None)
    return row | {"limit": limit, "lo": -1, "top": None if limit is None else limit // max(1, row["microbatches"])}


def ceilings(sizes: list[int], most: int) -> Iterator[int]:
    """Yield the smallest q of each distinct tuple ceil(size / q), q = 1..most, ascending."""
    q: int | None = 1
    while q is not None and q <= most:
        yield q
        counts = [(size, -(-size // q) - 1) for size in sizes]
        q = min((-(-size // fewer) for size, fewer in counts if fewer > 0), default=None)


class Problem:
    """The integer problem of the file; refused when a replica count or a value of an axis is missing."""

    def __init__(self, program: dict[str, Any]):
        need(0 < sum(count for _, count in program["kinds"]) <= MAX_LAYERS, "malformed: the number of layers")
        self.kinds = [kind for kind, count in program["kinds"] for _ in range(count)]
        self.gpus = [shape[0] * shape[1] for shape in program["options"]]
        self.tables, self.rows, self.known = program["tables"], program["rows"], dict[Any, list[int]]()
        self.layouts, self.most = program["layouts"], program["max_gpus"]
        choices = [item for layout in self.layouts for axis in layout["axes"] for item in axis["choices"]]
        cells = [row for table in self.tables for key, row in table.items() if key != "slack"]
        sound = all(a * b == c * d > 0 for a, b, c, d in program["options"])
        sound &= all(len(row) == len(self.gpus) for row in cells) and all(item["replicas"] for item in self.layouts)
        sound &= all(len(row) > max(self.kinds) for table in self.tables for row in table["layer"])
        sound &= all(r["table"] < len(self.tables) and (r["microbatches"] or r["limit"] is not None) for r in self.rows)
        sound &= all(index < len(self.rows) for part in self.layouts + choices for index in part["rows"])
        sound &= all(option < len(self.gpus) for item in choices for option in item["options"] or ())
        need(sound, "malformed: an option, a table, a row or an index is none")
        for layout in self.layouts:
            layout["max_gpus"] = self.most if layout["max_gpus"] is None else layout["max_gpus"]
            for axis in layout["axes"]:
                values, sizes = [item["value"] for item in axis["choices"]], ceilings([axis["size"]], axis["size"])
                whole = axis["rule"] == "ceilings" and all(a == b for a, b in zip_longest(values, sizes))
                need(bool(values) and (whole or axis["rule"] == "listed"), f"missing case: a choice of {axis['name']}")
        for replicas in ceilings(program["batch_sizes"], self.most) if program["batch_sizes"] else ():
            spans = [item["max_gpus"] for item in self.layouts if item["replicas"] == replicas]
            need(max(spans, default=-1) >= self.most // replicas, f"missing case: {replicas} replicas")

    def cost(self, index: int, option: int, *, floor: bool) -> list[int]:
        """Read one option of a table (see ``Costs``), rounded down or up."""
        if (index, option, floor) not in self.known:
            table, less = self.tables[index], self.tables[index]["slack"] * floor
            ends = (max(0, table[key][option] - less) for key in ("base", "first", "entry", "last"))
            (base, first, entry, last), layer = ends, [max(0, cell - less) for cell in table["layer"][option]]
            sums = [base + first, base + entry, *accumulate((layer[kind] for kind in self.kinds), initial=0)]
            self.known[index, option, floor] = [*sums[:-1], sums[-1] + last]
        return self.known[index, option, floor]

    def measure(self, plan: dict[str, Any]) -> tuple[int, int | None, int | None]:
        """GPUs, TTFT and peak memory of the plan, every cost rounded up; refused when it breaks a row."""
        layout, stages, marked = self.layouts[plan["layout"]], plan["stages"], list[tuple[bool, int]]()
        width, ends = sum(self.gpus[option] for _, _, option in stages), [0, *(stop for _, stop, _ in stages)]
        need(width <= min(self.most // layout["replicas"], layout["max_gpus"]), f"the plan's replica has {width} GPUs")
        whole = all(at == i < j for at, (i, j, _) in zip(ends[:-1], stages, strict=True))
        need(whole and ends[-1] == len(self.kinds), "the plan's stages are not every layer once, in order")
        picked = [axis["choices"][at] for axis, at in zip(layout["axes"], plan["choices"], strict=True)]
        allowed = [set(choice["options"]) for choice in picked if choice["options"] is not None]
        need(all(option in kept for kept in allowed for _, _, option in stages), "the plan uses an option left out")
        for row in (self.rows[index] for part in (layout, *picked) for index in part["rows"]):
            cells = [(self.cost(row["table"], option, floor=False), i, j) for i, j, option in stages]
            costs, further = [c[i > 0] + c[j + 2] - c[i + 2] for c, i, j in cells], row["microbatches"] - 1
            value = max(costs) if further < 0 else sum(costs) + further * max(costs)
            need(row["limit"] is None or value <= row["limit"], f"the plan breaks {row['name']}: {value}")
            marked += [(further < 0, value)] * (row["marked"] > 0)
        ttft, memory = (max((value for cap, value in marked if cap is want), default=None) for want in (False, True))
        return width * layout["replicas"], ttft, memory

    def refute(self, layout: dict[str, Any], tree: list[list[Any]], gpus: int, rows: list[dict[str, Any]]) -> None:
        """Walk a tree, its nodes in pre-order: every context must end in a leaf whose contradiction holds."""
        most, every = min(gpus // layout["replicas"], layout["max_gpus"]), range(len(self.gpus))
        options = {option for option in every if self.gpus[option] <= most}
        stack = [({rows[index]["name"]: rows[index] for index in layout["rows"]}, options)]
        for node in tree:
            need(bool(stack) and shaped(node, NODES[node[0]], "node"), "malformed: a tree has nodes to spare")
            (known, options), (kind, name) = stack.pop(), node[:2]
            if kind == "axis":
                for choice in reversed(layout["axes"][name]["choices"]):
                    extra = {rows[index]["name"]: rows[index] for index in choice["rows"]}
                    kept = every if choice["options"] is None else choice["options"]
                    stack.append((known | extra, options.intersection(kept)))
            elif kind == "max":
                row, at = known[name], node[2]
                low = at if row["top"] is None else min(row["top"], at)
                stack.append((known | {name: row | {"lo": max(row["lo"], at)}}, options))
                stack.append((known | {name: row | {"top": low}}, options))
            elif not any(row["top"] is not None and row["lo"] >= row["top"] for row in known.values()):
                caps = [(row["top"], row["table"]) for row in known.values() if row["top"] is not None]
                self.leaf(caps, [self.surrogate(known, options, most, parts) for parts in name], node[2], options, most)
        need(not stack, f"missing case: a tree of layout {layout['name']} ends too early")

    def surrogate(
        self, known: dict[str, Any], options: set[int], most: int, parts: list[Any]
    ) -> tuple[int, Costs, Costs]:
        """Weigh and add rows: the limit, the costs, and these with the least rest of a chain after layer j < L."""
        limit, costs = 0, {option: [0] * (len(self.kinds) + 3) for option in options}
        for kind, name, weight in parts:
            row, volume = known[name], kind == "volume"
            need(row["limit"] is not None and (volume or row["microbatches"] > 0), f"{name} has no limit to use")
            further = (row["microbatches"] - 1) * (row["lo"] + 1)
            limit += weight * (row["top"] * most if volume else row["limit"] - further)
            for option in options:
                factor = weight * (self.gpus[option] if volume else 1)
                cells = zip(costs[option], self.cost(row["table"], option, floor=True), strict=True)
                costs[option] = [old + factor * more for old, more in cells]
        columns = list(zip(*costs.values(), strict=True))
        steps = (min(b - a for a, b in zip(*columns[j : j + 2], strict=True)) for j in range(len(columns) - 2, 1, -1))
        rest = [min(columns[1]) + more for more in accumulate(steps)][::-1] if columns else []
        return limit, costs, {o: [a + b for a, b in zip(costs[o][2:-1], rest, strict=True)] for o in options}

    def leaf(self, caps: list[Any], sums: list[Any], given: list[Any], options: set[int], most: int) -> None:
        """Every extension of every label breaks a cap, is hopeless, or is dominated; none reaches the last layer."""
        last, labels = len(self.kinds), [[[0] * (len(sums) + 1)], *given[1:]]
        need(all(len(x) == len(sums) + 1 and x[0] < last for items in labels for x in items), "malformed: a label")
        stairs: list[list[list[int]]] = [[]]
        for items in labels[1:] + [[]] * (most + 1 - len(labels)):
            held = sorted(stairs[-1] + items, key=lambda item: item[1:])
            tops = accumulate((item[0] for item in held), max, initial=0)
            stairs.append([x for x, top in zip(held, tops, strict=False) if x[0] > top] if len(sums) < 2 else held)
        keys = [[x[1:] for x in held] for held in stairs]
        for option in options:
            stages = [(top, self.cost(table, option, floor=True)) for top, table in caps]
            costs, limits = [c[option] for _, c, _ in sums], [(limit, least[option]) for limit, _, least in sums]
            room = range(len(labels[: most + 1 - self.gpus[option]]))
            for total, (start, *values) in ((used + self.gpus[option], x) for used in room for x in labels[used]):
                at = [value + c[start > 0] - c[start + 2] for value, c in zip(values, costs, strict=True)]
                ends = [bisect_right(c, top - c[start > 0] + c[start + 2], start + 2) - 3 for top, c in stages]
                over = any(v + c[-1] > limit for v, c, (limit, _) in zip(at, costs, limits, strict=True))
                need(over or min(ends, default=last) < last, "a chain within all limits may reach the last layer")
                ends += [bisect_right(c, limit - v, start) - 1 for v, (limit, c) in zip(at, limits, strict=True)]
                reached, stop = start, min(ends, default=last)
                while reached < stop:
                    value = [v + c[reached + 3] for v, c in zip(at, costs, strict=True)]
                    held, below = stairs[total][: bisect_right(keys[total], value)], reached
                    fits = held[-1:] if len(sums) < 2 else [x for x in held if all(map(int.__le__, x[1:], value))]
                    reached = max([x[0] for x in fits], default=0)
                    need(reached > below, "an extension of a label is dominated by none")


def judge(document: Any) -> str:
    """Say what the document proves, in one line."""
    need(shaped(document, SHAPE, "certificate") and document["format"] == FORMAT, f"the format is not {FORMAT!r}")
    problem, plan, claims, said = Problem(document["program"]), document["plan"], document["claims"], []
    best, certified = problem.measure(plan) if plan else (None, None, None), claims["gpus"]["by"] == "certified"
    for level, (name, value) in enumerate(zip(CLAIMS, best, strict=True)):
        lower, upper, by, trees = (claims[name][key] for key in CLAIM) if claims[name] else (0, value, "certified", [])
        fits = lower <= value if value is not None else lower * level == 0
        need(fits and upper == value, f"{name}: {lower}..{upper} with a plan of {value}")
        need(by == "certified" or re.match("(claimed|agreed) by ", by) is not None, f"{name}: by {by}")
        if by == "certified" and lower > 0:
            gpus, ttft, memory = [*best[:level], lower - 1, None, None][:3]
            rows = [limited(row, ttft, memory) for row in problem.rows]
            for layout, tree in zip(problem.layouts, trees, strict=True):
                problem.refute(layout, tree, gpus, rows)
        said += [f"{name} {lower}..{'none' if value is None else value} ({by})"] * (claims[name] is not None)
    low, scope = claims["gpus"]["lower"], f"instance {document['instance']} in exact integer arithmetic"
    need(low <= problem.most + 1 and (certified or plan), "the claim is about more than the file holds")
    kind = "optimal" if low == best[0] else "gap" if plan else "infeasible" if low > problem.most else "bound"
    said[0] = f"{f'certified-{kind}' if certified else 'solver-claimed'}: {said[0]}"
    return f"{', '.join(said)}; for {scope}, verified by checker {VERSION}, conditional on the cost tables in the file"


def check(raw: bytes) -> str:
    """Say what a certificate proves, in one line; `CheckError` when anything is malformed, missing or wrong."""
    need(len(raw) <= MAX_BYTES, f"malformed: more than {MAX_BYTES} bytes")
    try:
        return judge(parse(raw.decode()))
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise CheckError(f"malformed: {error!r:.200}") from None


if __name__ == "__main__":
    try:
        with open(sys.argv[1], "rb") as file:
            sys.stdout.write(f"accepted: {check(file.read(MAX_BYTES + 1))}\n")
    except (CheckError, OSError) as error:
        sys.stdout.write(f"refused: {error}\n")
        sys.exit(4)
