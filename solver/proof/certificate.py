"""Certificates: what a search has established, as one self-contained JSON document, and back.

The format and the rules of the checker are documented in docs/certificate.md. Writing derives nothing new: the
program, the chain, each level's bound and the trees that refute anything below it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Literal

from shardproof.formulations.deployment.chains import Chain, StageChoice, path_cost, stage_cost
from shardproof.formulations.deployment.tables import Cap, Path, Program
from shardproof.instances.errors import InputError
from shardproof.solver.checkers import certificate as checker
from shardproof.solver.proof.certificate_json import read_program, read_tree, write_program, write_tree
from shardproof.solver.proof.refutation import Empty, Node, Refutation, SplitAxis

if TYPE_CHECKING:
    from shardproof.instances.instance import Instance
    from shardproof.solver.proof.evidence import Evidence

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


def certificate_of_evidence(evidence: Evidence, instance: Instance, *, claimed_by: str | None = None) -> Certificate:
    """Put together the certificate of a solver's evidence; infeasible is the bound ``max_gpus + 1``.

    ``claimed_by`` names who says so where no refutation stands behind a bound (default: CP-SAT and its version).
    """
    bounds: dict[LevelName, int] = {}
    for level in KEYS:
        found = evidence.levels.get(level)
        if found is not None and found.bound is not None:
            bounds[level] = found.bound
    if evidence.chain is None and "gpus" in evidence.refutations:
        bounds["gpus"] = evidence.refutations["gpus"].gpus + 1
    return certificate_of(
        without_unused_axes(evidence),
        instance=instance.fingerprint,
        chain=evidence.chain,
        bounds=bounds,
        refutations={level: tree for level in KEYS if (tree := evidence.refutations.get(level)) is not None},
        claimed_by=claimed_by or evidence.claimed_by or f"claimed by CP-SAT {version('ortools')}",
    )


def without_unused_axes(evidence: Evidence) -> Program:
    """Return the program without the axes of layouts that no tree splits and that the plan does not use.

    Fewer rows refute less, so what is refuted without them is refuted with them.
    """
    used = set() if evidence.chain is None else {evidence.chain.layout}
    for refutation in evidence.refutations.values():
        used |= {place for place, tree in enumerate(refutation.trees) if isinstance(tree, SplitAxis)}
    layouts = tuple(
        layout if place in used else replace(layout, axes=()) for place, layout in enumerate(evidence.program.layouts)
    )
    return replace(evidence.program, layouts=layouts)


def certificate_document(evidence: Evidence, instance: Instance, *, claimed_by: str | None = None) -> dict[str, Any]:
    """Return the JSON document of a solver's evidence."""
    return to_document(certificate_of_evidence(evidence, instance, claimed_by=claimed_by))


def accepted(evidence: Evidence, instance: Instance) -> bool:
    """Whether the checker accepts the certificate of this evidence."""
    certificate = certificate_of_evidence(evidence, instance)
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
