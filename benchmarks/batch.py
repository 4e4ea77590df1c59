"""Measures the batch engine: ``python -m benchmarks.batch PART``.

``cold``    a sweep from an empty ledger and once more from the full one: tasks/s, CPU per task, memory
``flat``    engine cost per task at 1,000, 5,000 and 20,000 tasks, with a planner that answers at once
``kills``   ``kill -9`` at random moments: the resumed run against an uninterrupted one
``ray``     tasks of equal length on the pool and on a Ray of two nodes (needs the extra ``ray``)

The planner of ``flat``, ``kills`` and ``ray`` is that of the tests; timings say the load of the machine beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
os.environ["PYTHONPATH"] = str(ROOT)

from shardproof.instances.sweep import axes, load_sweep  # noqa: E402
from shardproof.solver.batch.answer import Answer, Job, Task  # noqa: E402
from shardproof.solver.batch.fingerprint import SolveSettings, code_version  # noqa: E402
from shardproof.solver.batch.launch import BatchRequest, launch  # noqa: E402
from shardproof.solver.batch.rows import Row  # noqa: E402
from shardproof.solver.batch.runner import Progress  # noqa: E402
from shardproof.solver.batch.tasks import tasks_of  # noqa: E402
from shardproof.solver.batch.work import Solve  # noqa: E402

SETTINGS = SolveSettings(time_limit_s=60, memory_limit_bytes=2_000_000_000)


COMPARED = ("task", "status", "proof", "gpus", "bound", "ttft_s", "tpot_ms", "seconds")
"""What ``cold --keep`` writes of each task; seconds are the processor's."""


@dataclass(frozen=True)
class CpuTimed:
    """Solves a job and reports its CPU seconds in place of wall seconds."""

    solve: Solve

    def __call__(self, job: Job) -> Answer:
        """Solve one instance; jobs of one process share what they were refused, as in a batch without a cache."""
        started = time.process_time()
        answer = self.solve(job)
        return replace(answer, seconds=time.process_time() - started)


def request(tasks: list[Task], folder: Path, **changes: Any) -> BatchRequest:
    """Return a batch of tasks on two processes."""
    asked = BatchRequest(
        name="benchmark",
        description="",
        tasks=tuple(tasks),
        swept=(),
        settings=SETTINGS,
        folder=folder,
        ledger=folder / "ledger.sqlite",
        processes=2,
    )
    return replace(asked, **changes)


def tasks_from(sweep: Path, code: str) -> list[Task]:
    """All tasks of a sweep file."""
    return list(tasks_of(load_sweep(sweep), SETTINGS, code=code, where=str(sweep), folder=sweep.parent))


def cold(sweep: Path, choose: Callable[[list[Task]], list[Task]], kept: Path | None) -> None:
    """Run the chosen tasks of a real sweep cold, and again; ``kept``: file for what versions are compared by."""
    started = time.perf_counter()
    tasks = tasks_from(sweep, code_version())
    print(f"read and fingerprint {len(tasks)} tasks: {time.perf_counter() - started:.2f} s")
    tasks = choose(tasks)
    with tempfile.TemporaryDirectory() as name:
        asked = request(tasks, Path(name), swept=axes(load_sweep(sweep)))
        with Peak() as peak:
            outcome, rows = launch(asked, work=CpuTimed(Solve(SETTINGS)))
        wall = outcome.progress.elapsed_s
        cpu = sum(row.seconds or 0.0 for row in rows)
        print(f"cold: {len(rows)} tasks in {wall:.1f} s = {len(rows) / wall:.1f}/s; {outcome.progress.solved} solved")
        print(f"      CPU of the solves {cpu:.1f} s = {len(rows) / cpu * 2:.1f} tasks/s on two idle cores")
        print(f"      peak memory of all processes {peak.bytes / 1e6:.0f} MB; load {os.getloadavg()[0]:.1f}")
        if kept is not None:
            told = ({name: getattr(row, name) for name in COMPARED} for row in rows)
            kept.write_text("".join(json.dumps(each) + "\n" for each in told))
        started, cpu_started = time.perf_counter(), time.process_time()
        launch(asked, work=CpuTimed(Solve(SETTINGS)))
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu_started
        print(f"again from the ledger: {wall:.2f} s wall, {cpu:.2f} s CPU (without reading the sweep)")


def flat() -> None:
    """Engine cost per task as the sweep grows."""
    from tests.oracles import batch_planner

    for limits in (50, 250, 1000):
        cross = {
            "model": ["qwen3-8b", "qwen3-32b"],
            "device": "*00*",
            "limits.ttft": [f"{n} ms" for n in range(100, 100 + limits)],
        }
        tree = batch_planner.SWEEP | {"cross": cross}
        started, cpu = time.perf_counter(), time.process_time()
        tasks = batch_planner.tasks(tree)
        reading = time.process_time() - cpu
        with tempfile.TemporaryDirectory() as name, Peak() as peak:
            launch(request(tasks, Path(name), independent=True), work=batch_planner.Planner())
        wall, used = time.perf_counter() - started, time.process_time() - cpu
        print(
            f"{len(tasks):6} tasks: {1000 * used / len(tasks):.2f} ms CPU per task in the parent"
            f" ({1000 * reading / len(tasks):.2f} reading), {wall:.1f} s wall, peak {peak.bytes / 1e6:.0f} MB"
        )


