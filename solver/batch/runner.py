"""Runs a batch: what the ledger knows is taken from it, the rest is solved and written as it comes."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from shardproof.solver.batch import carry
from shardproof.solver.batch.answer import Answer, Job, Known, Status, Task
from shardproof.solver.batch.engine import Engine
from shardproof.solver.batch.ledger import Ledger
from shardproof.solver.batch.owner import Owner

_COLLECT_S = 0.2
_ELSEWHERE_S = 0.5
_SIGN_OF_LIFE_S = 10.0


@dataclass(frozen=True)
class Progress:
    """Where a batch stands: tasks by status, and how they were answered."""

    total: int
    done: int
    solved: int
    carried: int
    found: int
    elapsed_s: float
    statuses: Mapping[Status, int]

    @property
    def per_second(self) -> float:
        """Tasks answered in this run, per second."""
        return (self.solved + self.carried) / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Expected seconds until the end; ``None`` before the first answer."""
        return (self.total - self.done) / self.per_second if self.per_second > 0 else None


@dataclass(frozen=True)
class Outcome:
    """How a batch ended: its last progress, and whether it was interrupted."""

    progress: Progress
    interrupted: bool


@dataclass
class _State:
    """What is open while a batch runs; keys are fingerprints."""

    tasks: dict[str, Task]
    copies: dict[str, int]
    parents: Mapping[str, tuple[str, ...]]
    waiting: dict[str, int]
    children: dict[str, list[str]]
    ready: deque[str]
    answers: dict[str, Answer] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    flying: int = 0
    solved: int = 0
    carried: int = 0
    found: int = 0
    started: float = field(default_factory=time.monotonic)
    statuses: Counter[Status] = field(default_factory=Counter)


