"""`verify`: check a certificate without trusting the solver that wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardproof.solver.api.question import instance_from
from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.formulations.deployment.build import Deployment
    from shardproof.formulations.deployment.tables import Layout
    from shardproof.instances.instance import Instance
    from shardproof.instances.pools import Pool, PoolsQuestion
    from shardproof.solver.api.question import Asking


PREMISE = "who carries more carries less"


@dataclass(frozen=True, repr=False)
class Verified(Answered):
    """Whether a certificate was accepted: what it proves, or why it was refused. True where it was accepted.

    ``premise``: what a plan's bounds rest on besides the file, and how far it was checked.
    """

    accepted: bool
    claim: str | None
    reason: str | None
    checker: str
    premise: str | None = None

    @property
    def exit_code(self) -> int:
        """0 accepted, 4 refused."""
        return 0 if self.accepted else 4

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``verify --json`` prints."""
        return {"accepted": self.accepted, "claim": self.claim, "reason": self.reason, "checker": self.checker} | (
            {} if self.premise is None else {"premise": self.premise}
        )

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row."""
        return [self.to_dict()]

    def __bool__(self) -> bool:
        """Return whether it was accepted."""
        return self.accepted

    def __str__(self) -> str:
        """Return the verdict in one line, and its premise in another."""
        if not self.accepted:
            return f"refused: {self.reason}"
        return f"accepted: {self.claim}" + ("" if self.premise is None else f"\npremise: {self.premise}")

    def __repr__(self) -> str:
        """Return one line."""
        return f"Verified({str(self).partition(chr(10))[0]!r})"


def verify(certificate: str | Path | Mapping[str, Any] | bytes, instance: Asking | None = None) -> Verified:
    """Check a certificate and say what it proves.

    Parameters
    ----------
    certificate
        Path of the file, its bytes, or the document itself, of a plan or of an expert placement.
    instance
        Also check that the document's integer data is what this question yields.

    Raises
    ------
    InputError
        If a file cannot be read or is no JSON.
    """
    from shardproof.solver.checkers import certificate as checker

    where = str(certificate) if isinstance(certificate, str | Path) else "certificate"
    raw = _bytes_of(certificate)
    _need_json(raw, where)
    judge = _judge_placement if b'"shardproof-placement"' in raw[:100] else _judge
    judge = _judge_pools if b'"shardproof pools ' in raw[:100] else judge
    judge = _judge_apart if b'"shardproof apart certificate' in raw[:100] else judge
    judge = _judge_open if b'"shardproof open-loop certificate' in raw[:100] else judge
    accepted, claim, reason, *premise = judge(raw, instance)
    return Verified(accepted, claim, reason, checker.VERSION, *premise)


def _judge(raw: bytes, instance: Asking | None) -> tuple[bool, str | None, str | None, str | None]:
    """Return whether a plan's certificate is accepted, what it proves, why not, and what it rests on."""
    from shardproof.solver.checkers import certificate as checker

    try:
        claim = checker.check(raw)
        checked = "not checked: no instance is given"
        if instance is not None:
            named, checked = _compare(raw, instance)
            claim = claim.replace(checker.SCOPE, f"for the cost tables in the file, which are those of {named}")
    except checker.CheckError as error:
        return False, None, str(error), None
    return True, claim, None, f"{PREMISE} ({checked})"


def _judge_apart(raw: bytes, instance: Asking | None) -> tuple[bool, str | None, str | None]:
    """Return the same for pools apart: each part, and what they add up to."""
    from shardproof.solver.apart.certificate import CheckError
    from shardproof.solver.checkers import apart
    from shardproof.solver.checkers.certificate import CheckError as PartRefused

    try:
        claim = apart.check(raw)
        if instance is not None:
            _compare_apart(raw, instance)
            scope = f"for the cost tables in the file, which are those of {_name(instance)}"
            claim = claim.replace(apart.checker.SCOPE, scope)
    except (CheckError, PartRefused) as error:
        return False, None, str(error)
    return True, claim, None