def kills(times: int) -> None:
    """Kill the batch at random moments; every run that is left to end must equal the uninterrupted one."""
    from tests.oracles import batch_planner
    from tests.oracles.batch_process import request as tiny

    moments, wrong, finished, inside = random.Random(7), 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        _, whole = launch(tiny(Path(name) / "whole"), work=batch_planner.Planner())
        folder, script = Path(name) / "killed", ROOT / "tests" / "oracles" / "batch_process.py"
        for count in range(1, times + 1):
            process = subprocess.Popen(
                [sys.executable, str(script), str(folder), "0.03"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0.0, 0.5))
            inside += process.poll() is None
            process.kill()
            process.communicate()
            if count % 5 == 0:
                _, rows = launch(tiny(folder), work=batch_planner.Planner())
                finished += 1
                wrong += comparable(rows) != comparable(whole)
                (folder / "ledger.sqlite").unlink()
    print(f"{times} kills, {inside} of them while tasks ran; {finished} resumed runs ended, {wrong} differ")


def on_ray(seconds: float) -> None:
    """Run tasks of equal length on the pool and on a Ray of two nodes; speed from the first answer to the last."""
    import ray
    from ray.cluster_utils import Cluster

    from tests.oracles import batch_planner

    cross = {
        "model": "qwen3-8b",
        "device": ["h100-sxm", "h200-sxm"],
        "limits.ttft": [f"{n} ms" for n in range(100, 200)],
    }
    tasks, work = batch_planner.tasks(batch_planner.SWEEP | {"cross": cross}), batch_planner.Planner(seconds=seconds)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    speeds = {}
    for engine in ("pool", "ray"):
        times: list[float] = []

        def watch(progress: Progress, times: list[float] = times) -> None:
            times.extend([time.monotonic()] * (progress.solved - len(times)))

        with tempfile.TemporaryDirectory() as name:
            launch(request(tasks, Path(name), engine=engine, independent=True), work=work, watch=watch)
        first = times.index(times[10])
        speeds[engine] = (len(times) - first - 1) / (times[-1] - times[first])
        print(f"{engine}: {speeds[engine]:.2f} tasks/s; load {os.getloadavg()[0]:.1f}")
    print(f"ray / pool: {speeds['ray'] / speeds['pool']:.2f}")
    ray.shutdown()
    cluster.shutdown()


def comparable(rows: list[Row]) -> list[Row]:
    """Rows without wall times."""
    return [replace(row, seconds=0.0) for row in rows]


def _families(tasks: list[Task], sample: int) -> list[Task]:
    """About ``sample`` tasks, all of a model and device or none, so that what carries over does so as ever."""
    families: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        families.setdefault((task.model, task.device), []).append(task)
    chosen = list(families.values())
    random.Random(3).shuffle(chosen)
    kept: list[Task] = []
    for family in chosen:
        if len(kept) < sample:
            kept += family
    return kept


def _every(tasks: list[Task], every: int, first: int) -> list[Task]:
    """Tasks of each n-th device by name, all models and limits: what carries over between devices does so in part."""
    devices = sorted({task.device for task in tasks})[first::every]
    return [task for task in tasks if task.device in devices]


class Peak:
    """Largest resident memory of this process and all below it while the block runs, bytes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            self.bytes = max(self.bytes, sum(map(_proportional, _below(os.getpid()))))


def _below(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents.setdefault(int((path / "stat").read_text().rpartition(")")[2].split()[1]), []).append(
                int(path.name)
            )
        except (OSError, ValueError):
            continue
    found = [root]
    for process in found:
        found += parents.get(process, [])
    return found


def _proportional(process: int) -> int:
    """Resident bytes of a process, pages shared with others counted in part."""
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["cold", "flat", "kills", "ray"])
    parser.add_argument("--sweep", type=Path, default=ROOT / "instances" / "sweeps" / "thousand.yaml")
    parser.add_argument("--sample", type=int, help="about so many tasks of the sweep [default: all]")
    parser.add_argument("--every", type=int, default=1, help="only tasks of each n-th device [default: all]")
    parser.add_argument("--first", type=int, default=0, help="place of the first of these devices")
    parser.add_argument("--keep", type=Path, help="file for status, GPUs, bound, times and seconds of each task")
    parser.add_argument("--seconds", type=float, default=0.1, help="length of a task on Ray")
    parser.add_argument("--times", type=int, default=200, help="kills")
    given = parser.parse_args()

    def chosen(tasks: list[Task]) -> list[Task]:
        some = _every(tasks, given.every, given.first)
        return some if given.sample is None else _families(some, given.sample)

    parts: dict[str, Callable[[], None]] = {
        "cold": lambda: cold(given.sweep, chosen, given.keep),
        "flat": flat,
        "kills": lambda: kills(given.times),
        "ray": lambda: on_ray(given.seconds),
    }
    parts[given.part]()


if __name__ == "__main__":
    main()
