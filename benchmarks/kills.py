"""Kill batch, page and export at random moments, ``--count`` times each.

``python -m benchmarks.kills [--count 100] [--only NAME] [--seed 0]``; by SIGKILL. Of a batch every answer
that was written stands: the ledger is sound, and the next run ends with the rows of one that nobody killed. What
`export` writes is whole or not there: a new folder with all its files, an old one with each file as it was or as it is
to be. A page leaves no worker behind and no file on the disk; the next one answers on the same port.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = "SHARDPROOF_KILLS"
"""Variable by which a killed process's children are found."""

WRITING = """
import sys
from pathlib import Path
from shardproof.solver.exporters.export import Export
from benchmarks.kills import variant
folder = Path(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    Export("x", variant(number % 2)).write(folder / "same")
    Export("x", variant(number % 2)).write(folder / f"new-{number % 50}-{number}")
    number += 1
"""


def variant(number: int) -> dict[str, str]:
    """Files of an export of many groups; two of them differ in every file."""
    return {f"group-{group}/file-{file}.yaml": f"{number} " * 4000 for group in range(4) for file in range(6)}


@contextmanager
def _started(command: Sequence[str], mark: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {MARK: mark, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def kill_exports(count: int, chance: random.Random, folder: Path) -> list[str]:
    """Kill a process that writes exports all the time; return what was half written."""
    found: list[str] = []
    whole = [variant(0), variant(1)]
    for number in range(count):
        place = folder / f"exports-{number}"
        place.mkdir()
        with _started([sys.executable, "-c", WRITING, str(place)], f"export-{number}", folder) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
            process.wait()
        for made in place.glob("[!.]*"):
            texts = {
                str(path.relative_to(made)): path.read_text() for path in made.rglob("*.yaml") if _is_seen(path, made)
            }
            same = [texts == one for one in whole]
            if not any(same) and (made.name != "same" or not _each_whole(texts, whole)):
                found.append(f"kill {number}: {made.name} holds {len(texts)} of {len(whole[0])} files, or half of one")
    return found


def _is_seen(path: Path, below: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(below).parts)


def _each_whole(texts: dict[str, str], whole: Sequence[dict[str, str]]) -> bool:
    return texts.keys() == whole[0].keys() and all(
        any(text == one[name] for one in whole) for name, text in texts.items()
    )


def kill_batches(count: int, chance: random.Random, folder: Path) -> list[str]:
    """Kill a batch again and again, and let it end every fifth time."""
    from shardproof.solver.batch.launch import launch
    from tests.oracles import batch_planner
    from tests.oracles.batch_process import request

    planner = batch_planner.Planner()
    _, rows = launch(request(folder / "whole"), work=planner)
    whole = _comparable(rows)
    found: list[str] = []
    place = folder / "batch"
    for number in range(count):
        command = [sys.executable, "-m", "tests.oracles.batch_process", str(place), "0.02"]
        with _started(command, f"batch-{number}", folder) as process:
            time.sleep(chance.uniform(0.3, 2.5))
            process.send_signal(signal.SIGKILL)
            process.wait()
        ledger = place / "ledger.sqlite"
        if ledger.exists():
            with closing(sqlite3.connect(ledger)) as link:
                sound = link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            found += [] if sound else [f"kill {number}: the ledger is damaged"]
        if number % 5 == 4:
            outcome, rows = launch(request(place), work=planner)
            if outcome.interrupted or _comparable(rows) != whole:
                found.append(f"kill {number}: the next run ended with other rows")
            ledger.unlink()
    return found


def _comparable(rows: Sequence[object]) -> list[tuple[object, ...]]:
    kept = ("task", "status", "gpus", "bound", "ttft_s", "fingerprint")
    return [tuple(getattr(row, name) for name in kept) for row in rows]


def kill_pages(count: int, chance: random.Random, folder: Path) -> list[str]:
    """Kill a page with errands under way; return what was left behind."""
    from benchmarks.page import ASKED, DEVICES, Tab

    found: list[str] = []
    port = 0
    for number in range(count):
        mark = f"page-{number}-{os.getpid()}"
        command = [sys.executable, "-m", "shardproof.solver.cli", "page", "--no-browser", "--port", str(port)]
        with _started([*command, "--time-limit", "5s", "--processes", "2"], mark, folder) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            address = next((word for word in line.split() if word.startswith("http://")), None)
            if address is None:
                found.append(f"kill {number}: the page did not start: {line.strip()}")
                port = 0
                continue
            port = int(address.split(":")[2].split("/")[0])
            tab = Tab(address)
            if number % 10 == 0:
                refused = tab.ask(ASKED | {"model": "qwen3-8b"}, DEVICES[:1])[1]
                found += [f"kill {number}: {refused}"] if refused else []
            tab.send(ASKED | {"model": chance.choice(("qwen3-8b", "qwen3-32b"))}, DEVICES[:3])
            time.sleep(chance.uniform(0, 1.5))
            process.send_signal(signal.SIGKILL)
            process.wait()
        left = _left(mark)
        found += [f"kill {number}: {len(left)} processes go on"] if left else []
    # A killed process cannot take away the folders in which multiprocessing keeps its sockets.
    kept = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return found + ([f"left in the temporary folder: {kept[:5]}"] if kept else [])


def _left(mark: str) -> list[int]:
    """Processes of a killed one that are still there after a while."""
    wanted = f"{MARK}={mark}".encode()
    deadline = time.monotonic() + 10
    while True:
        left = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in path.read_bytes().split(b"\0"):
                    left.append(int(path.parts[2]))
            except OSError:
                continue
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


KINDS: dict[str, Callable[[int, random.Random, Path], list[str]]] = {
    "export": kill_exports,
    "batch": kill_batches,
    "page": kill_pages,
}


def main() -> int:
    """Kill, look, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--only", action="append", choices=list(KINDS), default=[])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    failures = 0
    for name, kill in KINDS.items():
        if asked.only and name not in asked.only:
            continue
        with tempfile.TemporaryDirectory(prefix="kills-") as folder:
            found = kill(asked.count, random.Random(f"{name} {asked.seed}"), Path(folder))
        failures += len(found)
        print(f"{name}: {asked.count} kills, {len(found)} failures")
        for line in found:
            print(f"  {line}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
