"""Readers of what was measured or published: profiles, placements, configs, calibrations, results, start logs."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.fuzz.mutations import ODD_VALUES, binary, changed, document
from benchmarks.fuzz.reader import Content, Reader, from_trees
from shardproof.instances import catalogue
from tests.benchmarking import test_results
from tests.benchmarking.test_start_logs import LOGS
from tests.oracles.fuzzed_documents import mutate


def _configs() -> Reader:
    """A config.json, now and then with a quantisation beside it, or as a folder."""
    folder = catalogue.FOLDER / "models"
    items = [yaml.safe_load(path.read_bytes()) for path in sorted(folder.glob("*.yaml"))[::3]]
    trees = [item["config"] for item in items if "config" in item]
    beside = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}

    def make(chance: random.Random) -> Content:
        tree = chance.choice(trees)
        if chance.random() < 0.9:
            raw = json.dumps(changed(chance, tree), default=str).encode()
            return (mutate(chance, raw) if chance.random() < 0.1 else raw), ".json"
        return json.dumps([tree, changed(chance, beside)], default=str).encode(), ".folder"

    def read(path: Path) -> object:
        if path.suffix == ".json":
            return catalogue.read_model(path)
        tree, quantization = json.loads(path.read_bytes())
        folder = path.with_name("fuzzed-model")
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(tree), encoding="utf-8")
        (folder / "hf_quant_config.json").write_text(json.dumps(quantization), encoding="utf-8")
        return catalogue.read_model(folder)

    return Reader("configs", "configs", make, read)


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

    def make(chance: random.Random) -> Content:
        if chance.random() < 0.4:
            raw, suffix = chance.choice(binaries)
            return binary(chance, raw), suffix
        if chance.random() < 0.5:
            text = table.replace(str(chance.randrange(13)), str(chance.choice(ODD_VALUES)))
            return text.encode("utf-8", "replace"), ".csv"
        raw, suffix = document(chance, texts, [tree, {"loads": loads.tolist()}, {"loads": {"0": [1, 2], "1": [3, 4]}}])
        return raw, ".json" if suffix == ".yaml" else suffix

    return Reader("profiles", "profiles", make, lambda path: load_profile(str(path)))


def _placements() -> Reader:
    """A placement in force, from which few experts are to move."""
    from shardproof.solver.api.placed import place

    tree = {"physical_to_logical_map": [[0, 1, 2, 3, 0, 1], [3, 2, 1, 0, 2, 3]]}

    def read(path: Path) -> object:
        rules = {"experts": 4, "layers": 2, "profile": "zipf:0.9", "ranks": 2, "redundant": 2}
        return place(**rules, current=path, time_limit="0.05s", workers=1).to_dict()  # type: ignore[arg-type]

    return Reader("placements", "profiles", from_trees([tree], noise=0.1, suffix=".json"), read)


def _calibrations() -> Reader:
    from shardproof.instances.calibration import parse_calibration

    folder = catalogue.FOLDER / "calibrations"
    names = [path for path in sorted(folder.glob("*.json")) if path.stem not in ("centres", "relatives")]
    trees = [json.loads(path.read_bytes()) for path in sorted(names, key=lambda path: path.stat().st_size)[:3]]

    def make(chance: random.Random) -> Content:
        text = json.dumps(changed(chance, chance.choice(trees)), default=str).encode("utf-8", "replace")
        return (binary(chance, text) if chance.random() < 0.3 else text), ".json"

    def read(path: Path) -> object:
        return parse_calibration(path.read_bytes().decode("utf-8", "replace"), where=str(path))

    return Reader("calibrations", "calibrations", make, read)


def _corrections() -> Reader:
    """Files of corrections that questions name under ``calibrations:``."""
    from shardproof.instances.correction import read_corrections

    row = {"device": "h100-sxm", "engine": "vllm", "model": "qwen3-8b", "decode": 1.12, "wait": "3/2", "source": "x"}
    trees = [{"calibrations": [row]}, {"calibrations": [row, {**row, "model": "phi-4", "prefill": "110%"}]}]
    return Reader("corrections", "calibrations", from_trees(trees), read_corrections)


def _results() -> Reader:
    """Results of benchmark tools, read, and every fifth held against a plan."""
    from shardproof.solver.api.benchmarked import check
    from shardproof.solver.benchmarking.results import read_results

    reports = list(test_results.REPORTS.values())
    trees = [*test_results.RESULTS.values(), *test_results.OLDER.values(), *reports]

    def read(path: Path) -> object:
        size = path.stat().st_size
        if size % 5:
            return read_results(path)
        return check(test_results.PLAN, path, test_results.QUESTION, seeds=1, correct=size % 4 == 0)

    return Reader("results", "results", from_trees(json.loads(json.dumps(trees)), noise=0.1), read)


def _start_logs() -> Reader:
    """Logs of engines' starts, read, and every fifth held against a plan."""
    from shardproof.solver.api.benchmarked import check
    from shardproof.solver.benchmarking.start_logs import read_start_log

    originals = [text.encode() for _, text, _ in LOGS.values()]

    def make(chance: random.Random) -> Content:
        raw = chance.choice(originals)
        if chance.random() < 0.5:
            words = raw.split()
            odd = str(chance.choice(ODD_VALUES)).encode("utf-8", "replace")
            raw = raw.replace(chance.choice(words), odd)
        return mutate(chance, raw or b"x"), ".log"

    def read(path: Path) -> object:
        if path.stat().st_size % 5:
            return read_start_log(path)
        return check(test_results.PLAN, None, test_results.QUESTION, log=path).to_dict()

    return Reader("start-logs", "results", make, read)


def readers() -> Iterator[Reader]:
    """Every reader of measurements and published files."""
    made = (_configs, _profiles, _placements, _calibrations, _corrections, _results, _start_logs)
    yield from (make() for make in made)
