"""What is said of fleets whose requests come by themselves: premises, and what they showed in service."""

from __future__ import annotations

from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.workload import OpenLoop

PREMISES = (
    "requests that come by themselves go to the replicas of a fleet by chance, in proportion to what each sustains, and"
    " every replica keeps the limits by itself",
    "bounds are of replicas that keep up with their rate, with one option on all stages; no round is shorter for having"
    " more sequences or longer contexts",
    "what a replica sustains was found by playing as many as the whole rate takes: one that does not keep its limits at"
    " a rate keeps them at no higher one; every group was played by itself as a plan of one device is, with all of its"
    " replicas, and with those that are left when each takes most",
)
STEADY = (
    "pools apart of requests that keep coming: bounds hold for fleets in which every decode replica keeps the limit on "
    "TPOT by itself, replicas of both phases keep every limit by themselves, and a first token takes at least the "
    "prefill of its own prompt and the transfer",
    "the pools of the fleet were played in the simulator, with the link of every prefill replica, and again in every "
    "case of something being gone; a limit is kept where the 95 % interval keeps it (closed loops, one run: the mean)",
    "requests go to pools and to replicas of both phases in fixed parts, by chance where they come by themselves; "
    "between replicas of a phase in proportion to what each can take, in closed loops to the least loaded of them",
)
LEAST_PLAYED = (
    "no fleet is cheaper whose replicas take what they sustain in service; below the bound there is none at all, "
    "however requests are scheduled"
)
POISSON = "parts of a Poisson stream that are drawn by chance are Poisson streams"
THINNED = (
    "of bursts and traces each replica sees the requests that chance draws for it, one by one: bursts thin out, and a"
    " conversation's requests go to any replica"
)


def premises(question: PoolsQuestion) -> tuple[str, ...]:
    """Return what an answer about requests that come by themselves rests on."""
    loads = [scenario.workload for pool in question.pools for scenario in pool.instance.scenarios]
    open_ = [load for load in loads if isinstance(load, OpenLoop)]
    if not open_:
        return ()
    plain = [load.trace is None and load.arrival_cv == 1 for load in open_]
    return (*PREMISES, *([POISSON] if any(plain) else []), *([] if all(plain) else [THINNED]))
