"""Check a shardproof certificate: ``python certificate.py cert.json`` (standard library only; docs/certificate.md)."""

from __future__ import annotations

import json
import sys
from bisect import bisect_right
from itertools import accumulate, pairwise
from typing import Any

VERSION, FORMAT, MAX_BYTES, LARGEST, MAX_LAYERS = "2", "shardproof certificate 2", 64 * 2**20, 10**40, 4096
SCOPE = "for the cost tables in the file, compared with no instance"
ROW = {"name": str, "table": int, "limit": ("?", int), "microbatches": int}
TABLE = {"base": [int], "entry": [int], "first": [int], "last": [int], "layer": [[int]], "slack": int}
AXIS = {"name": str, "rule": str, "size": int, "choices": [{"value": int, "rows": [int], "options": ("?", [int])}]}
SHARE = {"load": [int], "layouts": [{"name": str, "max_gpus": ("?", int), "rows": [int], "axes": [AXIS]}]}
PROGRAM = {"kinds": [(int, int)], "options": [(int, int, int, int)], "tables": [TABLE], "rows": [ROW]}
PROGRAM |= {"shares": [SHARE], "demand": [int], "max_gpus": int, "replicas": str}
GROUP = {"replicas": int, "share": int, "layout": int, "choices": [int], "stages": [(int, int, int)]}
CLAIM = {"lower": int, "upper": ("?", int), "by": str, "refused": [{"gpus": int, "share": int, "trees": [[[object]]]}]}
CLAIMS = {"gpus": CLAIM, "shapes": ("?", CLAIM), "ttft_ns": ("?", CLAIM), "memory_bytes": ("?", CLAIM)}
SHAPE = {"format": str, "instance": str, "program": PROGRAM, "plan": ("?", [GROUP]), "claims": CLAIMS}
NODES = {"axis": (str, int), "max": (str, str, int), "leaf": (str, [[(str, str, int)]], [[[int]]])}


class CheckError(Exception):
    """The certificate does not prove what it claims; the message says where."""


def need(condition: bool, reason: str) -> bool:
    """Refuse unless the condition holds."""
    if not condition:
        raise CheckError(reason)
    return True


def parse(text: str) -> Any:
    """JSON of objects, arrays, strings, null and short natural numbers; no key twice in an object."""
    pairs = lambda found: need(len(dict(found)) == len(found), "malformed: a key stands twice") and dict(found)  # noqa: E731
    return json.loads(text, object_pairs_hook=pairs, parse_float=complex, parse_constant=complex)


def shaped(value: Any, want: Any, where: str) -> bool:
    """Refuse unless the value is as wanted: dict = exactly these keys, list = array, tuple = fixed array."""
    if type(want) is tuple and want[0] == "?":
        return value is None or shaped(value, want[1], where)
    if type(want) is dict and type(value) is dict and value.keys() == want.keys():
        return all(shaped(value[key], want[key], f"{where}.{key}") for key in want)
    if type(value) is list and type(want) in (list, tuple) and (type(want) is list or len(want) == len(value)):
        wants = want * len(value) if type(want) is list else want
        return all(shaped(item, part, where) for item, part in zip(value, wants, strict=True))
    fits = want is type(value) and (0 <= value < LARGEST if want is int else len(value) < 201 and value.isprintable())
    return need(fits or want is object, f"malformed: {where} is {str(value)[:50]!r}")


