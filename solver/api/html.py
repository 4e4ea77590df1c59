"""Answers as pieces of HTML for notebooks: inline styles, no script, nothing loaded; every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.timeline import last_ttft
from shardproof.instances.plan import Group, Plan, Stage
from shardproof.instances.units import format_bytes, format_duration

COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#888888", "#333333")
"""Paul Tol's "bright" scheme, told apart also by the colour-blind, and two greys."""
MOST_ROWS, MOST_MICROBATCHES = 60, 48
_WIDTH, _ROW, _LEFT = 760, 26, 110


def piece(title: str, *parts: Markup) -> str:
    """Put parts under a title."""
    div, pre = "font:13px sans-serif;max-width:60em", "margin:0 0 .5em;white-space:pre-wrap"
    head = Markup('<div style="{}"><pre style="{}">{}</pre>').format(div, pre, title)
    return str(head + Markup("").join(parts) + Markup("</div>"))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> Markup:
    """Return a table; numbers stand at the right."""
    head = Markup("").join(
        Markup('<th style="text-align:left;padding:2px 8px">{}</th>').format(name) for name in columns
    )
    body = Markup("").join(_row(cells) for cells in rows)
    title = Markup('<caption style="text-align:left">{}</caption>').format(caption) if caption else Markup("")
    return Markup('<table style="border-collapse:collapse;margin:.5em 0">{}<tr>{}</tr>{}</table>').format(
        title, head, body
    )


