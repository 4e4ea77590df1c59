"""Random questions about fleets, solved and certified, and where search, checker and brute force differ."""

from __future__ import annotations

from shardproof.solver.checkers import certificate as checker
from shardproof.solver.proof.certificate import Certificate, certificate_of_evidence, to_json
from shardproof.solver.proof.evidence import Evidence
from shardproof.solver.search.fleet_search import FleetSearch
from shardproof.solver.search.settings import Settings
from tests.oracles.agreement import Named
from tests.oracles.random_fleets import BestFleet, RandomFamily, brute_force_fleet


def certified_fleet(family: RandomFamily, *, mixed: bool = True) -> Certificate:
    """Solve a question about fleets and put its certificate together."""
    outcome = FleetSearch(family, Settings(), mixed=mixed).run()
    evidence = Evidence(
        family.program,
        outcome.chain,
        outcome.levels,
        outcome.refutations,
        fleet=outcome.fleet,
        capacities=outcome.capacities,
        replicas="free" if mixed else "alike",
        infeasible=outcome.infeasible,
    )
    return certificate_of_evidence(evidence, Named(), claimed_by="claimed by nobody")  # type: ignore[arg-type]


def fleet_disagreement(family: RandomFamily) -> str | None:
    """Say where search, checker and brute force differ (``None``: they agree and all is certified)."""
    certificate = certified_fleet(family)
    try:
        checker.check(to_json(certificate).encode())
    except checker.CheckError as error:
        return f"the checker refuses: {error}"
    open_ = [level for level, claim in certificate.claims.items() if claim.by != "certified"]
    if open_:
        return f"{open_} not certified"
    best, least = brute_force_fleet(family), brute_force_fleet(family, floor=True)
    gpus = certificate.claims["gpus"]
    if gpus.upper != (None if best is None else best.gpus):
        return f"fleet of {gpus.upper} GPUs, brute force {best}"
    if gpus.lower != (family.max_gpus + 1 if least is None else least.gpus):
        return f"bound of {gpus.lower} GPUs, brute force {least}"
    return None if best is None else _later_levels(certificate, best, rounded=bool(family.slack))


def _later_levels(certificate: Certificate, best: BestFleet, *, rounded: bool) -> str | None:
    """Compare shapes, TTFT and memory: equal without rounding, else the true value lies in the interval."""
    shapes = certificate.claims.get("shapes")
    if shapes is not None and not shapes.lower <= best.shapes <= (shapes.upper or 0):
        return f"{shapes.lower}..{shapes.upper} shapes, brute force {best}"
    if not rounded and shapes is not None and shapes.upper != best.shapes:
        return f"{shapes.upper} shapes, brute force {best}"
    ttft, memory = certificate.claims.get("ttft"), certificate.claims.get("memory")
    if not rounded and (None if ttft is None else ttft.upper, None if memory is None else memory.upper) != (
        best.ttft,
        best.memory,
    ):
        return f"TTFT {ttft and ttft.upper}, memory {memory and memory.upper}, brute force {best}"
    if ttft is not None and not ttft.lower <= (best.ttft or 0) <= (ttft.upper or 0):
        return f"TTFT {best.ttft} outside {ttft.lower}..{ttft.upper}"
    return None
