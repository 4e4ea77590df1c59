"""Certificates: what a search has established, as one self-contained JSON document, and back.

The format and the rules of the checker are documented in docs/certificate.md. Writing derives nothing new: the
program, the chain, each level's bound and the trees that refute anything below it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Literal

from formulations.deployment.tables import (
    Axis,
    Cap,
    Chain,
    Choice,
    Layout,
    Option,
    Path,
    Program,
    StageChoice,
    Table,
    path_cost,
    stage_cost,
)
from instances.errors import InputError
from solver import checker
from solver.refutation import Empty, Frontier, Node, Reach, Refutation, SplitAxis, SplitMax, Sum, Volume

if TYPE_CHECKING:
    from instances.instance import Instance
    from solver.result import Evidence

LevelName = Literal["gpus", "ttft", "memory"]
KEYS: dict[LevelName, str] = {"gpus": "gpus", "ttft": "ttft_ns", "memory": "memory_bytes"}
CERTIFIED = "certified"


@dataclass(frozen=True)
class Claim:
    """One level: the plan's value (``None``: no plan), the bound, by whom, and the trees behind the bound."""

    lower: int
    upper: int | None
    by: str
    trees: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """A program, a chain of it (or none), and what is claimed about both."""

    instance: str
    program: Program
    chain: Chain | None
    claims: dict[LevelName, Claim]


def certificate_of(
    program: Program,
    *,
    instance: str,
    chain: Chain | None,
    bounds: dict[LevelName, int],
    refutations: dict[LevelName, Refutation],
    claimed_by: str = "claimed by shardproof",
) -> Certificate:
    """Put together what a search has found.

    Parameters
    ----------
    bounds
        per level the bound claimed; a level without a bound is left out (``gpus``: 0, claimed by nobody).
    refutations
        per level the refutation of everything below the bound; a bound without one is marked ``claimed_by``.
    """
    claims: dict[LevelName, Claim] = {}
    values: dict[LevelName, int | None] = {"gpus": None, "ttft": None, "memory": None}
    if chain is not None:
        values = {"gpus": chain.gpus(program), "ttft": ttft_of(program, chain), "memory": memory_of(program, chain)}
    for level, value in values.items():
        lower = bounds.get(level)
        if level == "gpus":
            lower = lower or 0
        if lower is None or (value is None and level != "gpus"):
            continue
        refutation = refutations.get(level)
        if level == "gpus" and lower == 1 and refutation is None:
            refutation = Refutation(0, tuple(Empty() for _ in program.layouts))
        if refutation is None and lower > 0:
            claims[level] = Claim(lower, value, claimed_by)
        else:
            claims[level] = Claim(lower, value, CERTIFIED, () if refutation is None else refutation.trees)
    return Certificate(instance, program, chain, claims)


def certificate_of_evidence(evidence: Evidence, instance: Instance, *, claimed_by: str) -> Certificate:
    """Put together the certificate of a solver's evidence; infeasible is the bound ``max_gpus + 1``."""
    bounds: dict[LevelName, int] = {}
    for level in KEYS:
        found = evidence.levels.get(level)
        if found is not None and found.bound is not None:
            bounds[level] = found.bound
    if evidence.chain is None and "gpus" in evidence.refutations:
        bounds["gpus"] = evidence.refutations["gpus"].gpus + 1
    return certificate_of(
        evidence.program,
        instance=instance.fingerprint,
        chain=evidence.chain,
        bounds=bounds,
        refutations={level: tree for level in KEYS if (tree := evidence.refutations.get(level)) is not None},
        claimed_by=claimed_by,
    )


def accepted(evidence: Evidence, instance: Instance) -> bool:
    """Whether the checker accepts the certificate of this evidence."""
    certificate = certificate_of_evidence(evidence, instance, claimed_by="claimed by shardproof")
    try:
        checker.check(to_json(certificate).encode())
    except checker.CheckError:
        return False
    return certificate.claims["gpus"].by == CERTIFIED


def ttft_of(program: Program, chain: Chain) -> int | None:
    """Largest TTFT row of a chain in ns, on ceiling tables (``None``: no such row)."""
    _, paths = rows_of(program, chain)
    return max((path_cost(program, path, chain.stages) for path in paths if path.ttft), default=None)


def memory_of(program: Program, chain: Chain) -> int | None:
    """Largest memory row of a chain in bytes (``None``: no such row)."""
    caps, _ = rows_of(program, chain)
    costs = (stage_cost(program, cap.table, stage) for cap in caps if cap.memory for stage in chain.stages)
    return max(costs, default=None)


def rows_of(program: Program, chain: Chain) -> tuple[list[Cap], list[Path]]:
    """Caps and paths of a chain's layout and choices."""
    layout = program.layouts[chain.layout]
    picked = [axis.choices[index] for axis, index in zip(layout.axes, chain.choices, strict=True)]
    caps = [*layout.caps, *(cap for choice in picked for cap in choice.caps)]
    return caps, [path for choice in picked for path in choice.paths]


