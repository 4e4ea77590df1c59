"""An audit as text for a terminal. Whatever comes from the document is printed as plain text, never as markup."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from shardproof.instances.units import format_bytes, format_duration
from shardproof.solver.audit.audit import Audit, read_lines
from shardproof.solver.audit.claim import Claim, Verdict
from shardproof.solver.audit.completed import Completions
from shardproof.solver.audit.verdict import outcome_of, verdict_of, worst_of
from shardproof.solver.documents.text import printable
from shardproof.solver.evaluation.figures import Check, Violation
from shardproof.solver.writers.layout import counted, terminal_width, wrapped

if TYPE_CHECKING:
    from shardproof.solver.audit.review import Review

_STYLE = {"confirmed": "green", "contradicted": "bold red", "inconsistent": "bold magenta", "not-checkable": "dim"}
MOST_SHOWN = 200
_ORDER: tuple[Verdict, ...] = ("contradicted", "inconsistent", "confirmed", "not-checkable")


def render_review(found: Review, *, colour: bool, every: bool = False) -> str:
    """Lay the audits of all plans out, each under its name, with what was left out at the end."""
    texts = [render_audit(audit, colour=colour, every=every) for audit in found.audits]
    if len(texts) == 1 and not found.source.skipped:
        return texts[0]
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=colour, no_color=not colour, width=terminal_width(), highlight=False, emoji=False
    )
    wrong = sum(audit.exit_code != 0 for audit in found.audits)
    console.print(Text(wrapped(worst_of(found.audits)[1], width=console.width, rest="  "), style="bold"))
    console.print(
        Text(f"{printable(found.source.name)}: {counted(len(texts), 'plan')}, {wrong} of them wrong", style="bold")
    )
    for (file, _), text, audit in zip(found.source.plans, texts, found.audits, strict=True):
        where = f"{file}, " if found.source.is_folder else ""
        line = f"line {audit.document.start[0]}" if audit.document.start is not None else "its text"
        name = printable(audit.document.plan or audit.document.form or audit.document.name)
        console.print(Text(f"\n--- {where}{line}: {name}", style="bold"))
        out.write(text + "\n")
    _list(console, "Holds no plan", [f"{item.text}: {item.reason}" for item in found.source.skipped])
    return out.getvalue().rstrip("\n")


def render_audit(audit: Audit, *, colour: bool, every: bool = False) -> str:
    """Lay an audit out for a terminal; ``every`` also lists what was confirmed, claim by claim."""
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=colour, no_color=not colour, width=terminal_width(), highlight=False, emoji=False
    )
    console.print(_headline(audit))
    _claims(console, list(audit.wrong))
    if every:
        console.print(Text("\nHolds, or cannot be checked", style="bold"))
        _claims(console, [claim for claim in audit.claims if not claim.wrong])
    _checks(console, audit)
    if every or audit.document.start is not None:
        _list(console, "Read as", _read_as(audit)[: MOST_SHOWN if every else 60])
    _completion(console, audit.completion)
    _list(console, "Assumed", list(audit.to_json()["assumptions"]))
    unread = [
        f"line {item.line}: {item.text}" + (f"  ({item.reason})" if item.reason else "")
        for item in audit.document.unread
    ]
    _list(console, f"Not read ({counted(len(unread), 'line')})", unread[: MOST_SHOWN if every else 40])
    return out.getvalue().rstrip("\n")


def _read_as(audit: Audit) -> list[str]:
    return [f"line {row['line']}: {row['text']} -> {row['as']}" for row in read_lines(audit.document)]


def _headline(audit: Audit) -> Text:
    counts = Counter(claim.verdict for claim in audit.claims)
    outcome, width = outcome_of(audit), terminal_width()
    style = {"wrong": "bold red", "undecided": "bold yellow", "nothing wrong": "bold green"}[outcome]
    text = Text(wrapped(verdict_of(audit), width=width, rest="  ") + "\n", style=style)
    text.append(f"{printable(audit.document.name)}: {counted(len(audit.claims), 'claim')} read\n", style="bold")
    for place, verdict in enumerate(_ORDER):
        text.append(("; " if place else "") + f"{counts[verdict]} {verdict}", style=_STYLE[verdict])
    best = audit.context.best
    if best is not None:
        text.append(f"\nread as: {best.reading.name}; {counted(best.plan.gpus, 'GPU')}", style="dim")
    if best is not None and best.copies is not None:
        text.append("\n" + wrapped(best.copies, width=width), style="dim")
    return text


def _claims(console: Console, claims: list[Claim]) -> None:
    for claim in claims[:MOST_SHOWN]:
        console.print(_claim(claim, console.width), soft_wrap=True)
    if len(claims) > MOST_SHOWN:
        console.print(Text(f"\n... and {len(claims) - MOST_SHOWN} more; --json lists all of them"))


def _claim(claim: Claim, width: int) -> Text:
    def lines(words: str) -> str:
        return "\n" + wrapped(words, width=width, first="    ", rest="    ")

    statement = claim.statement
    head = f"line {statement.line}  "
    text = Text(f"\n{head}")
    text.append(claim.verdict, style=_STYLE[claim.verdict])
    said = wrapped(f"{head}{claim.verdict}  {printable(statement.text)}", width=width, rest="    ")
    text.append(said[len(head) + len(claim.verdict) :])
    text.append(lines(printable(claim.formula, limit=400)))
    if claim.explained_by:
        text.append(lines(f"explained by: {', '.join(claim.explained_by)}"), style="bold")
        text.append(lines(printable(claim.explanation, limit=600)))
    return text


def _checks(console: Console, audit: Audit) -> None:
    lines = [_check(check) for check in audit.checks]
    known = {(check.group, check.index) for check in audit.checks}
    lines += [
        f"breaks  {broken.group}[{broken.index}]: {_against(broken)}"
        for broken in audit.violations
        if (broken.group, broken.index) not in known
    ]
    _list(console, "Constraint checks", lines)


def _against(broken: Violation) -> str:
    """A broken rule's two numbers; the GPUs of the degrees are no limit but another count."""
    if (broken.group, broken.index) == ("gpus", "plan"):
        return f"stated {broken.value:,}, the degrees give {broken.limit:,}"
    return f"{broken.value:,} against {broken.limit:,} {broken.unit}"


def _check(check: Check) -> str:
    def show(value: int) -> str:
        if check.unit == "bytes":
            return format_bytes(value)
        return format_duration(value) if check.unit == "ns" else f"{value:,} {check.unit}"

    word = "holds " if check.slack >= 0 else "breaks"
    rest = f"slack {show(check.slack)}" if check.slack >= 0 else f"over by {show(-check.slack)}"
    return f"{word}  {check.group}[{check.index}]: {show(check.value)} against {show(check.limit)}, {rest}"


def _completion(console: Console, completion: Completions | None) -> None:
    if completion is not None:
        _list(console, "Completion", list(completion.sentences))


def _list(console: Console, title: str, lines: list[str]) -> None:
    if not lines:
        return
    console.print(Text(f"\n{title}", style="bold"))
    for line in lines:
        shown = wrapped(printable(line, limit=400), width=console.width, first="  ", rest="    ")
        console.print(Text(shown), soft_wrap=True)
