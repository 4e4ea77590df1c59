"""The JSON form of programs and refutation trees, and back (docs/certificate.md)."""

from __future__ import annotations

import json
from typing import Any

from shardproof.formulations.deployment.tables import Axis, Cap, Choice, Layout, Path, Program, Table
from shardproof.instances.option import Option
from shardproof.solver.proof.refutation import Empty, Frontier, Node, Reach, SplitAxis, SplitMax, Sum, Volume

CELLS = ("base", "entry", "first", "last")


class _Pool:
    """Tables and rows written once each, in order of appearance; equal ones share a place."""

    def __init__(self) -> None:
        self.tables: dict[str, int] = {}
        self.rows: dict[tuple[str, int, int | None, int, int], int] = {}

    def cap(self, cap: Cap) -> int:
        return self._row((cap.name, self._table(cap.table), cap.limit, 0, int(cap.memory)))

    def path(self, path: Path) -> int:
        return self._row((path.name, self._table(path.table), path.limit, path.microbatches, int(path.ttft)))

    def _table(self, table: Table) -> int:
        return self.tables.setdefault(json.dumps(_write_table(table)), len(self.tables))

    def _row(self, row: tuple[str, int, int | None, int, int]) -> int:
        return self.rows.setdefault(row, len(self.rows))


def _write_table(table: Table) -> dict[str, Any]:
    cells = {key: list(getattr(table, key)) for key in CELLS}
    return cells | {"layer": [list(row) for row in table.layer], "slack": table.slack}


def write_program(program: Program) -> dict[str, Any]:
    """Return the JSON form of a program; equal programs give equal forms."""
    pool = _Pool()
    layouts = [
        {
            "name": layout.name,
            "replicas": layout.replicas,
            "max_gpus": layout.max_gpus,
            "rows": [pool.cap(cap) for cap in layout.caps],
            "axes": [_write_axis(axis, pool) for axis in layout.axes],
        }
        for layout in program.layouts
    ]
    names = ("name", "table", "limit", "microbatches", "marked")
    return {
        "kinds": _runs(program.kinds),
        "options": [[option.attn_tp, option.attn_dp, option.moe_tp, option.moe_ep] for option in program.options],
        "tables": [json.loads(table) for table in pool.tables],
        "rows": [dict(zip(names, row, strict=True)) for row in pool.rows],
        "layouts": layouts,
        "max_gpus": program.max_gpus,
        "batch_sizes": list(program.batch_sizes),
    }


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
    """Return the program that its JSON form describes."""
    tables = [
        Table(
            **{key: tuple(table[key]) for key in CELLS}, layer=tuple(map(tuple, table["layer"])), slack=table["slack"]
        )
        for table in value["tables"]
    ]
    rows = [_read_row(row, tables) for row in value["rows"]]
    return Program(
        kinds=tuple(kind for kind, count in value["kinds"] for _ in range(count)),
        options=tuple(Option(*shape) for shape in value["options"]),
        layouts=tuple(_read_layout(layout, rows) for layout in value["layouts"]),
        max_gpus=value["max_gpus"],
        batch_sizes=tuple(value["batch_sizes"]),
    )


def _read_row(row: dict[str, Any], tables: list[Table]) -> Cap | Path:
    table, marked = tables[row["table"]], bool(row["marked"])
    if row["microbatches"]:
        return Path(row["name"], table, row["microbatches"], row["limit"], marked)
    return Cap(row["name"], table, row["limit"], marked)


def _read_layout(value: dict[str, Any], rows: list[Cap | Path]) -> Layout:
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
    return Layout(value["name"], value["replicas"], value["max_gpus"], caps, tuple(axes))


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