def _compare_apart(raw: bytes, instance: Asking) -> None:
    """Refuse unless every part is about the question that this instance asks of it, its transfers included."""
    from shardproof.formulations.apart.transfer import sending_time
    from shardproof.solver.apart.certificate import PARTS, questions_of
    from shardproof.solver.checkers.certificate import CheckError, parse

    document, question, name = parse(raw.decode()), _single(instance), _name(instance)
    if document["instance"] != question.fingerprint:
        raise CheckError(f"the fingerprint of {name} is {question.fingerprint}")
    stated = document["serving"], document["max_gpus"]
    sent = [link["sending_ns"] for link in document["transfer"]]
    if stated != (question.serving, question.max_gpus) or sent != [
        sending_time(question, scenario.workload.input_tokens) for scenario in question.scenarios
    ]:
        raise CheckError(f"serving, max_gpus or transfer is not what {name} yields")
    asked = questions_of(question)
    for part in (part for part in PARTS if document[part] is not None):
        if part not in asked:
            raise CheckError(f"{part}: {name} leaves no GPU for it")
        try:
            _compare(json.dumps(document[part]).encode(), asked[part])
        except CheckError as error:
            raise CheckError(f"{part}: {error}") from None


def _judge_open(raw: bytes, instance: Asking | None) -> tuple[bool, str | None, str | None]:
    """Return the same for requests that come by themselves: the bound, computed anew from requests and tables."""
    from shardproof.instances.engine_choice import under_any
    from shardproof.solver.checkers import open_loop as checker
    from shardproof.solver.checkers.certificate import parse
    from shardproof.solver.open_loop.certificate import different

    try:
        claim = checker.check(raw)
        if instance is not None:
            document, name = parse(raw.decode()), _name(instance)
            asked = under_any(_single(instance), lambda one: one.fingerprint == document["instance"])
            other = different(document, asked)
            if other is not None:
                raise checker.CheckError(f"{other} is not what {name} yields")
            claim = claim.replace(checker.SCOPE, f"for the requests and tables in the file, which are those of {name}")
    except checker.CheckError as error:
        return False, None, str(error)
    return True, claim, None


def _judge_pools(raw: bytes, instance: Asking | None) -> tuple[bool, str | None, str | None]:
    """Return the same for a fleet of several devices and models."""
    from shardproof.solver.checkers import pools
    from shardproof.solver.checkers.certificate import CheckError

    try:
        claim = pools.check(raw)
        if instance is not None:
            _compare_pools(raw, instance)
            claim = claim.replace(
                pools.single.SCOPE, f"for the numbers in the file, which are those of {_name(instance)}"
            )
    except (pools.CheckError, CheckError) as error:
        return False, None, str(error)
    return True, claim, None


def _compare_pools(raw: bytes, instance: Asking) -> None:
    """Refuse unless the question yields the file's numbers: supplies, limits, demands, the table, every program."""
    from shardproof.formulations.pools.build import replica_question
    from shardproof.instances.instance import Instance
    from shardproof.solver.api.question import asked_from
    from shardproof.solver.checkers.certificate import CheckError, parse
    from shardproof.solver.pools.solve import blank_document
    from shardproof.solver.problem import deployment_of

    document, question, name = parse(raw.decode()), asked_from(instance, {}), _name(instance)
    if isinstance(question, Instance):
        question = _as_fleet(question, document["instance"], name)
    yielded = blank_document(question)
    for field in yielded:
        held = document[field]
        if field == "pools" and question.pools:
            held = [{**pool, "program": None, "walls": [], "rates": None} for pool in held]
        different = _difference(held, yielded[field], field)
        if different is not None and (field != "kinds" or not question.pools):
            raise CheckError(f"{different} is not what {name} yields")
    for place, pool in enumerate(question.pools):
        own = document["pools"][place]
        if pool.is_open or own["rates"] is not None:
            _compare_rates(own["rates"], pool, f"{name} in {own['name']}")
            continue
        deployment = deployment_of(replica_question(pool))
        groups = [
            group["chain"] for group in (document["plan"] or {"groups": []})["groups"] if group["kind"]["pool"] == place
        ]
        part = {"program": own["program"], "plan": groups, "claims": {"pool": {"refused": own["walls"]}}}
        _compare_program(part, deployment, "free", f"{name} in {own['name']}")


