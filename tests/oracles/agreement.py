"""Random programs, solved and certified, and where solver, checker and brute force differ."""

from __future__ import annotations

from shardproof.formulations.deployment.tables import Program
from shardproof.solver.checkers import certificate as checker
from shardproof.solver.proof.certificate import Certificate, certificate_of_evidence, to_json
from shardproof.solver.proof.evidence import Evidence
from shardproof.solver.search.lexicographic import LexicographicSearch
from shardproof.solver.search.settings import Settings
from tests.oracles.brute_force import brute_force
from tests.oracles.random_programs import random_program
from tests.oracles.restricted import restrict


class Named:
    """Stands for an instance where only the fingerprint is read."""

    fingerprint = "random-program"


def certified(program: Program) -> Certificate:
    """Solve a program by the exact search and put its certificate together."""
    outcome = LexicographicSearch(program, Settings()).run()
    evidence = Evidence(program, outcome.chain, outcome.levels, outcome.refutations)
    return certificate_of_evidence(evidence, Named(), claimed_by="claimed by nobody")  # type: ignore[arg-type]


def program_of(seed: int) -> Program:
    """Program of a seed: small ones with three options and long ones with two in turn."""
    if seed % 4 < 2:
        return random_program(seed, max_layers=8, max_options=3, slack=seed % 2 == 1)
    return random_program(seed, max_layers=12, max_options=2, slack=seed % 2 == 1)


def disagreement(program: Program) -> str | None:
    """Say where solver, checker and brute force differ (``None``: they agree and all is certified)."""
    certificate = certified(program)
    try:
        checker.check(to_json(certificate).encode())
    except checker.CheckError as error:
        return f"the checker refuses: {error}"
    if any(claim.by != "certified" for claim in certificate.claims.values()):
        return "a level is not certified"
    best, least = brute_force(program), brute_force(program, floor=True)
    gpus = certificate.claims["gpus"]
    if gpus.upper != (None if best is None else best.gpus):
        return f"plan of {gpus.upper} GPUs, brute force {best}"
    if gpus.lower != (program.max_gpus + 1 if least is None else least.gpus):
        return f"bound of {gpus.lower} GPUs, brute force {least}"
    return None if best is None else _later_levels(program, certificate, best.gpus, (best.ttft, best.memory))


def _later_levels(program: Program, certificate: Certificate, gpus: int, best: tuple[int | None, ...]) -> str | None:
    """Compare TTFT and memory: equal without rounding, else the true value lies in the certified interval."""
    ttft, memory = certificate.claims.get("ttft"), certificate.claims.get("memory")
    found = tuple(None if claim is None else claim.upper for claim in (ttft, memory))
    low = brute_force(restrict(program, gpus=gpus), floor=True)
    if not _rounded(program) and any((a or 0) != (b or 0) for a, b in zip(found, best, strict=True)):
        return f"TTFT and memory {found}, brute force {best}"
    if ttft is not None and not ttft.lower <= (best[0] or 0) <= (ttft.upper or 0):
        return f"TTFT {best[0]} outside {ttft.lower}..{ttft.upper}"
    if ttft is not None and low is not None and low.gpus == gpus and (low.ttft or 0) < ttft.lower:
        return f"TTFT bound {ttft.lower}, brute force {low}"
    if memory is not None and memory.lower:
        limits = restrict(program, gpus=gpus, ttft=None if ttft is None else ttft.upper, memory=memory.lower - 1)
        if brute_force(limits, floor=True) is not None:
            return f"memory bound {memory.lower} is wrong"
    return None


def _rounded(program: Program) -> bool:
    choices = (choice for layout in program.layouts for axis in layout.axes for choice in axis.choices)
    return any(path.table.slack for choice in choices for path in choice.paths)
