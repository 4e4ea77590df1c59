"""Certificates: what a search has established, as one self-contained JSON document, and back.

The format and the rules of the checker are documented in docs/certificate.md. Writing derives nothing new: the
programs of single replicas, the fleet, each level's bound, and the loads refused to replicas that refute anything
below it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path as FilePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from shardproof.formulations.deployment.chains import Chain, StageChoice, peak_memory, worst_ttft
from shardproof.formulations.deployment.tables import Program
from shardproof.formulations.fleet.covering import reaches
from shardproof.formulations.fleet.fleet import Fleet, Group
from shardproof.instances.errors import InputError
from shardproof.instances.writing import write_whole
from shardproof.solver.checkers import certificate as checker
from shardproof.solver.proof.capacity import alike_claims
from shardproof.solver.proof.certificate_json import Shares, read_program, read_shares, read_tree, write_tree
from shardproof.solver.proof.refutation import CapacityClaim, Refutation

if TYPE_CHECKING:
    from shardproof.instances.instance import Instance
    from shardproof.solver.proof.evidence import Evidence

LevelName = Literal["gpus", "shapes", "ttft", "memory"]
KEYS: dict[LevelName, str] = {"gpus": "gpus", "shapes": "shapes", "ttft": "ttft_ns", "memory": "memory_bytes"}
CERTIFIED = "certified"


@dataclass(frozen=True)
class Claim:
    """One level: the plan's value (``None``: no plan), the bound, by whom, and the loads refused that prove it."""

    lower: int
    upper: int | None
    by: str
    refused: tuple[CapacityClaim, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """A problem, a fleet that solves it (or none), and what is claimed about both.

    ``program``: kinds, options, budget and demand (``batch_sizes``); its layouts say nothing here. ``replicas``:
    whether they must be ``alike``, or are ``free`` to differ.
    """

    instance: str
    program: Program
    fleet: Fleet | None
    claims: dict[LevelName, Claim]
    replicas: str = "alike"


def certificate_of(
    program: Program,
    *,
    instance: str,
    chain: Chain | None,
    bounds: Mapping[LevelName, int],
    refutations: Mapping[LevelName, Refutation],
    claimed_by: str = "claimed by shardproof",
) -> Certificate:
    """Put together what a search of replicas that are all alike has found.

    Parameters
    ----------
    bounds
        per level the bound claimed; a level without a bound is left out (``gpus``: 0, claimed by nobody).
    refutations
        per level the refutation of everything below the bound; a bound without one is marked ``claimed_by``.
    """
    refused = {
        level: alike_claims(program.layouts, tree.gpus, tree.trees, program.batch_sizes)
        for level, tree in refutations.items()
    }
    fleet = None if chain is None else Fleet((alike_group(program, chain),))
    return Certificate(instance, program, fleet, _claims(fleet, bounds, refused, claimed_by))


def alike_group(program: Program, chain: Chain) -> Group:
    """Return the only group of replicas that are all alike."""
    found = program.layouts[chain.layout]
    places = [place for place, layout in enumerate(program.layouts) if layout.replicas == found.replicas]
    load = tuple(-(-requests // found.replicas) for requests in program.batch_sizes)
    layouts = tuple(replace(program.layouts[place], replicas=1) for place in places)
    own = replace(program, layouts=layouts, batch_sizes=())
    return Group(found.replicas, load, own, replace(chain, layout=places.index(chain.layout)))


def _claims(
    fleet: Fleet | None,
    bounds: Mapping[LevelName, int],
    refused: Mapping[LevelName, Sequence[CapacityClaim]],
    claimed_by: str,
) -> dict[LevelName, Claim]:
    claims: dict[LevelName, Claim] = {}
    known: list[CapacityClaim] = []
    for level, value in values_of(fleet).items():
        lower = bounds.get(level)
        if level == "gpus":
            lower = lower or 0
        if lower is None or (value is None and level != "gpus"):
            continue
        found = refused.get(level)
        needs_none = lower <= (1 if level in ("gpus", "shapes") else 0)
        proven = needs_none or (found is not None and all(claim.trees is not None for claim in found))
        fresh = () if needs_none else _not_known(found or (), known)
        claims[level] = Claim(lower, value, CERTIFIED, fresh) if proven else Claim(lower, value, claimed_by)
        if proven and level in ("gpus", "shapes"):
            known += fresh
    return claims


def _not_known(found: Sequence[CapacityClaim], known: Sequence[CapacityClaim]) -> tuple[CapacityClaim, ...]:
    """Leave out what a level of looser limits refuses: a reader carries it over."""
    return tuple(one for one in found if not any(old.gpus >= one.gpus and reaches(one.load, old.load) for old in known))


def values_of(fleet: Fleet | None) -> dict[LevelName, int | None]:
    """Value of a fleet on every level, on ceiling tables (``None``: no fleet, or no such row)."""
    if fleet is None:
        return {"gpus": None, "shapes": None, "ttft": None, "memory": None}
    ttft = [worst_ttft(group.program, group.chain, floor=False) for group in fleet.groups]
    memory = [peak_memory(group.program, group.chain) for group in fleet.groups]
    return {
        "gpus": fleet.gpus,
        "shapes": len(fleet.groups),
        "ttft": max((value for value in ttft if value is not None), default=None),
        "memory": max((value for value in memory if value is not None), default=None),
    }


def certificate_of_evidence(evidence: Evidence, instance: Instance, *, claimed_by: str | None = None) -> Certificate:
    """Put together the certificate of a solver's evidence; infeasible is the bound ``max_gpus + 1``.

    ``claimed_by`` names who says so where no refutation stands behind a bound (default: CP-SAT and its version).
    """
    program, fleet, bounds = evidence.program, evidence.fleet, dict[LevelName, int]()
    for level in KEYS:
        found = evidence.levels.get(level)
        if found is not None and found.bound is not None:
            bounds[level] = found.bound
    if fleet is None and evidence.chain is not None:
        fleet = Fleet((alike_group(program, evidence.chain),))
    refused: dict[LevelName, Sequence[CapacityClaim]] = {}
    for level in KEYS:
        tree, free = evidence.refutations.get(level), evidence.capacities.get(level)
        if free is not None:
            refused[level] = free
        elif tree is not None:
            refused[level] = alike_claims(program.layouts, tree.gpus, tree.trees, program.batch_sizes)
    tree = evidence.refutations.get("gpus")
    if evidence.infeasible and "gpus" in refused:
        bounds["gpus"] = program.max_gpus + 1
    elif "gpus" not in bounds and tree is not None:
        bounds["gpus"] = tree.gpus + 1
    by = claimed_by or evidence.claimed_by or f"claimed by CP-SAT {version('ortools')}"
    return Certificate(
        instance.fingerprint, program, fleet, _claims(fleet, bounds, refused, by), replicas=evidence.replicas
    )


def certificate_document(evidence: Evidence, instance: Instance, *, claimed_by: str | None = None) -> dict[str, Any]:
    """Return the JSON document of a solver's evidence."""
    return to_document(certificate_of_evidence(evidence, instance, claimed_by=claimed_by))


def accepted(evidence: Evidence, instance: Instance, *, within_s: float | None = None) -> bool | None:
    """Whether the checker accepts the certificate of this evidence (``None``: it has not said so in the time given).

    With a time limit the checker runs as it does for a sceptic, as a process of its own, which can be stopped.
    """
    certificate = certificate_of_evidence(evidence, instance)
    if certificate.claims["gpus"].by != CERTIFIED:
        return False
    raw = to_json(certificate).encode()
    if within_s is not None:
        return _accepted_within(raw, within_s)
    try:
        checker.check(raw)
    except checker.CheckError:
        return False
    return True


def _accepted_within(raw: bytes, seconds: float) -> bool | None:
    with TemporaryDirectory() as folder:
        file = FilePath(folder) / "certificate.json"
        file.write_bytes(raw)
        command = [sys.executable, "-I", str(FilePath(checker.__file__).resolve()), str(file)]
        try:
            return subprocess.run(command, timeout=seconds, capture_output=True, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return None


def to_document(certificate: Certificate) -> dict[str, Any]:
    """Return the JSON document of a certificate."""
    shares = Shares()
    for refused in (one for level in certificate.claims.values() for one in level.refused):
        shares.refuse(refused)
    plan = None
    if certificate.fleet is not None:
        plan = [_write_group(group, shares) for group in certificate.fleet.groups]
    claims = {
        key: None if (claim := certificate.claims.get(level)) is None else _write_claim(claim, shares)
        for level, key in KEYS.items()
    }
    return {
        "format": checker.FORMAT,
        "instance": certificate.instance,
        "program": shares.write(certificate.program, replicas=certificate.replicas),
        "plan": plan,
        "claims": claims,
    }


def _write_group(group: Group, shares: Shares) -> dict[str, Any]:
    return {
        "replicas": group.replicas,
        "share": shares.plan(group.load, group.program.layouts, group.chain.layout),
        "layout": group.chain.layout,
        "choices": list(group.chain.choices),
        "stages": [[stage.start, stage.stop, stage.option] for stage in group.chain.stages],
    }


def _write_claim(claim: Claim, shares: Shares) -> dict[str, Any]:
    refused = [
        {
            "gpus": one.gpus,
            "share": shares.place(one.load, one.layouts),
            "trees": list(map(write_tree, one.trees or ())),
        }
        for one in claim.refused
    ]
    return {"lower": claim.lower, "upper": claim.upper, "by": claim.by, "refused": refused}


def to_json(certificate: Certificate) -> str:
    """Return the text of a certificate, without spaces."""
    return json.dumps(to_document(certificate), separators=(",", ":"))


def write_certificate(certificate: Certificate, path: FilePath) -> None:
    """Write a certificate to a file."""
    write_whole(path, to_json(certificate) + "\n")


def from_document(document: Any) -> Certificate:
    """Return the certificate that a JSON document holds.

    Raises
    ------
    InputError
        If the document is not a certificate (whether it *proves* anything is for the checker to say).
    """
    try:
        checker.shaped(document, checker.SHAPE, "certificate")
        counts = [count for _, count in document["program"]["kinds"]]
        checker.need(0 < sum(counts) <= checker.MAX_LAYERS >= max(counts), "malformed: the number of layers")
        program = read_program(document["program"])
        fleet = None if document["plan"] is None else _read_fleet(document, program)
        claims = _read_claims(document)
        return Certificate(document["instance"], program, fleet, claims, document["program"]["replicas"])
    except checker.CheckError as error:
        raise InputError(str(error)) from None
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"not a certificate: {error}") from None


def _read_fleet(document: Any, program: Program) -> Fleet:
    shares, groups = read_shares(document["program"]), []
    for group in document["plan"]:
        load, layouts = shares[group["share"]]
        chain = Chain(group["layout"], tuple(group["choices"]), tuple(StageChoice(*stage) for stage in group["stages"]))
        groups.append(Group(group["replicas"], load, replace(program, layouts=layouts), chain))
    return Fleet(tuple(groups))


def _read_claims(document: Any) -> dict[LevelName, Claim]:
    shares, claims = read_shares(document["program"]), dict[LevelName, Claim]()
    for level, key in KEYS.items():
        value = document["claims"][key]
        if value is not None:
            refused = []
            for one in value["refused"]:
                load, layouts = shares[one["share"]]
                trees = tuple(read_tree(nodes, layout) for nodes, layout in zip(one["trees"], layouts, strict=False))
                refused.append(CapacityClaim(one["gpus"], load, layouts, trees))
            claims[level] = Claim(value["lower"], value["upper"], value["by"], tuple(refused))
    return claims


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
    try:
        return from_document(document)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
