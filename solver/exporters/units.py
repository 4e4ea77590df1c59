"""Units: each group of alike replicas as exporters see it: what every node starts, on what, how often."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shardproof.instances.hardware import Device
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan, Pool
from shardproof.instances.reading import refuse
from shardproof.solver.evaluation.engine_commands import WRITERS, Told, served_name
from shardproof.solver.evaluation.engine_flags import weight_notes
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.evaluation.groups import pool_names, questions
from shardproof.solver.evaluation.pool_flags import pool_flags, pool_options
from shardproof.solver.evaluation.speculative_flags import UNNAMED, draft_name
from shardproof.solver.exporters.contract import check_words, check_yaml
from shardproof.solver.exporters.release import released

PLACEMENT = "placement.json"
"""Name of the file that says which expert lives where."""

PORT = 8000
"""Port on which every exported server listens, where it is alone on its address."""


@dataclass(frozen=True)
class Process:
    """What one node of a replica starts: variables, then words that need no shell but for ``$MASTER_ADDR``."""

    environment: Mapping[str, str]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """A group of alike replicas: ``processes`` of one of them, node by node.

    ``config``: TensorRT-LLM's YAML; ``placement``: SGLang's map of experts, a file that ``PLACEMENT`` names; ``pool``:
    the phase that it serves alone (``None``: both).
    """

    name: str
    place: int
    told: Told
    processes: tuple[Process, ...]
    config: str | None
    placement: str | None = None
    pool: Pool | None = None

    @property
    def instance(self) -> Instance:
        """The group's part of the question."""
        return self.told.instance

    @property
    def engine(self) -> str:
        """The engine."""
        return self.told.instance.engine

    @property
    def device(self) -> Device:
        """The device."""
        return self.told.instance.device

    @property
    def replicas(self) -> int:
        """Copies."""
        return self.told.plan.replicas

    @property
    def nodes(self) -> int:
        """Nodes of one replica."""
        return self.told.nodes

    @property
    def gpus_per_node(self) -> int:
        """GPUs of one replica on each of its nodes."""
        return self.told.option.gpus * self.told.stages // self.told.nodes

    @property
    def model(self) -> str:
        """What the engine is asked to load."""
        return served_name(self.told.instance)

    @property
    def weights(self) -> dict[str, int]:
        """Requests of each scenario that the router hands to one replica."""
        shares = {share.scenario: share.requests for share in self.told.plan.shares}
        load = dict(zip((one.name for one in self.instance.scenarios), self.told.engine.load, strict=True))
        return shares or load

    @property
    def is_ray(self) -> bool:
        """Whether the engine reaches other nodes through Ray."""
        return "ray" in self.processes[0].words

    def alone(self) -> Process:
        """Return what the first node starts, without the words that name nodes (a controller adds its own)."""
        return without_nodes(self.processes[0])


NODE_FLAGS = (
    "--nnodes", "--node-rank", "--master-addr", "--dist-init-addr", "--data-parallel-address",
    "--data-parallel-rpc-port", "--data-parallel-start-rank", "--data-parallel-size-local",
    "--distributed-executor-backend",
)  # fmt: skip
"""Flags with a value that say where the other nodes are."""


def without_nodes(process: Process) -> Process:
    """Return a process without the words that name nodes."""
    kept: list[str] = []
    words = iter(process.words)
    for word in words:
        if word in NODE_FLAGS:
            next(words, None)
        elif word != "--headless":
            kept.append(word)
    return Process(process.environment, tuple(kept))


def flags_of(process: Process) -> list[tuple[str, str | None]]:
    """Return the flags of a process with their values; ``None`` where a flag has none."""
    words = process.words
    following = [*words[1:], "--"]
    pairs = zip(words, following, strict=True)
    return [(word, None if after.startswith("--") else after) for word, after in pairs if word.startswith("--")]


def units_of(instance: Instance, plan: Plan) -> tuple[Unit, ...]:
    """Return the groups of a plan, checked against the engine's contract of flags.

    Raises
    ------
    InputError
        If no engine runs the plan as it stands.
    """
    engine = plan.engine or instance.engine
    if engine not in WRITERS:
        raise refuse("plan", "is for no engine; solve with --engine vllm, sglang or trtllm", field="engine")
    if engine != instance.engine:
        raise refuse("plan", f"is for {engine}, the question for {instance.engine}; name one", field="engine")
    names = pool_names(plan)
    parts = [
        (asked, part, names[place] if names else None) for place, (asked, part) in enumerate(questions(instance, plan))
    ]
    return units_of_parts(parts, slug(instance.model.name), numbered=bool(plan.groups))