class Problem:
    """The integer problem of the file; refused when a value of an axis is missing."""

    def __init__(self, program: dict[str, Any]):
        need(0 < sum(count for _, count in program["kinds"]) <= MAX_LAYERS, "malformed: the number of layers")
        self.kinds = [kind for kind, count in program["kinds"] for _ in range(count)]
        self.gpus, self.walls = [shape[0] * shape[1] for shape in program["options"]], list[Any]()
        self.tables, self.rows, self.known = program["tables"], program["rows"], dict[Any, list[int]]()
        self.order = [*dict.fromkeys(self.kinds), self.kinds[-1]]  # each kind, then the last layer
        self.steps, often = [*map(self.order.index, self.kinds[:-1]), -1], map(self.kinds[:-1].count, self.order[:-1])
        self.spread: Any = lambda cells: [*cells[:2], *accumulate(map(cells[2:].__getitem__, self.steps), initial=0)]
        self.shares, self.most, self.demand = program["shares"], program["max_gpus"], tuple(program["demand"])
        self.shapes, self.often = 1 if program["replicas"] == "alike" else None, [1, 0, *often, 1]
        layouts = [layout for share in self.shares for layout in share["layouts"]]
        choices = [item for layout in layouts for axis in layout["axes"] for item in axis["choices"]]
        cells = [row for table in self.tables for key, row in table.items() if key != "slack"]
        for item in choices:
            item["options"] = range(len(self.gpus)) if item["options"] is None else item["options"]
        sound = all(a * b == c * d > 0 for a, b, c, d in program["options"]) and len(self.demand) > 0
        sound &= all(len(row) == len(self.gpus) for row in cells) and program["replicas"] in ("alike", "free")
        sound &= all(len(row) > max(self.kinds) for table in self.tables for row in table["layer"])
        sound &= all(r["table"] < len(self.tables) and (r["microbatches"] or r["limit"] is not None) for r in self.rows)
        sound &= all(r["name"].split("[")[0] != ("memory" if r["microbatches"] else "ttft") for r in self.rows)
        sound &= all(index < len(self.rows) for part in layouts + choices for index in part["rows"])
        sound &= all(option < len(self.gpus) for item in choices for option in item["options"])
        need(sound, "malformed: an option, a table, a row or an index is none")
        for layout in layouts:
            layout["max_gpus"] = self.most if layout["max_gpus"] is None else layout["max_gpus"]
            for axis in layout["axes"]:
                values, n = [item["value"] for item in axis["choices"]], axis["size"]
                whole = axis["rule"] == "ceilings" and values[:1] == [1] and 0 < n <= values[-1]
                whole = whole and all(b == -(-n // (-(-n // a) - 1)) for a, b in pairwise(values))
                need(bool(values) and (whole or axis["rule"] == "listed"), f"missing case: a choice of {axis['name']}")

    def cost(self, index: int, option: int, *, floor: bool) -> list[int]:
        """Read one option: beginning at layer 0, beginning later, a layer of each kind, the last layer and ending."""
        if (index, option, floor) not in self.known:
            table, less = self.tables[index], self.tables[index]["slack"] * floor
            ends = (max(0, table[key][option] - less) for key in ("base", "first", "entry", "last"))
            (base, first, entry, last), layer = ends, [max(0, table["layer"][option][k] - less) for k in self.order]
            self.known[index, option, floor] = [base + first, base + entry, *layer[:-1], layer[-1] + last]
        return self.known[index, option, floor]

    def measure(self, plan: list[dict[str, Any]]) -> list[Any]:
        """GPUs, shapes, TTFT and peak memory of the plan, every cost rounded up; refused when it breaks a row."""
        sums, found = [[0] * (1 + len(self.demand))], dict[str, int]()
        for group in plan:
            share, stages, count = self.shares[group["share"]], group["stages"], group["replicas"]
            layout, ends = share["layouts"][group["layout"]], [0, *(stop for _, stop, _ in stages)]
            width = sum(self.gpus[option] for _, _, option in stages)
            sums.append([count * width, *(count * requests for requests in share["load"])])
            fits = width <= layout["max_gpus"] and all(at == i < j for at, (i, j, _) in zip(ends, stages, strict=False))
            picked = [axis["choices"][at] for axis, at in zip(layout["axes"], group["choices"], strict=True)]
            fits &= ends[-1] == len(self.kinds) and all(o in part["options"] for part in picked for _, _, o in stages)
            need(fits, "the plan's stages are not every layer once, as wide as allowed")
            for row in (self.rows[index] for part in (layout, *picked) for index in part["rows"]):
                cells = [(self.spread(self.cost(row["table"], o, floor=False)), i, j) for i, j, o in stages]
                costs, further = [c[i > 0] + c[j + 2] - c[i + 2] for c, i, j in cells], row["microbatches"] - 1
                value, of = max(costs) if further < 0 else sum(costs) + further * max(costs), row["name"].split("[")[0]
                found[of] = max(value, found.get(of, 0))
                need(row["limit"] is None or value <= row["limit"], f"the plan breaks {row['name']}: {value}")
        gpus, *carried = map(sum, zip(*sums, strict=True))
        need(gpus <= self.most and len(plan) <= (self.shapes or gpus), f"the plan has {gpus} GPUs, {len(plan)} shapes")
        need(all(map(int.__ge__, carried, self.demand)), f"the plan carries {carried} of {list(self.demand)} requests")
        return [gpus, len(plan), found.get("ttft"), found.get("memory")]

    def prove(self, refused: list[Any], limits: list[Any]) -> None:
        """Refute every fleet within the limits: the loads that single replicas are refused leave none of them."""
        (gpus, shapes, ttft, memory), rows = limits, list[Any]()
        walls = self.walls if ttft is memory is None else [*self.walls]  # refused under looser limits: here as well
        for row in self.rows:
            tops = (row["limit"], {"ttft": ttft, "memory": memory}.get(row["name"].split("[")[0]))
            limit = min((top for top in tops if top is not None), default=None)
            rows.append(row | {"limit": limit, "lo": -1, "top": limit and limit // max(1, row["microbatches"])})
        for width, share, trees in ((item["gpus"], self.shares[item["share"]], item["trees"]) for item in refused):
            need(any(x["max_gpus"] >= width for x in share["layouts"]), f"missing case: replicas of {width} GPUs")
            for layout, tree in zip(share["layouts"], trees, strict=True):
                self.refute(layout, tree, min(width, layout["max_gpus"]), rows)
            walls.append((width, tuple(share["load"])))
        maximal: Any = lambda found: {v for v in found if not any(v != w and all(map(int.__le__, v, w)) for w in found)}  # noqa: E731
        able = [[{(0,) * len(self.demand)}] * (gpus + 1) for _ in range(2 if shapes is None else shapes + 1)]
        for width in sorted({1, *(wide + 1 for wide, _ in walls)}):
            most = {self.demand}  # the most that a replica of this width may carry, as far as the walls say
            for load in (load for wide, load in walls if wide >= width):
                over = {v for v in most if all(a >= b for a, b in zip(v, load, strict=True))}
                under = {(*v[:s], w - 1, *v[s + 1 :]) for v in over for s, w in enumerate(load) if w}
                most = maximal(most - over | under)
            for top, count in ((top, count) for top in most for count in range(len(able) - 1, 0, -1)):
                before, used = able[count - (shapes is not None)], [set[Any]()] * (gpus + 1)
                for at in range(width, gpus + 1):
                    sums = (map(sum, zip(v, top, strict=True)) for v in before[at - width] | used[at - width])
                    used[at] = maximal({tuple(map(min, v, self.demand)) for v in sums})
                able[count] = [maximal(old | new) for old, new in zip(able[count], used, strict=True)]
        need(self.demand not in able[-1][gpus], f"some fleet of {gpus} GPUs is not refuted")

    def refute(self, layout: dict[str, Any], tree: list[list[Any]], most: int, rows: list[dict[str, Any]]) -> None:
        """Walk a tree, its nodes in pre-order: every context must end in a leaf whose contradiction holds."""
        options = {option for option, gpus in enumerate(self.gpus) if gpus <= most}
        stack = [({rows[index]["name"]: rows[index] for index in layout["rows"]}, options)]
        for node in tree:
            need(bool(stack) and shaped(node, NODES[node[0]], "node"), "malformed: a tree has nodes to spare")
            (known, options), (kind, name) = stack.pop(), node[:2]
            if kind == "axis":
                for choice in reversed(layout["axes"][name]["choices"]):
                    extra = {rows[index]["name"]: rows[index] for index in choice["rows"]}
                    stack.append((known | extra, options.intersection(choice["options"])))
            elif kind == "max":
                row, at = known[name], node[2]
                low = at if row["top"] is None else min(row["top"], at)
                stack.append((known | {name: row | {"lo": max(row["lo"], at)}}, options))
                stack.append((known | {name: row | {"top": low}}, options))
            elif not any(row["top"] is not None and row["lo"] >= row["top"] for row in known.values()):
                sums = [self.surrogate(known, options, most, parts) for parts in name]
                if node[2] or not any(limit < least for least, limit, *_ in sums):
                    caps = [(row["top"], row["table"]) for row in known.values() if row["top"] is not None]
                    self.leaf(caps, [rest for _, *rest in sums], node[2], options, most)
        need(not stack, f"missing case: a tree of layout {layout['name']} ends too early")

    def surrogate(self, known: Any, options: set[int], most: int, parts: list[Any]) -> tuple[int, int, Any, list[int]]:
        """Weigh and add rows: a chain's least, the limit, the costs of options, and the least of each cost."""
        limit, costs = 0, {option: [0] * len(self.often) for option in options}
        for kind, name, times in parts:
            row, wide = known[name], kind == "volume"
            need(row["limit"] is not None and (wide or row["microbatches"] > 0), f"{name} has no limit to use")
            limit += times * (row["top"] * most if wide else row["limit"] - (row["microbatches"] - 1) * (row["lo"] + 1))
            for option in options:
                factor, cells = times * (self.gpus[option] if wide else 1), self.cost(row["table"], option, floor=True)
                costs[option] = [old + factor * more for old, more in zip(costs[option], cells, strict=True)]
        least = [min(cells) for cells in zip(*costs.values(), strict=True)] or self.often
        return sum(map(int.__mul__, least, self.often)), limit, costs, least

    def leaf(self, caps: list[Any], sums: list[Any], given: list[Any], options: set[int], most: int) -> None:
        """Every extension of every label breaks a cap, is hopeless, or is dominated; none reaches the last layer."""
        last, stairs, labels = len(self.kinds), list[list[list[int]]]([[]]), [[[0] * (len(sums) + 1)], *given[1:]]
        need(all(len(x) == len(sums) + 1 and x[0] < last for items in labels for x in items), "malformed: a label")
        for items in labels[1:] + [[]] * (most + 1 - len(labels)):
            held = sorted(stairs[-1] + items, key=lambda item: item[1:])
            tops = accumulate((item[0] for item in held), max, initial=0)
            stairs.append([x for x, top in zip(held, tops, strict=False) if x[0] > top] if len(sums) < 2 else held)
        keys = [[x[1:] for x in held] for held in stairs]
        rest = [[x[1] + x[-1] - cost for cost in x[2:-1]] for x in (self.spread(least) for *_, least in sums)]
        for option, wide in ((option, self.gpus[option]) for option in options):
            stages = [(top, self.spread(self.cost(table, option, floor=True))) for top, table in caps]
            costs = [self.spread(cells[option]) for _, cells, _ in sums]
            whole = [list(map(int.__add__, c[2:-1], more)) for c, more in zip(costs, rest, strict=True)]
            for total, (start, *values) in ((wide + n, x) for n, y in enumerate(labels[: most + 1 - wide]) for x in y):
                at = [value + c[start > 0] - c[start + 2] for value, c in zip(values, costs, strict=True)]
                ends = [bisect_right(c, top - c[start > 0] + c[start + 2], start + 2) - 3 for top, c in stages]
                over = any(v + c[-1] > limit for v, c, (limit, *_) in zip(at, costs, sums, strict=True))
                need(over or min(ends, default=last) < last, "a chain within all limits may reach the last layer")
                ends += [bisect_right(c, x[0] - v, start) - 1 for v, c, x in zip(at, whole, sums, strict=True)]
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
    best, certified = problem.measure(plan) if plan else [None] * 4, claims["gpus"]["by"] == "certified"
    for level, (name, value) in enumerate(zip(CLAIMS, best, strict=True)):
        lower, upper, by, of = (claims[name][key] for key in CLAIM) if claims[name] else (0, value, "certified", [])
        fits = upper == value and (lower <= value if value is not None else lower * level == 0)
        need(fits, f"{name}: {lower}..{upper} with a plan of {value}")
        need(by == "certified" or by.startswith(("claimed by ", "agreed by ")), f"{name}: by {by}")
        if by == "certified" and lower > 0:
            problem.prove(of, [*best[:level], lower - 1, *[problem.shapes, None, None][level:]])
        said += [f"{name} {lower}..{'none' if value is None else value} ({by})"] * (claims[name] is not None)
    low, fleet = claims["gpus"]["lower"], "replicas all alike" if problem.shapes else "any fleet"
    need(low <= problem.most + 1 and (certified or plan), "the claim is about more than the file holds")
    kind = "optimal" if low == best[0] else "gap" if plan else "infeasible" if low > problem.most else "bound"
    said[0] = f"{f'certified-{kind}' if certified else 'solver-claimed'}: {said[0]}"
    return f"{', '.join(said)}; {fleet}, in exact integer arithmetic, verified by checker {VERSION}, {SCOPE}"


def check(raw: bytes) -> str:
    """Say what a certificate proves, in one line; `CheckError` when anything is malformed, missing or wrong."""
    try:
        return judge(parse(raw.decode())) if need(len(raw) <= MAX_BYTES, f"more than {MAX_BYTES} bytes") else ""
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise CheckError(f"malformed: {error!r:.200}") from None


if __name__ == "__main__":
    try:
        with open(sys.argv[1], "rb") as file:
            sys.stdout.write(f"accepted: {check(file.read(MAX_BYTES + 1))}\n")
    except (CheckError, OSError) as error:
        sys.stdout.write(f"refused: {error}\n")
        sys.exit(4)
