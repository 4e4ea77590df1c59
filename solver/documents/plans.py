"""Plans of one text: launches of several nodes put together, alternatives kept apart, context handed down.

A page that starts one engine is one plan. A page with several launches describes alternatives (or parts that
run apart): each is a plan of its own, with the model, hardware and workload that its own headings state; what
the page says beside them is judged as the page's own plan, without the degrees of which nobody can say whose
they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from shardproof.solver.documents.launch import Launch, describe
from shardproof.solver.documents.statement import Document, Kind, ReadLine, Statement, Unread

MAX_PLANS = 60
CONTEXT = frozenset({
    "model", "device", "gpu_memory", "gpu_flops", "bandwidth", "gpus_listed", "gpus_per_node", "batch",
    "input_tokens", "output_tokens", "ttft_limit", "tpot_limit", "precision", "kv_precision", "mfu", "nodes",
})  # fmt: skip
"""Fields that a heading or a sentence above a launch says about it."""
DEGREES = frozenset({
    "tp", "pp", "dp", "ep", "moe_tp", "gpus", "gpus_per_stage", "gpus_per_replica", "replicas", "nodes", "gpus_owned",
    "gpus_listed", "layers_per_stage", "max_model_len", "microbatch_tokens", "max_sequences", "memory_fraction",
    "expert_parallel_enabled", "attention_dp_enabled", "experts_per_gpu", "gpus_per_node", "tp_heads",
    "memory_per_gpu", "memory_total", "weights_per_gpu", "kv_per_gpu", "memory_utilization", "kv_total", "fits_memory",
    "precision", "kv_precision", "device", "gpu_memory", "max_position", "batch", "input_tokens", "output_tokens",
})  # fmt: skip
"""Fields that belong to one plan; said beside several, they belong to none that is known."""


MODEL_SHAPE = frozenset({
    "parameters", "active_parameters", "layers", "hidden", "heads", "kv_heads", "head_dim", "experts", "topk",
    "shared_experts", "moe_intermediate", "intermediate", "vocab", "weights_total", "kv_per_token",
})  # fmt: skip


@dataclass(frozen=True)
class Page:
    """What a text says beside its launches: statements, unread lines, and the headings above each line.

    ``sentences`` are the lines whose statements were read from running text.
    """

    name: str
    kind: Kind
    statements: tuple[Statement, ...] = ()
    unread: tuple[Unread, ...] = ()
    lines: tuple[ReadLine, ...] = ()
    places: dict[int, tuple[int, ...]] | None = None
    sentences: frozenset[int] = frozenset()

    def place(self, line: int) -> tuple[int, ...]:
        """Return the lines of the headings above a line."""
        return (self.places or {}).get(line, ())


def join_nodes(launches: Iterable[Launch], page: Page) -> list[Launch]:
    """Drop the lines that further nodes run, and repetitions in one section, of a launch that is there."""
    kept: list[Launch] = []
    for launch in launches:
        same = [
            one for one in kept if one.identity == launch.identity and page.place(one.line) == page.place(launch.line)
        ]
        repeated = any(one.rank != launch.rank or _values(one) == _values(launch) for one in same)
        if not repeated and len(kept) < MAX_PLANS:
            kept.append(launch)
    return kept


def _values(launch: Launch) -> set[tuple[str, object]]:
    return {(statement.field, statement.value) for statement in launch.statements}


def documents_of(page: Page, launches: Sequence[Launch]) -> list[Document]:
    """Return the plans of a text: one where one engine (or none) is started, else one for each launch."""
    plans = join_nodes(launches, page)
    if len(plans) <= 1:
        return [_whole(_without_choices(page), plans[0] if plans else None)]
    found = []
    used: set[int] = set()
    for number, launch in enumerate(plans, 1):
        around = _around(page, launch, plans)
        used |= {id(statement) for statement in around}
        found.append(_plan(page, launch, around, f"{number}: {launch.name or launch.form}"))
    rest = [s for s in page.statements if id(s) not in used and s.field != "device_choice"]
    one_model = len({launch.model for launch in plans}) == 1
    kept = [s for s in rest if s.subject or (_is_shared(s, one_model=one_model) and s.line not in page.sentences)]
    whole = {id(statement) for statement in kept}
    dropped = tuple(
        Unread(s.line, s.text, "several plans stand in this text; whose it is, is not said")
        for s in rest
        if id(s) not in whole
    )
    telling = [statement for statement in kept if statement.field not in CONTEXT]
    unread = (*page.unread, *dict.fromkeys(dropped))
    if telling:
        found.append(Document(page.name, page.kind, tuple(kept), unread, plan="the text beside", lines=page.lines))
    else:
        found[0] = replace(
            found[0], unread=tuple(sorted((*found[0].unread, *unread), key=_line)), lines=(*found[0].lines, *page.lines)
        )
    return found


def _is_shared(statement: Statement, *, one_model: bool) -> bool:
    """Whether a statement is about all plans of a text alike: the one model's shape, a device's datasheet, a sum."""
    return statement.field not in DEGREES and (one_model or statement.field not in MODEL_SHAPE)


def _without_choices(page: Page) -> Page:
    kept = tuple(statement for statement in page.statements if statement.field != "device_choice")
    return replace(page, statements=kept)


def _line(item: Unread) -> int:
    return item.line


def _parts(page: Page) -> Page:
    """Name the part that a statement belongs to, where a text describes several in the same words.

    Two headings (or list heads) that both state two degrees or more, not all alike, describe two parts (pools,
    variants), not one plan twice; the later ones are about parts of their own. So do neighbouring mappings of YAML.
    """
    groups: dict[tuple[str, ...], dict[str, object]] = {}
    for statement in page.statements:
        if statement.field in DEGREES and not statement.subject:
            groups.setdefault(statement.sections, {}).setdefault(statement.field, statement.value)
    names = [sections for sections in groups if sections]
    variants = page.kind in ("yaml", "json")
    alike = {
        later
        for place, later in enumerate(names)
        for earlier in names[:place]
        if (
            len(groups[earlier].keys() & groups[later].keys()) >= 2
            or (variants and len(later) == len(earlier) >= 2 and later[:-1] == earlier[:-1])
        )
        and any(groups[earlier][field] != groups[later][field] for field in groups[earlier].keys() & groups[later])
    }
    if not alike:
        return page
    moved = tuple(
        replace(s, subject=f"row {s.sections[-1][:40]}") if s.sections in alike and not s.subject else s
        for s in page.statements
    )
    return replace(page, statements=moved)


def _whole(page: Page, launch: Launch | None) -> Document:
    if launch is None:
        page = _parts(page)
        return Document(page.name, page.kind, _ordered(page.statements), page.unread, lines=page.lines)
    plan = _plan(page, launch, page.statements, "")
    unread = tuple(sorted((*plan.unread, *page.unread), key=_line))
    return replace(plan, unread=unread, lines=(*plan.lines, *page.lines))


def _plan(page: Page, launch: Launch, around: Iterable[Statement], name: str) -> Document:
    kind: Kind = "command" if page.kind == "markdown" and not page.statements else page.kind
    return Document(
        page.name,
        kind,
        _ordered((*around, *launch.statements)),
        launch.unread,
        launch.engine,
        plan=name,
        form=launch.form,
        start=(launch.line, launch.text),
        open=launch.open,
        lines=(ReadLine(launch.line, launch.text, describe(launch)),),
    )


def _one_device(inside: list[Statement]) -> list[Statement]:
    """Leave out devices named in passing where a line states one, or where several are named."""
    passing = [s for s in inside if s.field == "device" and s.section == "title"]
    stated = any(s.field == "device" and s.section != "title" for s in inside)
    choice = any(s.field == "device_choice" for s in inside)
    if not stated and not choice and len({s.value for s in passing}) <= 1:
        return inside
    return [s for s in inside if s.field != "device_choice" and s not in passing]


def _around(page: Page, launch: Launch, plans: Sequence[Launch]) -> list[Statement]:
    """What the headings above a launch say, the nearest first; and all that its own section says if it is alone."""
    own = page.place(launch.line)
    alone = sum(page.place(other.line) == own for other in plans) == 1 and bool(own)
    inside = _one_device([s for s in page.statements if alone and page.place(s.line) == own])
    stated = {statement.field for statement in (*inside, *launch.statements)}
    found: list[Statement] = []
    for depth in range(len(own), -1, -1):
        level = [
            s
            for s in page.statements
            if page.place(s.line) == own[:depth] and s.field in CONTEXT and not s.subject and s not in inside
        ]
        fields = {s.field for s in level} - stated
        if any(s.field == "device_choice" and page.place(s.line) == own[:depth] for s in page.statements):
            stated.add("device")
            fields.discard("device")
        for field in fields:
            values = [s for s in level if s.field == field]
            if len({s.value for s in values}) == 1:
                found.append(values[0])
        stated |= fields
    return [*inside, *found]


def _ordered(statements: Iterable[Statement]) -> tuple[Statement, ...]:
    return tuple(sorted(statements, key=lambda statement: statement.line))
