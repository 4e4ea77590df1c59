"""What the page has done for it in a worker process: each errand is a call of the functions behind the verbs."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from shardproof.instances.errors import InputError
from shardproof.instances.reading import refuse
from shardproof.solver.batch.answer import Answer, Job
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.page import answers, sides
from shardproof.solver.page.dropped import FOLDER, by_own_names
from shardproof.solver.page.held import Held

Tell = Callable[[Any], None]


@dataclass(frozen=True)
class Errand:
    """What is to be done, and with what: plain values as a page sent them."""

    kind: str
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Text that tells errands apart: equal errands have equal answers."""
        return json.dumps([self.kind, self.options], sort_keys=True, default=str)

    @property
    def subject(self) -> str:
        """Text that tells subjects apart: model, device and engine, on which a worker's tables depend."""
        question = self.options.get("question")
        if not isinstance(question, Mapping):
            return ""
        fields, rest = question.get("fields"), question.get("rest")
        named = [fields.get(name) for name in ("model", "engine")] if isinstance(fields, Mapping) else []
        held = [rest.get(name) for name in ("model", "device", "engine")] if isinstance(rest, Mapping) else []
        fleet = [_names(part.get(name)) for part in (fields, rest) if isinstance(part, Mapping) for name in _LISTS]
        return json.dumps([self.options.get("device"), named, held, fleet], default=str)


_LISTS = ("devices", "models")


def _names(listed: object) -> list[str]:
    """Return the devices or models of a fleet by name, without what there is of them or is asked of them."""
    if isinstance(listed, str):
        return [re.split("[=@]", part)[0].strip() for part in listed.split(",")]
    items = listed if isinstance(listed, list | tuple) else ()
    return [
        str(item.get("device") or item.get("model"))[:80] if isinstance(item, Mapping) else str(item) for item in items
    ]


@dataclass(frozen=True)
class Errands:
    """Does errands in a worker process under fixed settings; travels there by value, and holds answers there."""

    settings: SolveSettings
    folder: str | None = None
    """Where files that were dropped on the page are kept."""
    held: Held = field(default_factory=Held)
    nice: int = 0
    """By how much its processes give way to those whose answers somebody watches."""

    def __call__(self, job: Job) -> Answer:
        """Do one errand."""
        return self.telling(job, _unheard)

    def telling(self, job: Job, tell: Tell) -> Answer:
        """Do one errand, and tell how far it is."""
        started, worked = time.perf_counter(), time.process_time()
        if hasattr(os, "nice") and os.nice(0) < self.nice:
            os.nice(self.nice)
        errand: Errand = job.instance
        do = partial(answers.answer, held=self.held) if errand.kind == "answer" else KINDS.get(errand.kind)
        if do is None:
            raise refuse("page", f"is no errand; known: answer, {', '.join(KINDS)}", value=errand.kind[:40])
        try:
            document = do({**errand.options, FOLDER: self.folder}, self.settings, tell)
        except InputError as error:
            raise InputError(by_own_names(str(error), self.folder)) from None
        text = json.dumps(document, separators=(",", ":"), allow_nan=False, default=str)
        final = (document.get("result") or {}).get("stop_reason") in (None, "proved")
        summary = {"final": final, "processor_s": time.process_time() - worked}
        return Answer("done", summary, text, time.perf_counter() - started)


def _unheard(content: Any) -> None:
    del content


KINDS: Mapping[str, Callable[[Mapping[str, Any], SolveSettings, Tell], Mapping[str, Any]]] = {
    "names": sides.names,
    "certify": answers.certify,
    "why": answers.why,
    "limits": answers.limits,
    "model": sides.model,
    "drop": sides.drop,
    "read": sides.read,
    "audit": sides.audit,
    "export": sides.export,
}
"""Every errand but `answer`: options, settings and a way to tell news, to a document."""
