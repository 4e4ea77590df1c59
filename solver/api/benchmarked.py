"""`bench` and `check`: the lines that measure a plan, and what they measured held against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from shardproof.instances.errors import InputError
from shardproof.solver.api.options import check_options
from shardproof.solver.api.predicted import asked_and_stated
from shardproof.solver.api.question import Fields, check_fields, shows_fields
from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.instances.correction import Correction
    from shardproof.instances.instance import Instance
    from shardproof.instances.plan import Plan
    from shardproof.solver.api.predicted import AnyPlan
    from shardproof.solver.api.question import Question
    from shardproof.solver.benchmarking.held import Held


@dataclass(frozen=True, repr=False, eq=False)
class Benched(Answered):
    """Files that measure a plan, by name: a line to run in each that ends in ``.sh``."""

    files: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines to run."""
        return tuple(text.strip() for name, text in self.files.items() if name.endswith(".sh"))

    def write(self, folder: str | Path) -> None:
        """Write the files to a folder, which is made where it is missing."""
        from shardproof.instances.writing import write_folder

        write_folder(Path(folder), self.files)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``bench --json`` prints."""
        return {"files": dict(self.files), "notes": list(self.notes)}

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each file."""
        return [{"file": name, "text": text} for name, text in self.files.items()]

    def __str__(self) -> str:
        """Return the lines and what is to be known of them."""
        return "\n\n".join([*self.lines, *self.notes])

    def __repr__(self) -> str:
        """Return one line."""
        return f"Benched({len(self.lines)} lines)"


@dataclass(frozen=True, repr=False, eq=False)
class Checked(Answered):
    """Predicted against measured: one part for each run of a result, and one for a start log.

    ``correction``: the factors under which the prediction is what was measured, where they were asked for.
    """

    instance: Instance
    plan: Plan
    parts: tuple[Held, ...]
    correction: Correction | None = None

    def write(self, path: str | Path) -> None:
        """Write the correction to a file that later questions take; entries of other subjects in it are kept.

        Raises
        ------
        InputError
            If there is none, or the file holds something else.
        """
        from shardproof.instances.correction import read_corrections
        from shardproof.instances.writing import write_whole
        from shardproof.solver.benchmarking.corrections import merged, to_text

        if self.correction is None:
            raise InputError("check: nothing was corrected; ask with correct=True")
        file = Path(path)
        held = read_corrections(file) if file.exists() else ()
        write_whole(file, to_text(merged(held, self.correction)))

    @property
    def exit_code(self) -> int:
        """0, or 4 if a figure lies outside its interval."""
        return 4 if any(part.outside for part in self.parts) else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``check --json`` prints."""
        parts = [
            {"source": part.source, "rows": [_tree(row) for row in part.rows], "findings": list(part.findings)}
            for part in self.parts
        ]
        found = None if self.correction is None else self.correction.model_dump(mode="json")
        return {"parts": parts, "correction": found, "exit_code": self.exit_code}

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each figure."""
        return [{"source": part.source} | _tree(row) for part in self.parts for row in part.rows]

    def __str__(self) -> str:
        """Return one line for each part."""
        return "\n".join(f"{one.source}: {len(one.rows)} figures, {len(one.outside)} outside" for one in self.parts)

    def __repr__(self) -> str:
        """Return one line."""
        return f"Checked({len(self.parts)} parts, exit_code={self.exit_code})"


def _tree(row: Any) -> dict[str, Any]:
    return asdict(row) | {"ratio": row.ratio, "verdict": row.verdict}


