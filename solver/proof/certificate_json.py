"""The JSON form of programs and refutation trees, and back (docs/certificate.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from shardproof.formulations.deployment.tables import Axis, Cap, Choice, Layout, Path, Program, Table
from shardproof.instances.errors import InternalError
from shardproof.instances.option import Option
from shardproof.solver.proof.refutation import (
    CapacityClaim,
    Empty,
    Frontier,
    Node,
    Reach,
    SplitAxis,
    SplitMax,
    Sum,
    Volume,
)

CELLS = ("base", "entry", "first", "last")


class _Pool:
    """Tables and rows written once each, in order of appearance; equal ones share a place."""

    def __init__(self) -> None:
        self.tables: dict[str, int] = {}
        self.rows: dict[tuple[str, int, int | None, int], int] = {}
        self._written: dict[int, tuple[Table, int]] = {}

    def cap(self, cap: Cap) -> int:
        if cap.limit < 0:  # a reader knows natural numbers: both sides of the row are raised to the same effect
            raised = replace(cap.table, base=[cost - cap.limit for cost in cap.table.base])
            cap = replace(cap, table=raised, limit=0)
        return self._row((_named(cap.name, "memory", counted=cap.memory), self._table(cap.table), cap.limit, 0))

    def path(self, path: Path) -> int:
        name = _named(path.name, "ttft", counted=path.ttft)
        return self._row((name, self._table(path.table), path.limit, path.microbatches))

    def _table(self, table: Table) -> int:
        if id(table) not in self._written:
            place = self.tables.setdefault(json.dumps(_write_table(table)), len(self.tables))
            self._written[id(table)] = (table, place)
        return self._written[id(table)][1]

    def _row(self, row: tuple[str, int, int | None, int]) -> int:
        return self.rows.setdefault(row, len(self.rows))


def _named(name: str, level: str, *, counted: bool) -> str:
    """Return a row's name, which alone tells a reader whether a later level lowers the row."""
    if (name.partition("[")[0] == level) is not counted:
        raise InternalError(f"the name of row {name} does not say whether it counts for {level}")
    return name


def _write_table(table: Table) -> dict[str, Any]:
    cells = {key: list(getattr(table, key)) for key in CELLS}
    return cells | {"layer": [list(row) for row in table.layer], "slack": table.slack}


ShareKey = tuple[tuple[int, ...], tuple[tuple[str, int | None], ...]]
"""Load of a replica, and the name and span of each of its layouts."""


class Shares:
    """Programs of single replicas by load, in order of appearance.

    Axes that no tree splits and that no plan uses are left out: fewer rows refute less, so what is refuted without
    them is refuted with them.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._places: dict[ShareKey, int] = {}
        self._layouts: list[tuple[Layout, ...]] = []
        self._used: list[set[int]] = []

    def place(self, load: tuple[int, ...], layouts: tuple[Layout, ...]) -> int:
        """Return the place of a replica's program."""
        key = load, tuple((layout.name, layout.max_gpus) for layout in layouts)
        if key not in self._places:
            self._layouts.append(layouts)
            self._used.append(set())
        return self._places.setdefault(key, len(self._places))

    def refuse(self, claim: CapacityClaim) -> None:
        """Keep the axes that the trees of a claim split."""
        place = self.place(claim.load, claim.layouts)
        self._used[place] |= {at for at, tree in enumerate(claim.trees or ()) if isinstance(tree, SplitAxis)}

    def plan(self, load: tuple[int, ...], layouts: Sequence[Layout], layout: int) -> int:
        """Keep the axes of a layout that the plan uses; return the place of the program."""
        place = self.place(load, tuple(layouts))
        self._used[place].add(layout)
        return place

    def write(self, program: Program, *, replicas: str) -> dict[str, Any]:
        """Return the JSON form of a problem with these programs; equal ones give equal forms."""
        kept = [
            [layout if at in used else replace(layout, axes=()) for at, layout in enumerate(layouts)]
            for layouts, used in zip(self._layouts, self._used, strict=True)
        ]
        loads = [list(load) for load, _ in self._places]
        return write_program(program, list(zip(loads, kept, strict=True)), replicas=replicas)


def write_program(
    program: Program, shares: Sequence[tuple[Sequence[int], Sequence[Layout]]], *, replicas: str
) -> dict[str, Any]:
    """Return the JSON form of a problem: its kinds, options and demand, and the programs of single replicas."""
    pool = _Pool()
    written = [
        {"load": list(load), "layouts": [_write_layout(one, pool) for one in layouts]} for load, layouts in shares
    ]
    names = ("name", "table", "limit", "microbatches")
    return {
        "kinds": _runs(program.kinds),
        "options": [[option.attn_tp, option.attn_dp, option.moe_tp, option.moe_ep] for option in program.options],
        "tables": [json.loads(table) for table in pool.tables],
        "rows": [dict(zip(names, row, strict=True)) for row in pool.rows],
        "shares": written,
        "demand": list(program.batch_sizes),
        "max_gpus": program.max_gpus,
        "replicas": replicas,
    }


def _write_layout(layout: Layout, pool: _Pool) -> dict[str, Any]:
    rows = [pool.cap(cap) for cap in layout.caps]
    axes = [_write_axis(axis, pool) for axis in layout.axes]
    return {"name": layout.name, "max_gpus": layout.max_gpus, "rows": rows, "axes": axes}


