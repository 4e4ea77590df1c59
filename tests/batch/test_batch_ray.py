"""The Ray engine on a real Ray of two nodes, one of them killed in the middle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shardproof.instances.errors import InputError
from shardproof.solver.batch.engine import TaskLimits
from shardproof.solver.batch.launch import launch
from shardproof.solver.batch.ledger import Ledger
from shardproof.solver.batch.owner import this_process
from shardproof.solver.batch.ray_engine import DEPTH
from shardproof.solver.batch.runner import Progress, Runner
from tests.oracles import batch_planner
from tests.oracles.batch_process import request
from tests.oracles.places import ROOT

ray: Any = pytest.importorskip("ray", reason="the optional extra 'ray' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

AMPLE = TaskLimits(seconds=60)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def engine(work: Any, limits: TaskLimits = AMPLE) -> Any:
    from shardproof.solver.batch.ray_engine import RayEngine

    return RayEngine(work, address=None, workers=1, limits=limits)


def test_a_node_killed_in_the_middle_loses_and_doubles_nothing(cluster: Any, tmp_path: Path) -> None:
    second = cluster.list_all_nodes()[1]
    (tmp_path / "marks").mkdir()
    killed: list[int] = []

    def kill_once(progress: Progress) -> None:
        if progress.solved >= 4 and not killed:
            killed.append(progress.done)
            cluster.remove_node(second, allow_graceful=False)

    work = batch_planner.Planner(seconds=0.3, marks=str(tmp_path / "marks"))
    asked = request(tmp_path)
    ledger = Ledger(asked.ledger)
    slots = engine(work)
    assert slots.slots == 2 * DEPTH
    outcome = Runner(ledger, slots, this_process(), independent=True, watch=kill_once).run(asked.tasks)
    answers = ledger.answers([task.fingerprint for task in asked.tasks], independent=True)
    ledger.close()
    assert killed
    assert outcome.progress.done == outcome.progress.total == len(answers) == 18
    assert {answer.status for answer in answers.values()} <= {"optimal", "infeasible"}
    started = Counter(path.name.split("-")[0] for path in (tmp_path / "marks").iterdir())
    assert sum(started.values()) <= 18 + 1
    _, whole = launch(replace(asked, folder=tmp_path / "pool", ledger=tmp_path / "pool.sqlite", independent=True),
                      work=batch_planner.Planner())  # fmt: skip
    assert [answers[row.fingerprint].gpus for row in whole] == [row.gpus for row in whole]


def test_limits_hold_on_ray_too(cluster: Any, tmp_path: Path) -> None:
    asked = request(tmp_path)
    ledger = Ledger(asked.ledger)
    slots = engine(batch_planner.dies)
    Runner(ledger, slots, this_process(), independent=True).run(asked.tasks)
    answers = ledger.answers([task.fingerprint for task in asked.tasks], independent=True)
    ledger.close()
    for task in asked.tasks:
        assert (answers[task.fingerprint].status == "failed") == ("h100" in task.name)


def test_an_address_without_a_cluster_is_refused(tmp_path: Path) -> None:
    asked = replace(request(tmp_path), engine="ray", address="127.0.0.1:1")
    with pytest.raises(InputError, match="no Ray cluster answers"):
        launch(asked, work=batch_planner.Planner())