@shows_fields
def bench(
    plan: AnyPlan,
    instance: Question | None = None,
    *,
    tool: str | None = None,
    url: str = "http://localhost:8000",
    **fields: Unpack[Fields],
) -> Benched:
    """Write the lines of benchmark tools that measure a plan as it was planned.

    Parameters
    ----------
    plan, instance
        The plan and its question, as `predict` takes them.
    tool
        ``vllm``, ``aiperf``, ``guidellm`` or ``genai-perf``; all of them without it.
    url
        Where the server, or the router before the replicas, answers.
    **fields
        What a flag of the command line says, under the flag's name.

    Raises
    ------
    InputError
        If plan, question or tool is wrong.
    """
    check_fields(fields, "bench")
    from shardproof.solver.benchmarking.lines import TOOLS
    from shardproof.solver.benchmarking.load import loads_of
    from shardproof.solver.evaluation.engine_plan import require_plan_of

    if tool is not None and tool not in TOOLS:
        raise InputError(f"bench: tool: {tool!r}: write one of {', '.join(TOOLS)}")
    asked, wanted = asked_and_stated(plan, instance, dict(fields))
    for part in wanted.parts:
        require_plan_of(asked, wanted.part(part))
    files: dict[str, str] = {}
    notes: list[str] = []
    for load in loads_of(asked):
        for name in [tool] if tool is not None else list(TOOLS):
            files |= TOOLS[name](load, url)
        notes += [f"{load.scenario}: {note}" for note in load.notes]
    return Benched(files, tuple(notes))


@shows_fields
def check(
    plan: AnyPlan,
    result: str | Path | None = None,
    instance: Question | None = None,
    *,
    log: str | Path | None = None,
    scenario: str | None = None,
    group: int = 0,
    seeds: int = 5,
    correct: bool = False,
    **fields: Unpack[Fields],
) -> Checked:
    """Hold what was measured, or what an engine printed as it started, against what is predicted of a plan.

    Parameters
    ----------
    plan, instance
        The plan and its question, as `predict` takes them.
    result
        JSON of ``vllm bench serve``, aiperf, GuideLLM or GenAI-Perf.
    log
        Log of an engine's start.
    scenario
        The scenario that was measured (the first without it).
    group
        The group of a mixed fleet whose replica wrote the log.
    seeds
        Simulated runs behind each predicted percentile.
    correct
        Also find the correction by which predictions are what ``result`` says (`Checked.write` keeps it).
    **fields
        What a flag of the command line says, under the flag's name; ``confidence`` is the interval's (90 %).

    Raises
    ------
    InputError
        If a file is not what it should be, or there is neither result nor log.
    """
    check_fields(fields, "check")
    check_options("check", {"seeds": seeds})
    from shardproof.formulations.costs.serving.confidence import parse_level
    from shardproof.solver.benchmarking.held import hold_log, hold_results
    from shardproof.solver.benchmarking.results import read_results
    from shardproof.solver.benchmarking.start_logs import read_start_log

    if result is None and log is None:
        raise InputError("check: give the JSON that a benchmark tool wrote, or the log of an engine's start (--log)")
    given: dict[str, Any] = dict(fields)
    level = parse_level(str(given.pop("confidence", None) or "90%"))
    asked, wanted = asked_and_stated(plan, instance, given)
    parts = []
    if result is not None:
        for one in read_results(Path(result)):
            parts.append(hold_results(asked, wanted, one, scenario=scenario, level=level, seeds=seeds))
    if log is not None:
        parts.append(hold_log(asked, wanted, read_start_log(Path(log)), group=group))
    found = _correction(asked, wanted, result, scenario=scenario, seeds=seeds) if correct else None
    return Checked(asked, wanted, tuple(parts), found)


def _correction(
    asked: Instance, wanted: Plan, result: str | Path | None, *, scenario: str | None, seeds: int
) -> Correction:
    """Find the correction by which predictions are what one run of a tool says."""
    from shardproof.solver.benchmarking.corrections import correction_of
    from shardproof.solver.benchmarking.results import read_results

    if result is None:
        raise InputError("check: a start log tells no times; give a tool's result to correct by")
    runs = read_results(Path(result))
    if len(runs) > 1:
        raise InputError(f"{result}: holds {len(runs)} runs; correct by one, the load that the question states")
    place = [item.name for item in asked.scenarios].index(scenario) if scenario is not None else 0
    return correction_of(asked, wanted, runs[0], place=place, seeds=seeds, file=Path(result).name)