def _compare_rates(facts: dict[str, Any] | None, pool: Pool, name: str) -> None:
    """Refuse unless the pool of the question yields what the file says of requests that come by themselves."""
    from shardproof.solver.checkers.certificate import CheckError
    from shardproof.solver.open_loop.certificate import different

    if facts is None or not pool.is_open:
        raise CheckError(f"rates are not what {name} yields")
    found = different(facts, pool.instance)
    if found is not None:
        raise CheckError(f"rates: {found} is not what {name} yields")


def _as_fleet(question: Instance, fingerprint: str, name: str) -> PoolsQuestion:
    """Return the question about pools that one device's question is, where prefill and decode may be apart."""
    from shardproof.formulations.apart.phases import is_steady
    from shardproof.solver.apart.fleets import fleet_question, readings
    from shardproof.solver.checkers.certificate import CheckError

    if question.serving == "together" or is_steady(question):
        raise CheckError(f"{name} is about one device and model, the file about pools")
    for asked in readings(question).values():
        found = fleet_question(asked)
        if found.fingerprint == fingerprint:
            return found
    raise CheckError(f"the fingerprint of {name} is that of no engine's reading in the file")


def _single(instance: Asking) -> Instance:
    from shardproof.instances.errors import InputError
    from shardproof.instances.pools import PoolsQuestion

    if isinstance(instance, PoolsQuestion):
        raise InputError("--instance: the certificate is about one device and model, the question about several")
    return instance_from(instance, {})


def _judge_placement(raw: bytes, instance: Asking | None) -> tuple[bool, str | None, str | None]:
    """Return the same for the certificate of an expert placement, which stands for itself."""
    from shardproof.instances.errors import InputError
    from shardproof.solver.checkers.placement import check_placement_text

    if instance is not None:
        raise InputError("--instance: a placement's certificate carries its own loads; leave the option out")
    verdict = check_placement_text(raw)
    return verdict.accepted, verdict.claim if verdict.accepted else None, verdict.reason


def _name(instance: Asking) -> str:
    return str(instance) if isinstance(instance, str | Path) else "the instance"