class Runner:
    """One batch over one ledger with one engine."""

    def __init__(
        self,
        ledger: Ledger,
        engine: Engine,
        owner: Owner,
        *,
        independent: bool = False,
        watch: Callable[[Progress], None] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """``independent``: nothing carries over between tasks; ``watch`` sees the progress; ``stopped`` ends it."""
        self._ledger = ledger
        self._engine = engine
        self._owner = owner
        self._independent = independent
        self._watch = watch
        self._stopped = stopped
        self._alive_at = time.monotonic()

    def run(self, tasks: Sequence[Task]) -> Outcome:
        """Answer every task; ``stopped`` or an interrupt ends it with what is known so far.

        Raises
        ------
        LedgerFullError
            If an answer cannot be written; those written before stand.
        """
        state = self._open(tasks)
        interrupted = False
        try:
            while len(state.answers) < len(state.tasks):
                if self._stopped():
                    interrupted = True
                    break
                self._fill(state)
                self._gather(state)
                self._look_elsewhere(state)
                self._show(state)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._engine.close()
            self._ledger.release(self._owner)
        return Outcome(progress=_progress(state), interrupted=interrupted)

    def _open(self, tasks: Sequence[Task]) -> _State:
        unique = {task.fingerprint: task for task in tasks}
        state = _State(
            tasks=unique,
            copies=dict(Counter(task.fingerprint for task in tasks)),
            parents={},
            waiting={},
            children=defaultdict(list),
            ready=deque(),
        )
        for fingerprint, answer in self._ledger.answers(list(unique), independent=self._independent).items():
            self._settle(state, fingerprint, answer)
            state.found += 1
        if len(state.answers) < len(unique):
            self._order(state)
        self._show(state)
        return state

    def _order(self, state: _State) -> None:
        """Queue every open task behind its open parents, widest choice first."""
        if not self._independent:
            state.parents = carry.parents(list(state.tasks.values()))
        for fingerprint in state.tasks:
            if fingerprint in state.answers:
                continue
            unanswered = [p for p in state.parents.get(fingerprint, ()) if p not in state.answers]
            state.waiting[fingerprint] = len(unanswered)
            for parent in unanswered:
                state.children[parent].append(fingerprint)
            if not unanswered:
                state.ready.append(fingerprint)

    def _fill(self, state: _State) -> None:
        while state.ready and state.flying < self._engine.slots:
            fingerprint = state.ready.popleft()
            task = state.tasks[fingerprint]
            answer = self._without_solving(state, task)
            if answer is not None:
                self._record(state, fingerprint, answer)
            elif self._ledger.claim(fingerprint, self._owner, independent=self._independent):
                self._engine.submit(self._job(state, task))
                state.flying += 1
            else:
                state.elsewhere.add(fingerprint)

    def _job(self, state: _State, task: Task) -> Job:
        subject = f"{task.model} on {task.device}"
        return Job(task.fingerprint, task.name, task.instance or task.fleet, self._floor(state, task), subject)

    def _without_solving(self, state: _State, task: Task) -> Answer | None:
        if task.fleet is not None:
            return None
        if task.instance is None:
            return Answer("refused", {}, None, 0.0, reason=task.refusal)
        known = self._known(state, task)
        return carry.implied(task, known, self._ledger.document) if known else None

    def _known(self, state: _State, task: Task) -> list[tuple[Task, Answer]]:
        return [(state.tasks[p], state.answers[p]) for p in state.parents.get(task.fingerprint, ())]

    def _floor(self, state: _State, task: Task) -> Known:
        return carry.floor(task, self._known(state, task))

    def _gather(self, state: _State) -> None:
        # With nothing in flight there is nothing to wait for, except tasks that others work on.
        if state.flying == 0:
            if not state.ready and state.elsewhere:
                time.sleep(_ELSEWHERE_S)
            return
        for done in self._engine.collect(_COLLECT_S):
            state.flying -= 1
            self._record(state, done.job.fingerprint, done.answer)

    def _record(self, state: _State, fingerprint: str, answer: Answer) -> None:
        self._ledger.record(fingerprint, answer)
        if answer.source is None:
            state.solved += 1
        else:
            state.carried += 1
        self._settle(state, fingerprint, answer)

    def _settle(self, state: _State, fingerprint: str, answer: Answer) -> None:
        """Note an answer that stands in the ledger, and free the tasks that waited for it."""
        state.answers[fingerprint] = _without_document(answer)
        state.statuses[answer.status] += state.copies[fingerprint]
        freed = [child for child in state.children.pop(fingerprint, ()) if self._was_last(state, child)]
        # Next of all: a worker still holds the tables of what they share with the task that they waited for.
        state.ready.extendleft(reversed(freed))

    @staticmethod
    def _was_last(state: _State, child: str) -> bool:
        state.waiting[child] -= 1
        return state.waiting[child] == 0

    def _look_elsewhere(self, state: _State) -> None:
        """Take the answers that other batches found, and the tasks that they gave up; show signs of life."""
        now = time.monotonic()
        if now - self._alive_at > _SIGN_OF_LIFE_S:
            self._ledger.keep_claims(self._owner)
            self._alive_at = now
        if not state.elsewhere or state.ready:
            return
        found = self._ledger.answers(sorted(state.elsewhere), independent=self._independent)
        for fingerprint, answer in found.items():
            state.elsewhere.discard(fingerprint)
            state.found += 1
            self._settle(state, fingerprint, answer)
        if state.flying < self._engine.slots:
            state.ready.extend(sorted(state.elsewhere))
            state.elsewhere.clear()

    def _show(self, state: _State) -> None:
        if self._watch is not None:
            self._watch(_progress(state))


def _without_document(answer: Answer) -> Answer:
    # Thousands of documents would fill the memory; the ledger has them.
    return Answer(answer.status, answer.summary, None, answer.seconds, answer.reason, answer.source)


def _progress(state: _State) -> Progress:
    return Progress(
        total=sum(state.copies.values()),
        done=sum(state.statuses.values()),
        solved=state.solved,
        carried=state.carried,
        found=state.found,
        elapsed_s=time.monotonic() - state.started,
        statuses=dict(state.statuses),
    )