def _row(cells: Sequence[object]) -> Markup:
    def cell(value: object) -> Markup:
        side = "right" if isinstance(value, int | float) else "left"
        return Markup('<td style="text-align:{};padding:2px 8px">{}</td>').format(side, _text(value))

    return Markup("<tr>{}</tr>").format(Markup("").join(cell(value) for value in cells))


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def table_of_rows(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Return rows of equal keys as a table; of many, the first ones and how many there are."""
    if not rows:
        return Markup("")
    columns = list(rows[0])
    left_out = len(rows) - MOST_ROWS
    caption = f"first {MOST_ROWS} of {len(rows)} rows; to_frame() has all" if left_out > 0 else ""
    return table(columns, [[row.get(name) for name in columns] for row in rows[:MOST_ROWS]], caption=caption)


def bullets(title: str, lines: Sequence[str]) -> Markup:
    """Return a titled list; nothing without lines."""
    if not lines:
        return Markup("")
    items = Markup("").join(Markup("<li>{}</li>").format(line) for line in lines)
    return Markup('<details><summary>{}</summary><ul style="margin:.2em 0">{}</ul></details>').format(title, items)


def memory_bars(plan: Plan, limit: int) -> Markup:
    """Return one bar for each stage: what fills the fullest device, against what it may hold."""
    stages = [(name, stage) for name, stage in _named_stages(plan) if stage.memory_bytes]
    parts = list(
        dict.fromkeys(part for _, stage in stages for part, size in (stage.memory_bytes or {}).items() if size)
    )
    if not parts or limit <= 0:
        return Markup("")
    colours = {part: COLOURS[place % len(COLOURS)] for place, part in enumerate(parts)}
    most = max(limit, *(sum((stage.memory_bytes or {}).values()) for _, stage in stages))
    bars = [_bar(place, name, stage, colours, most) for place, (name, stage) in enumerate(stages)]
    height = _ROW * len(bars)
    end = _LEFT + (_WIDTH - _LEFT) * limit / most
    mark = Markup(
        '<line x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}" stroke="currentColor" stroke-dasharray="3"/>'
    ).format(end - 0.5, height)
    title = f"Memory of the fullest device of each stage; dashed: {format_bytes(limit)} usable"
    return _figure(title, height, Markup("").join(bars) + mark) + _legend(colours)


def _named_stages(plan: Plan) -> list[tuple[str, Stage]]:
    """Return every stage of every group with what it is called."""
    return [
        (f"{f'group {group}, ' if plan.groups else ''}stage {place}", stage)
        for group, part in enumerate(plan.parts)
        for place, stage in enumerate(part.stages)
    ]


def _bar(place: int, name: str, stage: Stage, colours: Mapping[str, str], most: int) -> Markup:
    scale, start, found = (_WIDTH - _LEFT) / most, float(_LEFT), []
    for part, size in (stage.memory_bytes or {}).items():
        if size:
            found.append(_rectangle(start, place, size * scale, colours[part], f"{part}: {format_bytes(size)}"))
            start += size * scale
    return _label(place, name) + Markup("").join(found)


def timeline(group: Group, *, requests: int, limit: int | None, name: str = "") -> Markup:
    """Return the prefill of a burst: one row for each stage, one box for each microbatch.

    ``requests`` that the fullest replica gets; ``limit`` on the last first token, ns.
    """
    times = [sum((stage.time_ns or {}).values()) for stage in group.stages]
    if not group.microbatches or not all(times):
        return Markup("")
    runs = group.microbatches[0]
    count = divide_up(requests, runs.prefill_requests) * runs.prompt_chunks
    end = last_ttft(times, count)
    most = limit if limit is not None and end < limit <= 2 * end else end
    rows = [_passes(stage, times, count, (_WIDTH - _LEFT) / most) for stage in range(len(times))]
    height = _ROW * len(times)
    for value, colour in ((end, "#228833"), (limit, "#ee6677")):
        if value is not None and value <= most:
            at = _LEFT + value * (_WIDTH - _LEFT) / most - 1
            line = '<line x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}" stroke="{2}" stroke-width="2"/>'
            rows.append(Markup(line).format(at, height, colour))
    title = f"{name}Prefill of {count} microbatch{'es' if count > 1 else ''}; green: last first token at "
    title += format_duration(end) + ("" if limit is None else f"; limit {format_duration(limit)}")
    title += f"; from the {MOST_MICROBATCHES + 1}th on drawn as one" if count > MOST_MICROBATCHES else ""
    return _figure(title, height, Markup("").join(rows))


def _passes(stage: int, times: Sequence[int], count: int, scale: float) -> Markup:
    """Draw when each microbatch is on a stage."""
    # Identical microbatches leave a stage one by one, as fast as the slowest stage so far lets them.
    arrives, ahead, time = sum(times[:stage]), max(times[: stage + 1]), times[stage]
    boxes = [_label(stage, f"stage {stage}")]
    for number in range(min(count, MOST_MICROBATCHES)):
        start = arrives + number * ahead
        words = f"microbatch {number + 1} of {count}: {format_duration(start)} to {format_duration(start + time)}"
        boxes.append(_rectangle(_LEFT + start * scale, stage, time * scale, COLOURS[number % 2], words))
    if count > MOST_MICROBATCHES:
        start, end = arrives + MOST_MICROBATCHES * ahead, arrives + (count - 1) * ahead + time
        words = f"microbatches {MOST_MICROBATCHES + 1} to {count}: {format_duration(start)} to {format_duration(end)}"
        boxes.append(_rectangle(_LEFT + start * scale, stage, (end - start) * scale, "#bbccee", words))
    return Markup("").join(boxes)


def _rectangle(x: float, row: int, width: float, colour: str, words: str) -> Markup:
    form = '<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" fill="{}" stroke="white" stroke-width=".5">'
    return Markup(form + "<title>{}</title></rect>").format(x, row * _ROW + 3, max(width, 0.5), _ROW - 6, colour, words)


def _label(row: int, words: str) -> Markup:
    return Markup('<text x="0" y="{}" font-size="12" fill="currentColor">{}</text>').format(row * _ROW + 17, words)


def _figure(title: str, height: int, content: Markup) -> Markup:
    return Markup(
        '<div style="margin:.5em 0"><div>{0}</div><svg role="img" aria-label="{0}" viewBox="0 0 {1} {2}" '
        'width="{1}" height="{2}" style="max-width:100%">{3}</svg></div>'
    ).format(title, _WIDTH, height, content)


def _legend(colours: Mapping[str, str]) -> Markup:
    marks = (
        Markup('<span style="margin-right:1em"><span style="color:{}">&#9632;</span> {}</span>').format(colour, part)
        for part, colour in colours.items()
    )
    return Markup("<div>{}</div>").format(Markup("").join(marks))