def units_of_parts(
    parts: Sequence[tuple[Instance, Plan, Pool | None]], stem: str, *, numbered: bool
) -> tuple[Unit, ...]:
    """Return groups of one engine and model, each the plan of one shape that answers its own question, on its device.

    ``stem`` begins their names.

    Raises
    ------
    InputError
        If the engine does not run a group as it stands.
    """
    engine, found = parts[0][0].engine, list[Unit]()
    groups = [pool for _, _, pool in parts]
    started = released([(asked, part) for asked, part, _ in parts])
    for place, ((_, part, pool), asked) in enumerate(zip(parts, started, strict=True)):
        if len({stage.option.degrees for stage in part.stages}) != 1:
            remedy = f"{engine} runs every stage with the same degrees, these differ; no engine is told otherwise"
            raise refuse("plan", remedy, field="stages")
        name = f"{stem}-{place}" if numbered else stem
        if pool is not None:
            name = f"{stem}-{pool}" if groups.count(pool) == 1 else f"{stem}-{pool}-{place}"
        found.append(_unit(name, place, Told(EnginePlan(asked, part)), pool))
    return tuple(found)


def _unit(name: str, place: int, told: Told, pool: Pool | None) -> Unit:
    engine = told.instance.engine
    _refuse_weights(told)
    _refuse_unnamed(told)
    placement = _placement(told)
    lines = WRITERS[engine](told)
    if placement is not None:
        redundant = told.option.moe_ep * told.option.extra_slots
        lines = [f"{line} --init-expert-location {PLACEMENT}" for line in lines]
        lines = [f"{line} --ep-num-redundant-experts {redundant}" if redundant else line for line in lines]
    config = None
    if engine == "trtllm":
        config, lines = "\n".join(lines[1:]) + "\n", lines[:1]
        config += pool_options(pool, told.launch.longest) if pool is not None else ""
        check_yaml(config, engine, layers=told.instance.model.layer_count)
    added = pool_flags(engine, pool) if pool is not None else []
    processes = tuple(_process(line, index, added) for index, line in enumerate(lines))
    for process in processes:
        check_words(process.words, engine, environment=process.environment, layers=told.instance.model.layer_count)
    if len(processes) == 1 and told.nodes > 1 and engine != "trtllm":
        processes *= told.nodes
    return Unit(name, place, told, processes, config, placement, pool)


def _process(line: str, index: int, added: list[str]) -> Process:
    words = shlex.split(line)
    environment: dict[str, str] = {}
    while re.match(r"[A-Z][A-Z0-9_]*=", words[0]):
        key, _, value = words.pop(0).partition("=")
        environment[key] = value
    listens = ["--host", "0.0.0.0", "--port", str(PORT)]  # servers in containers are reached from outside
    is_server = index == 0 and "--headless" not in words
    return Process(environment, (*words, *added, *(listens if is_server else [])))


def _refuse_unnamed(told: Told) -> None:
    """Refuse a head that guesses tokens ahead and has no name."""
    guessed = told.instance.speculative
    if guessed is not None and draft_name(guessed) == UNNAMED:
        remedy = f"an engine has to load the {guessed.method} head; name it (--draft-model), by its id or its path"
        raise refuse("question", remedy, field="speculative.draft_model")


def _refuse_weights(told: Told) -> None:
    """Refuse a plan whose weights the engine cannot make of the checkpoint that is named."""
    if told.instance.checkpoint.weights is not None and not (told.quantises and told.fits_before):
        raise refuse("plan", weight_notes(told)[0], field="precision.weights")


def _placement(told: Told) -> str | None:
    """Return SGLang's map of experts (``physical_to_logical_map`` and no other key); ``None`` where none is planned.

    Raises
    ------
    InputError
        If the engine takes no such map.
    """
    rows = told.plan.placement
    if rows is None or not any(rows):
        return None
    if told.instance.engine != "sglang":
        reason = "cannot be told here which expert lives where"
        raise refuse(
            "plan", f"{told.instance.engine} {reason}; solve for sglang, or without a load profile", field="placement"
        )
    experts = max(max(row) for row in rows if row) + 1
    slots = max(len(row) for row in rows)
    plain = [slot % experts for slot in range(slots)]
    return json.dumps({"physical_to_logical_map": [list(row) or plain for row in rows]}) + "\n"


def slug(text: str) -> str:
    """Return a name as DNS labels are written: lower case, digits, dashes, at most 40 characters."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"m-{plain}")[:40].strip("-")