def _bytes_of(certificate: str | Path | Mapping[str, Any] | bytes) -> bytes:
    from shardproof.instances.errors import InputError
    from shardproof.solver.checkers import certificate as checker

    if isinstance(certificate, bytes):
        return certificate
    if isinstance(certificate, Mapping):
        return json.dumps(dict(certificate), separators=(",", ":")).encode()
    path = Path(certificate)
    try:
        with path.open("rb") as file:
            return file.read(checker.MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; name a certificate file") from None


def _need_json(raw: bytes, where: str) -> None:
    """Refuse a file that is no JSON at all: it is no certificate that fails but another file."""
    from shardproof.instances.reading import refuse
    from shardproof.solver.checkers import certificate as checker

    if len(raw) > checker.MAX_BYTES:
        return
    try:
        json.loads(raw)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise refuse(where, f"is not a certificate: not JSON ({place})") from None
    except UnicodeDecodeError:
        raise refuse(where, "is not a certificate: not JSON (line 1: no UTF-8 text)") from None
    except (RecursionError, ValueError):
        return  # the checker has its own words for depth and long numbers


def _compare(raw: bytes, instance: Asking) -> tuple[str, str]:
    """Refuse unless the certificate is about this instance: its fingerprint, and its program cell by cell.

    Where the instance names no engine, the certificate may be about it under any of them. Return what to call it, and
    how far its premise was found to hold.

    With a plan of G GPUs the file may hold the program limited to G or more: what needs more cannot beat the plan.
    So it may without a plan, where it claims no more than that G are needed: what has fewer is in that program.
    It may leave out all axes of a layout that is not the plan's: fewer rows refute less, never more.
    """
    from shardproof.solver.checkers import certificate as checker
    from shardproof.solver.problem import deployment_of

    document = checker.parse(raw.decode())
    question, name = _reading(_single(instance), document["instance"], _name(instance))
    budget, least = document["program"]["max_gpus"], document["claims"]["gpus"]["lower"]
    budget = question.max_gpus if document["plan"] is None and least > budget else budget
    deployment = deployment_of(question).limited(budget)
    _compare_program(document, deployment, question.replicas, name)
    return name, _grown(deployment)


def _compare_program(document: Any, deployment: Deployment, replicas: str, name: str) -> None:
    """Refuse unless a deployment yields a document's program, cell by cell."""
    from shardproof.solver.checkers import certificate as checker
    from shardproof.solver.proof.certificate_json import write_program

    shares = [
        (share["load"], _layouts(document, place, deployment))
        for place, share in enumerate(document["program"]["shares"])
    ]
    yielded = write_program(deployment.program, shares, replicas=replicas)
    different = _difference(document["program"], yielded, "program") or _falling_costs(shares)
    if different is not None:
        raise checker.CheckError(f"{different} is not what {name} yields")


def _reading(question: Instance, fingerprint: str, name: str) -> tuple[Instance, str]:
    """Return the question that has a fingerprint, as it is or, where it names none, under an engine; and its name."""
    from shardproof.instances.engine_choice import NAMED, runs_on, under_engine
    from shardproof.solver.checkers import certificate as checker

    if question.fingerprint == fingerprint:
        return question, f"{name}, free of an engine's rules" if question.engine == "any" else name
    for engine in NAMED if question.engine == "any" else ():
        asked = under_engine(question, engine)
        if runs_on(question, engine) and asked.fingerprint == fingerprint:
            return asked, f"{name} under {engine}"
    raise checker.CheckError(f"the fingerprint of {name} is {question.fingerprint}")


def _layouts(document: Any, place: int, deployment: Deployment) -> list[Layout]:
    """Return the layouts that a replica of a share must have, with the axes that the file keeps."""
    from shardproof.solver.checkers import certificate as checker

    share, node = document["program"]["shares"][place], deployment.instance.device.devices_per_node
    claims = [claim for claim in document["claims"].values() if claim is not None]
    widest = max((one["gpus"] for claim in claims for one in claim["refused"] if one["share"] == place), default=1)
    if len(share["load"]) != len(deployment.demand):
        raise checker.CheckError(f"program.shares[{place}].load is not a load of each scenario")
    for width in sorted({widest, deployment.instance.max_gpus}):
        found = deployment.replica_program(tuple(share["load"]), width).layouts
        if [layout.name for layout in found] == [layout["name"] for layout in share["layouts"]] or width > node:
            break
    planned = {group["layout"] for group in document["plan"] or () if group["share"] == place}
    held = share["layouts"] + [{"axes": None}] * len(found)
    return [
        layout if held[at]["axes"] or at in planned else replace(layout, axes=()) for at, layout in enumerate(found)
    ]


def _falling_costs(shares: list[tuple[list[int], list[Layout]]]) -> str | None:
    """Name a row that asks for less at a higher load (``None``: who carries more carries less, as is assumed)."""
    from shardproof.formulations.deployment.growth import falling_row

    for place, (load, layouts) in enumerate(shares):
        for other, (more, larger) in enumerate(shares):
            if load != more and all(a <= b for a, b in zip(load, more, strict=True)):
                names = {layout.name.partition(", ")[2]: layout for layout in larger}
                for layout in layouts:
                    beyond = names.get(layout.name.partition(", ")[2])
                    row = None if beyond is None else falling_row(layout, beyond)
                    if row is not None:
                        return f"that shares[{other}] ask for no less than shares[{place}] in row {row}"
    return None


def _grown(deployment: Deployment) -> str:
    """Say how far the premise holds on the instance's own tables; refused where it does not."""
    from shardproof.formulations.deployment.growth import growth_of
    from shardproof.solver.checkers import certificate as checker

    found = growth_of(deployment)
    if found.falls is not None:
        raise checker.CheckError(f"the premise that {PREMISE} does not hold: {found.falls}")
    if not found.sizes:
        return "checked in the rows of the loads in the file"
    every = "every size" if found.whole else f"{found.sizes} sizes"
    return f"checked in the rows of the loads in the file, and in times of microbatches of {every}"


def _difference(left: Any, right: Any, where: str) -> str | None:
    """Name the first place where two JSON values differ (``None``: they are equal)."""
    if left == right:
        return None
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        return next((found for key in left if (found := _difference(left[key], right[key], f"{where}.{key}"))), None)
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return next((found for i, (a, b) in pairs if (found := _difference(a, b, f"{where}[{i}]"))), None)
    return where