class _Pool:
    """Tables and rows written once each, in order of appearance."""

    def __init__(self) -> None:
        self.tables: dict[Table, int] = {}
        self.rows: dict[tuple[str, int, int | None, int, int], int] = {}

    def cap(self, cap: Cap) -> int:
        return self._row((cap.name, self._table(cap.table), cap.limit, 0, int(cap.memory)))

    def path(self, path: Path) -> int:
        return self._row((path.name, self._table(path.table), path.limit, path.microbatches, int(path.ttft)))

    def _table(self, table: Table) -> int:
        return self.tables.setdefault(table, len(self.tables))

    def _row(self, row: tuple[str, int, int | None, int, int]) -> int:
        return self.rows.setdefault(row, len(self.rows))


def to_document(certificate: Certificate) -> dict[str, Any]:
    """Return the JSON document of a certificate."""
    chain = certificate.chain
    plan = None
    if chain is not None:
        stages = [[stage.start, stage.stop, stage.option] for stage in chain.stages]
        plan = {"layout": chain.layout, "choices": list(chain.choices), "stages": stages}
    claims = {
        key: None
        if (claim := certificate.claims.get(level)) is None
        else {
            "lower": claim.lower,
            "upper": claim.upper,
            "by": claim.by,
            "trees": [write_tree(tree) for tree in claim.trees],
        }
        for level, key in KEYS.items()
    }
    return {
        "format": checker.FORMAT,
        "instance": certificate.instance,
        "program": write_program(certificate.program),
        "plan": plan,
        "claims": claims,
    }


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
    cells = ("base", "entry", "first", "last")
    tables = [
        {key: list(getattr(table, key)) for key in cells}
        | {"layer": [list(row) for row in table.layer], "slack": table.slack}
        for table in pool.tables
    ]
    names = ("name", "table", "limit", "microbatches", "marked")
    return {
        "kinds": _runs(program.kinds),
        "options": [[option.attn_tp, option.attn_dp, option.moe_tp, option.moe_ep] for option in program.options],
        "tables": tables,
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
    match node:
        case SplitAxis():
            return ["axis", node.axis]
        case SplitMax():
            return ["max", node.path, node.at]
        case Empty():
            return ["leaf", [], []]
        case Volume():
            return ["leaf", [[["volume", node.row, 1]]], []]
        case Sum():
            return ["leaf", [[["sum", node.row, 1]]], []]
        case Reach():
            return ["leaf", [], _trimmed([[[layer]] if layer or not g else [] for g, layer in enumerate(node.layers)])]
        case Frontier():
            rows = [[["sum", name, weight] for name, weight in row] for row in node.weights]
            return ["leaf", rows, _trimmed([[list(label) for label in items] for items in node.labels])]


def _trimmed(labels: list[list[list[int]]]) -> list[list[list[int]]]:
    count = max((g + 1 for g, items in enumerate(labels) if items), default=0)
    return labels[:count]


def to_json(certificate: Certificate) -> str:
    """Return the text of a certificate, without spaces."""
    return json.dumps(to_document(certificate), separators=(",", ":"))


def write_certificate(certificate: Certificate, path: FilePath) -> None:
    """Write a certificate to a file."""
    path.write_text(to_json(certificate) + "\n", encoding="utf-8")


def from_document(document: Any) -> Certificate:
    """Return the certificate that a JSON document holds.

    Raises
    ------
    InputError
        If the document is not a certificate (whether it *proves* anything is for the checker to say).
    """
    try:
        checker.shaped(document, checker.SHAPE, "certificate")
        program = read_program(document["program"])
        return Certificate(
            document["instance"], program, _read_chain(document["plan"]), _read_claims(document, program)
        )
    except checker.CheckError as error:
        raise InputError(str(error)) from None
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"not a certificate: {error}") from None


def _read_claims(document: Any, program: Program) -> dict[LevelName, Claim]:
    claims: dict[LevelName, Claim] = {}
    for level, key in KEYS.items():
        value = document["claims"][key]
        if value is not None:
            pairs = zip(value["trees"], program.layouts, strict=False)
            trees = tuple(read_tree(nodes, layout) for nodes, layout in pairs)
            claims[level] = Claim(value["lower"], value["upper"], value["by"], trees)
    return claims


def _read_chain(plan: Any) -> Chain | None:
    if plan is None:
        return None
    stages = tuple(StageChoice(*stage) for stage in plan["stages"])
    return Chain(plan["layout"], tuple(plan["choices"]), stages)


def read_program(value: dict[str, Any]) -> Program:
    """Return the program that its JSON form describes."""
    cells = ("base", "entry", "first", "last")
    tables = [
        Table(
            **{key: tuple(table[key]) for key in cells}, layer=tuple(map(tuple, table["layer"])), slack=table["slack"]
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


def read_certificate(path: FilePath) -> Certificate:
    """Read a certificate file.

    Raises
    ------
    InputError
        If the file cannot be read or is not a certificate.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(checker.MAX_BYTES + 1)
        checker.need(len(raw) <= checker.MAX_BYTES, f"malformed: more than {checker.MAX_BYTES} bytes")
        document = checker.parse(raw.decode())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (checker.CheckError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: not a certificate: {error}") from None
    return from_document(document)
