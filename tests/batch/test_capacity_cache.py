"""What replicas were refused outlasts a batch: read as it was, never believed when damaged, bounded, switchable."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from shardproof.formulations.fleet.covering import Refused
from shardproof.solver.batch import capacity_cache
from shardproof.solver.batch.answer import Job
from shardproof.solver.batch.capacity_cache import CapacityCache, made_ready
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.batch.launch import launch
from shardproof.solver.batch.work import Solve
from shardproof.solver.search.refusals import Refusals, Subject, Told
from tests.oracles.batch_process import request
from tests.search.test_refusals import question

TOLD = [
    Told((10**9, None), 4, Refused(3, (7, 2))),
    Told((10**9, None), 4, Refused(1, (2, 0))),
    Told((None, 5), 8, Refused(2, (9, 9))),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.capacities.sqlite"


def rows(path: Path) -> int:
    with sqlite3.connect(path) as link:
        found: int = link.execute("SELECT COUNT(*) FROM refused").fetchone()[0]
    link.close()
    return found


def written(path: Path, code: str = "code") -> Path:
    cache = CapacityCache(path, code)
    cache.write("costs", TOLD)
    cache.close()
    return path


def test_what_was_written_is_read_back_under_the_same_code_and_costs(path: Path) -> None:
    written(path)
    assert CapacityCache(path, "code").read("costs") == TOLD
    assert CapacityCache(path, "code").read("other costs") == []
    assert CapacityCache(path, "other code").read("costs") == []
    assert made_ready(path) is None


def test_a_second_process_starts_with_what_the_first_was_refused(path: Path) -> None:
    subject = Subject("costs", "kind", (5, None), 8)
    Refusals(CapacityCache(path, "code")).note(subject, [Refused(4, (9,))])
    known = Refusals(CapacityCache(path, "code")).known(replace(subject, limits=(4, None)))
    assert known == [Refused(4, (9,))]


def test_a_row_that_was_changed_is_not_believed_and_the_file_is_put_aside(path: Path) -> None:
    written(path)
    with sqlite3.connect(path) as link:
        link.execute("""UPDATE refused SET told = replace(told, '[3,7,2]', '[9,1,1]')""")
    link.close()
    assert CapacityCache(path, "code").read("costs") == []
    said = made_ready(path)
    assert said is not None
    assert "a row was changed" in said
    assert not path.exists()
    assert path.with_name(path.name + ".aside").exists()


def test_a_row_of_another_key_is_not_believed(path: Path) -> None:
    written(path)
    cache = CapacityCache(path, "code")
    with sqlite3.connect(path) as link:
        link.execute("UPDATE refused SET key = ?", (cache._key("other costs"),))
    link.close()
    assert cache.read("other costs") == []


@pytest.mark.parametrize("content", [b"no database at all" * 400, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_put_aside_with_one_message(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    cache = CapacityCache(path, "code")
    cache.write("costs", TOLD)
    assert cache.read("costs") == []
    said = made_ready(path)
    assert said is not None
    assert str(path) in said
    assert path.with_name(path.name + ".aside").read_bytes() == content
    assert written(path) == path
    assert made_ready(path) is None


def test_another_programs_database_is_put_aside_whole(path: Path) -> None:
    with sqlite3.connect(path) as link:
        link.execute("CREATE TABLE notes (text TEXT)")
    link.close()
    before = path.read_bytes()
    assert CapacityCache(path, "code").read("costs") == []
    assert path.read_bytes() == before
    assert "another program's" in (made_ready(path) or "")
    assert path.with_name(path.name + ".aside").read_bytes() == before


def test_the_oldest_half_makes_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity_cache, "MOST_PAGES", 40)
    cache = CapacityCache(path, "code")
    for place in range(2000):
        cache.write(f"costs {place}", TOLD)
    assert not cache._broken
    assert cache.read("costs 1999") == TOLD
    assert cache.read("costs 0") == []
    cache.close()
    assert 0 < rows(path) < 2000
    assert path.stat().st_size <= 40 * 4096


def test_a_folder_that_cannot_be_written_costs_no_answer(tmp_path: Path) -> None:
    solve = Solve(SolveSettings(), cache=tmp_path / "absent" / "file.sqlite", code="code")
    assert solve(Job("x", "x", question("900 ms"))).status == "optimal"


def test_a_batch_keeps_what_its_tasks_were_refused_and_the_next_one_reads_it(path: Path) -> None:
    first = Solve(SolveSettings(), cache=path, code="code")
    answers = [first(Job("x", "x", question(ttft))) for ttft in ("900 ms", "300 ms")]
    assert rows(path) > 0
    again = Solve(SolveSettings(), cache=path, code="code")
    repeated = [again(Job("x", "x", question(ttft))) for ttft in ("900 ms", "300 ms")]
    plain = [Solve(SolveSettings(), sharing=False)(Job("x", "x", question(ttft))) for ttft in ("900 ms", "300 ms")]
    for one, other, alone in zip(answers, repeated, plain, strict=True):
        assert one.summary["levels"] == other.summary["levels"] == alone.summary["levels"]


def test_the_cache_stands_beside_the_ledger_unless_it_is_switched_off(tmp_path: Path) -> None:
    asked = request(tmp_path)
    assert asked.cache == asked.ledger.with_name("ledger.capacities.sqlite")
    for change in ({"cached": False}, {"independent": True}, {"fresh": True}, {"engine": "ray"}):
        assert replace(asked, **change).cache is None


def test_a_batch_says_once_that_its_cache_was_put_aside(tmp_path: Path) -> None:
    asked = request(tmp_path)
    said: list[str] = []
    assert asked.cache is not None
    asked.cache.parent.mkdir(parents=True, exist_ok=True)
    asked.cache.write_bytes(b"no database at all" * 400)
    launch(replace(asked, tasks=asked.tasks[:1]), warn=said.append)
    launch(replace(asked, tasks=asked.tasks[:1]), warn=said.append)
    assert len(said) == 1
    assert "put aside" in said[0]
