"""Every reader of the project, with what it normally reads: the targets of the fuzzer."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.fuzz.mutations import ODD_VALUES, binary, changed, document, places
from shardproof.instances import catalogue
from shardproof.instances.errors import CheckFailed, InputError
from shardproof.instances.resolve import load_instance
from shardproof.instances.sweep import expand, load_sweep
from tests.oracles.places import CASES, DATA, ROOT

REFUSALS = (InputError, CheckFailed, click.ClickException)
"""What a reader may answer with besides a value."""

Make = Callable[[random.Random], tuple[bytes, str]]


@dataclass(frozen=True)
class Reader:
    """A reader under test: ``make`` gives hostile bytes and an ending, ``read`` reads the file of that content.

    ``names_file``: whether a refusal has to name the file.
    """

    name: str
    make: Make
    read: Callable[[Path], object]
    names_file: bool = True


def _from_files(*folders: Path, pattern: str = "*.yaml") -> Make:
    paths = [path for folder in folders for path in sorted(folder.glob(pattern))]
    originals = [(path.read_bytes(), path.suffix) for path in paths]
    trees = [yaml.safe_load(raw) for raw, suffix in originals if suffix in (".yaml", ".json")]
    return lambda chance: document(chance, originals, trees)


def _instances() -> Reader:
    return Reader("instances", _from_files(CASES), load_instance)


def _questions() -> Reader:
    """Instances whose numbers are odd but may be valid: those that resolve are solved, rendered and written."""
    from shardproof.solver.search.settings import Settings
    from shardproof.solver.solve import solve
    from shardproof.solver.writers.terminal import render_result

    usual = {
        "model": "qwen3-8b",
        "device": "h100-sxm",
        "workload": {"kind": "burst", "batch_size": 4, "input_tokens": 100, "output_tokens": 10},
        "limits": {"ttft": "10 s", "tpot": "1 s", "max_gpus": 4, "memory": "80 GB"},
        "hardware": {"mfu": 0.5, "memory_bandwidth": "3 TB/s", "devices_per_node": 8, "price_per_hour": "2 USD/h"},
        "margin": 0.1,
        "runtime_reserve": "1 GB",
    }
    odd = (
        "1e-9",
        "1e-30",
        "1",
        "0",
        "99%",
        "1e39",
        "1e17 ns",
        "1 ns",
        "1 B",
        "1e17 B",
        "1e17 B/s",
        "1 B/s",
        1,
        2,
        7,
        10**6,
    )

    def make(chance: random.Random) -> tuple[bytes, str]:
        tree = json.loads(json.dumps(usual))
        for _ in range(chance.choice((1, 1, 2, 3))):
            node, key = chance.choice([place for place in places(tree) if not isinstance(place[0][place[1]], dict)])
            node[key] = chance.choice(odd)
        return json.dumps(tree).encode(), ".json"

    def read(path: Path) -> object:
        instance = load_instance(path)
        result = solve(instance, settings=Settings(time_limit_s=0.3, explain=False))
        return render_result(instance, result, colour=False), json.dumps(result.to_json(), allow_nan=False)

    return Reader("questions", make, read, names_file=False)


def _devices() -> Reader:
    tree = {
        "model": "qwen3-8b",
        "workload": {"kind": "burst", "batch_size": 1, "input_tokens": 8, "output_tokens": 8},
    }
    files = sorted((catalogue.FOLDER / "devices").glob("*.yaml"))
    devices = [{"name": path.stem, **yaml.safe_load(path.read_bytes())} for path in files]
    for device in devices:
        device.pop("aliases", None)

    def make(chance: random.Random) -> tuple[bytes, str]:
        return json.dumps({**tree, "device": changed(chance, chance.choice(devices))}, default=str).encode(), ".json"

    return Reader("devices", make, load_instance)


def _sweeps() -> Reader:
    def read(path: Path) -> object:
        sweep = load_sweep(path)
        return list(islice(expand(sweep, where=str(path), folder=path.parent), 20))

    return Reader("sweeps", _from_files(ROOT / "instances" / "sweeps"), read, names_file=False)


def _configs() -> Reader:
    folder = catalogue.FOLDER / "models"
    items = [yaml.safe_load(path.read_bytes()) for path in sorted(folder.glob("*.yaml"))[::4]]
    trees = [item["config"] for item in items if "config" in item]

    def make(chance: random.Random) -> tuple[bytes, str]:
        return json.dumps(changed(chance, chance.choice(trees)), default=str).encode(), ".json"

    return Reader("configs", make, catalogue.read_model)


def _plans() -> Reader:
    from shardproof.solver.audit.audit import audit_document
    from shardproof.solver.documents.reader import read_document
    from tests.oracles.fuzzed_documents import hostile

    originals = [path.read_bytes() for path in sorted((DATA / "documents").iterdir()) if path.is_file()]
    return Reader(
        "plans",
        lambda chance: hostile(chance.randrange(2**40), originals),
        lambda path: audit_document(read_document(path)).to_json(),
    )


def _profiles() -> Reader:
    import numpy as np

    from shardproof.instances.load_profile.read import load_profile

    loads = np.arange(1, 13).reshape(3, 4)
    archive, array = io.BytesIO(), io.BytesIO()
    np.savez_compressed(archive, loads=loads)
    np.save(array, loads)
    tree = {"physical_count": loads.tolist(), "physical_to_logical_map": [[0, 1, 2, 2]] * 3}
    table = "layer,expert,load\n" + "".join(f"{i},{j},{loads[i, j]}\n" for i in range(3) for j in range(4))
    binaries = [(archive.getvalue(), ".npz"), (array.getvalue(), ".npy"), (archive.getvalue(), ".pt")]
    texts = [(json.dumps(tree).encode(), ".json"), (table.encode(), ".csv"), (b"[[1, 2]]\n[[3, 4]]\n", ".jsonl")]

    def make(chance: random.Random) -> tuple[bytes, str]:
        if chance.random() < 0.4:
            raw, suffix = chance.choice(binaries)
            return binary(chance, raw), suffix
        if chance.random() < 0.5:
            text = table.replace(str(chance.randrange(13)), str(chance.choice(ODD_VALUES)))
            return text.encode("utf-8", "replace"), ".csv"
        raw, suffix = document(chance, texts, [tree, {"loads": loads.tolist()}])
        return raw, ".json" if suffix == ".yaml" else suffix

    return Reader("profiles", make, lambda path: load_profile(str(path)))


def _certificates() -> Reader:
    from shardproof.solver.checkers import certificate as checker
    from shardproof.solver.proof.certificate import read_certificate

    with gzip.open(DATA / "certificates.jsonl.gz", "rt", encoding="utf-8") as lines:
        stored = [json.loads(line) for line in islice(lines, 40)]
    texts = [text for item in stored for text in item if isinstance(text, str) and text.startswith("{")]
    trees = [tree for tree in map(json.loads, texts) if "program" in tree]

    def make(chance: random.Random) -> tuple[bytes, str]:
        text = json.dumps(changed(chance, chance.choice(trees)), default=str).encode("utf-8", "replace")
        return (binary(chance, text) if chance.random() < 0.3 else text), ".json"

    def read(path: Path) -> object:
        with contextlib.suppress(checker.CheckError):
            checker.check(path.read_bytes())
        return read_certificate(path)

    return Reader("certificates", make, read, names_file=False)


def _ledgers() -> Reader:
    import tempfile

    from shardproof.solver.batch.answer import Answer
    from shardproof.solver.batch.ledger import Ledger, LedgerFullError, RunTask

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "l.sqlite"
        with contextlib.closing(Ledger(path)) as ledger:
            for number in range(30):
                ledger.record(str(number), Answer("optimal", {"gpus": number}, '{"plan": 1}', 0.1))
            ledger.register("run", {}, [RunTask(n, str(n), {"task": str(n)}) for n in range(30)])
        original = path.read_bytes()

    def read(path: Path) -> object:
        with contextlib.suppress(LedgerFullError), contextlib.closing(Ledger(path, read_only=True)) as ledger:
            tasks = ledger.run_tasks("run")
            answers = ledger.answers([task.fingerprint for task in tasks], independent=False)
            return ledger.runs(), answers, [ledger.document(key) for key in answers]
        return None

    return Reader("ledgers", lambda chance: (binary(chance, original), ".sqlite"), read)


def _calibrations() -> Reader:
    from shardproof.instances.calibration import parse_calibration

    folder = catalogue.FOLDER / "calibrations"
    names = [path for path in sorted(folder.glob("*.json")) if path.stem not in ("centres", "relatives")]
    trees = [json.loads(path.read_bytes()) for path in sorted(names, key=lambda path: path.stat().st_size)[:3]]

    def make(chance: random.Random) -> tuple[bytes, str]:
        text = json.dumps(changed(chance, chance.choice(trees)), default=str).encode("utf-8", "replace")
        return (binary(chance, text) if chance.random() < 0.3 else text), ".json"

    def read(path: Path) -> object:
        return parse_calibration(path.read_bytes().decode("utf-8", "replace"), where=str(path))

    return Reader("calibrations", make, read)


def _flags() -> Reader:
    from shardproof.solver.api.question import instance_from
    from shardproof.solver.commands.instance_options import instance_options

    @click.command()
    @click.argument("instance", required=False)
    @instance_options
    def command(instance: str | None, **flags: Any) -> None:
        instance_from(instance, flags)

    names = [max(option.opts, key=len) for option in command.params if isinstance(option, click.Option)]
    usual = {"--model": "qwen3-8b", "--device": "h100-sxm", "--isl": "100", "--osl": "10", "--batch-size": "2"}

    def make(chance: random.Random) -> tuple[bytes, str]:
        given = {**usual, **{chance.choice(names): _odd(chance) for _ in range(chance.choice((1, 1, 2, 4)))}}
        return json.dumps([part for pair in given.items() for part in pair]).encode(), ".json"

    def read(path: Path) -> object:
        arguments = json.loads(path.read_bytes())
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return command.main(args=arguments, standalone_mode=False)

    return Reader("flags", make, read, names_file=False)


def _odd(chance: random.Random) -> str:
    value = chance.choice((*ODD_VALUES, "fp8", "1 s", "40 GB", "50%", "h100-sxm", "zipf:0.9", "vllm", 3, "a:b"))
    return str(value).replace("\x00", "")


def readers() -> Iterator[Reader]:
    """Every reader under test."""
    yield from (
        make() for make in (_instances, _questions, _devices, _sweeps, _configs, _plans, _profiles, _certificates)
    )
    yield from (make() for make in (_ledgers, _calibrations, _flags))