def _write_axis(axis: Axis, pool: _Pool) -> dict[str, Any]:
    choices = [
        {
            "value": choice.value,
            "rows": [*map(pool.cap, choice.caps), *map(pool.path, choice.paths)],
            "options": None if choice.options is None else list(choice.options),
        }
        for choice in axis.choices
    ]
    return {"name": axis.name, "rule": axis.rule, "size": axis.size, "choices": choices}


def _runs(kinds: tuple[int, ...]) -> list[list[int]]:
    runs: list[list[int]] = []
    for kind in kinds:
        if runs and runs[-1][0] == kind:
            runs[-1][1] += 1
        else:
            runs.append([kind, 1])
    return runs


def write_tree(root: Node) -> list[list[Any]]:
    """Return a tree's nodes in pre-order."""
    nodes: list[list[Any]] = []
    stack = [root]
    while stack:
        node = stack.pop()
        nodes.append(_write_node(node))
        if isinstance(node, SplitAxis):
            stack.extend(reversed(node.children))
        elif isinstance(node, SplitMax):
            stack.extend((node.high, node.low))
    return nodes


def _write_node(node: Node) -> list[Any]:
    found: list[Any]
    match node:
        case SplitAxis():
            found = ["axis", node.axis]
        case SplitMax():
            found = ["max", node.path, node.at]
        case Empty():
            found = ["leaf", [], []]
        case Volume():
            found = ["leaf", [[["volume", node.row, 1]]], []]
        case Sum():
            found = ["leaf", [[["sum", node.row, 1]]], []]
        case Reach():
            labels = [[[layer]] if layer or not g else [] for g, layer in enumerate(node.layers)]
            found = ["leaf", [], _trimmed(labels)]
        case Frontier():
            rows = [[["sum", name, weight] for name, weight in row] for row in node.weights]
            found = ["leaf", rows, _trimmed([[list(label) for label in items] for items in node.labels])]
    return found


def _trimmed(labels: list[list[list[int]]]) -> list[list[list[int]]]:
    count = max((g + 1 for g, items in enumerate(labels) if items), default=0)
    return labels[:count]


def read_program(value: dict[str, Any]) -> Program:
    """Return kinds, options, budget and demand of a problem (its layouts: see `read_shares`)."""
    return Program(
        kinds=tuple(kind for kind, count in value["kinds"] for _ in range(count)),
        options=tuple(Option(*shape) for shape in value["options"]),
        layouts=(),
        max_gpus=value["max_gpus"],
        batch_sizes=tuple(value["demand"]),
    )


def read_shares(value: dict[str, Any]) -> list[tuple[tuple[int, ...], tuple[Layout, ...]]]:
    """Return load and layouts of every replica program of a problem."""
    tables = [
        Table(
            **{key: tuple(table[key]) for key in CELLS}, layer=tuple(map(tuple, table["layer"])), slack=table["slack"]
        )
        for table in value["tables"]
    ]
    rows = [_read_row(row, tables) for row in value["rows"]]
    return [
        (tuple(share["load"]), tuple(_read_layout(layout, rows, tuple(share["load"])) for layout in share["layouts"]))
        for share in value["shares"]
    ]


def _read_row(row: dict[str, Any], tables: list[Table]) -> Cap | Path:
    table, level = tables[row["table"]], row["name"].partition("[")[0]
    if row["microbatches"]:
        return Path(row["name"], table, row["microbatches"], row["limit"], level == "ttft")
    return Cap(row["name"], table, row["limit"], level == "memory")


def _read_layout(value: dict[str, Any], rows: list[Cap | Path], load: tuple[int, ...]) -> Layout:
    caps = tuple(row for index in value["rows"] if isinstance(row := rows[index], Cap))
    axes = []
    for axis in value["axes"]:
        choices = []
        for choice in axis["choices"]:
            mine = [rows[index] for index in choice["rows"]]
            options = None if choice["options"] is None else tuple(choice["options"])
            own_caps = tuple(row for row in mine if isinstance(row, Cap))
            own_paths = tuple(row for row in mine if isinstance(row, Path))
            choices.append(Choice(choice["value"], own_caps, own_paths, options))
        axes.append(Axis(axis["name"], tuple(choices), axis["rule"], axis["size"]))
    return Layout(value["name"], 1, value["max_gpus"], caps, tuple(axes), load)


def read_tree(nodes: list[list[Any]], layout: Layout) -> Node:
    """Return the tree whose nodes stand in pre-order."""
    done: list[Node] = []
    for node in reversed(nodes):
        if node[0] == "axis":
            count = len(layout.axes[node[1]].choices)
            children = tuple(done.pop() for _ in range(count))
            done.append(SplitAxis(node[1], children))
        elif node[0] == "max":
            done.append(SplitMax(node[1], node[2], done.pop(), done.pop()))
        else:
            done.append(_read_leaf(node[1], node[2]))
    (root,) = done
    return root


def _read_leaf(rows: list[list[list[Any]]], labels: list[list[list[int]]]) -> Node:
    if not labels and len(rows) == 1 and len(rows[0]) == 1 and rows[0][0][2] == 1:
        kind, name, _ = rows[0][0]
        return Volume(name) if kind == "volume" else Sum(name)
    if not rows:
        return Reach(tuple(max((item[0] for item in items), default=0) for items in labels)) if labels else Empty()
    weights = tuple(tuple((name, weight) for _, name, weight in row) for row in rows)
    return Frontier(weights, tuple(tuple(tuple(item) for item in items) for items in labels))
