"""The command, the engines' files, and the heat map."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from shardproof.formulations.placement.problem import PlacementRules
from shardproof.instances.errors import InputError
from shardproof.solver.checkers.placement import check_placement
from shardproof.solver.commands.place import command
from shardproof.solver.placement.exporters.full_map import full_map
from shardproof.solver.placement.exporters.placement_files import PLACEMENT_EXPORTERS, placement_exporter
from shardproof.solver.placement.heatmap import draw_heatmap
from shardproof.solver.placement.place import place
from shardproof.solver.placement.result import PlacementResult
from shardproof.solver.placement.work import PlaceSettings
from tests.placement.test_placement import profile


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words)


SMALL = ("--experts", "8", "--layers", "2", "--profile", "zipf:0.9", "--ranks", "4", "--redundant", "4",
         "--time-limit", "2 s", "--workers", "1")  # fmt: skip


@pytest.fixture(scope="module")
def result() -> PlacementResult:
    loads = profile([9, 5, 3, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6, 7, 8])
    return place([loads], PlacementRules(ranks=4, redundant=4), PlaceSettings(time_limit=2), layer_numbers=(1, 3))


def exported(name: str, result: PlacementResult, *, layer_count: int | None = 5) -> Any:
    exporter = placement_exporter(name)
    assert exporter is not None
    return yaml.safe_load(exporter.write(full_map(result, layer_count=layer_count)))


def test_sglang_gets_one_row_per_hidden_layer_and_no_other_key(result: PlacementResult) -> None:
    tree = exported("sglang", result)
    assert list(tree) == ["physical_to_logical_map"]
    rows = tree["physical_to_logical_map"]
    assert [len(row) for row in rows] == [12] * 5
    assert rows[0] == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]
    assert rows[3] == [expert for held in result.layers[1].slots for expert in held]
    assert all(set(row) == set(range(8)) for row in rows)


def test_tensorrt_llm_gets_slots_by_layer_number(result: PlacementResult) -> None:
    tree = exported("tensorrt-llm", result)
    assert set(tree) == {"num_slots", "initial_global_assignments", "layer_updates_per_iter"}
    assert (tree["num_slots"], tree["layer_updates_per_iter"]) == (12, 0)
    assert list(tree["initial_global_assignments"]) == [1, 3]
    assert all(len(row) == 12 and set(row) == set(range(8)) for row in tree["initial_global_assignments"].values())


def test_vllm_ascend_gets_experts_by_device() -> None:
    spread = [profile([5, 1, 1, 1, 1, 1, 1, 1]), profile([1, 4, 1, 1, 3, 1, 1, 1])]
    rules = PlacementRules(ranks=4, redundant=4, distinct=True)
    layers = [place([found], rules, PlaceSettings(time_limit=1)).layers[0] for found in spread]
    result = replace(
        place([spread[0]], rules, PlaceSettings(time_limit=1)),
        layers=tuple(replace(found, layer=number) for found, number in zip(layers, (1, 3), strict=True)),
    )
    tree = exported("vllm-ascend", result)
    assert tree["moe_layer_count"] == len(tree["layer_list"]) == 2
    assert [row["layer_id"] for row in tree["layer_list"]] == [0, 1]
    devices = tree["layer_list"][1]["device_list"]
    assert [device["device_id"] for device in devices] == [0, 1, 2, 3]
    assert tuple(tuple(device["device_expert"]) for device in devices) == result.layers[1].slots


def test_no_engine_gets_ranks_of_unequal_slots() -> None:
    uneven = place([profile([1] * 5)], PlacementRules(ranks=3, uneven=True), PlaceSettings(time_limit=1))
    with pytest.raises(InputError, match="no engine"):
        full_map(uneven)


def test_exporters_are_named_once() -> None:
    names = [exporter.name for exporter in PLACEMENT_EXPORTERS]
    assert len(set(names)) == len(names) == 3


def test_the_command_prints_one_document(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("sglang.json", "trt.yaml", "ascend.json", "certificate.json")}
    found = run(
        *SMALL, "--json",
        "--export", f"sglang={files['sglang.json']}", "--export", f"tensorrt-llm={files['trt.yaml']}",
        "--export", f"vllm-ascend={files['ascend.json']}", "--certificate", str(files["certificate.json"]),
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert (
        json.loads(files["sglang.json"].read_text())["physical_to_logical_map"] == document["physical_to_logical_map"]
    )
    assert all(path.exists() for path in files.values())
    assert check_placement(json.loads(files["certificate.json"].read_text())).accepted


@pytest.mark.slow(reason="two placements of a whole model, each within its time limit")
def test_the_command_takes_its_own_file_as_the_placement_in_force(tmp_path: Path) -> None:
    path = tmp_path / "now.json"
    once = json.loads(run(*SMALL, "--json", "--export", f"sglang={path}").stdout)
    again = json.loads(run(*SMALL, "--json", "--from", str(path)).stdout)
    for old, new in zip(once["layers"], again["layers"], strict=True):
        assert new["moved"] == 0 or new["max_load"] < old["max_load"]  # a busy machine may stop the first early


def test_the_command_prints_a_table_and_reads_files(tmp_path: Path) -> None:
    path = tmp_path / "loads.csv"
    path.write_text("9,5,3,1\n1,1,1,1\n")
    found = run("--profile", str(path), "--ranks", "2", "--time-limit", "1 s")
    assert found.exit_code == 0
    assert "proven optimal" in found.output


def test_several_profiles_and_weights(tmp_path: Path) -> None:
    for name, text in (("day", "8,8,1,1\n"), ("night", "8,1,8,1\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    both = ("--profile", str(tmp_path / "day.csv"), "--profile", str(tmp_path / "night.csv"), "--ranks", "2", "--json")
    worst = json.loads(run(*both, "--serve", "worst").stdout)
    mixed = json.loads(run(*both, "--weights", "1,3").stdout)
    assert worst["layers"][0]["max_load"] == 9
    assert mixed["layers"][0]["mean_load"] == 9


def test_the_inverse_question() -> None:
    found = run(
        "--experts", "16", "--layers", "2", "--profile", "zipf:0.6", "--ranks", "4", "--max-imbalance", "1.05", "--json"
    )
    document = json.loads(found.stdout)
    assert found.exit_code == 0
    assert all(row["imbalance"] <= 1.05 and row["redundant"] >= row["fewest"] for row in document["layers"])
    assert "mean" in run(*SMALL[:6], "--ranks", "4", "--max-imbalance", "1.1").output


def test_a_catalogue_model_numbers_its_own_layers() -> None:
    found = run("--model", "deepseek-v3", "--profile", "uniform", "--ranks", "32", "--json")
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert [row["layer"] for row in document["layers"]] == list(range(3, 61))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--ranks", "4"), "--profile"),
        ((*(word if word != "4" or place != 7 else "5" for place, word in enumerate(SMALL)),), "use 2 or 7"),
        ((*SMALL, "--export", "vllm=x"), "imports no placement"),
        ((*SMALL, "--export", "sglang"), "ENGINE=FILE"),
        ((*SMALL, "--max-imbalance", "0.9"), "1 or more"),
        ((*SMALL, "--max-imbalance", "x"), "--max-imbalance"),
        ((*SMALL, "--ranks", "5"), "--ranks stands twice"),
        ((*SMALL[:-4], "--time-limit", "5"), "--time-limit"),
        ((*SMALL, "--from", "nowhere.json"), "no such file"),
        ((*SMALL, "--weights", "1,2"), "give 1 weights"),
        ((*SMALL, "--max-imbalance", "1.1", "--groups", "2", "--nodes", "2"), "leave out"),
    ],
)
def test_bad_words_are_refused(words: tuple[str, ...], message: str) -> None:
    found = run(*words)
    assert isinstance(found.exception, InputError) or found.exit_code == 2
    assert message in found.output + str(found.exception)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_heat_map(tmp_path: Path, result: PlacementResult, ending: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"map.{ending}"
    draw_heatmap(result, path)
    start = path.read_bytes()[:60]
    assert start.startswith(b"\x89PNG") if ending == "png" else b"<?xml" in start


def test_a_heat_map_is_drawn_as_pdf_too(tmp_path: Path, result: PlacementResult) -> None:
    pytest.importorskip("matplotlib")
    draw_heatmap(result, tmp_path / "map.pdf")
    assert (tmp_path / "map.pdf").read_bytes().startswith(b"%PDF")


def test_no_ascend_device_holds_an_expert_twice(tmp_path: Path) -> None:
    hot = profile([9_000, 10, 10, 10, 10, 10, 10, 10])
    rules = PlacementRules(ranks=2, redundant=4)
    assert any(len(set(held)) < len(held) for held in place([hot], rules, PlaceSettings(time_limit=1)).layers[0].slots)
    loads, file = tmp_path / "loads.csv", tmp_path / "ascend.json"
    loads.write_text("9000,10,10,10,10,10,10,10\n")
    found = run("--profile", str(loads), "--ranks", "2", "--redundant", "4", "--export", f"vllm-ascend={file}")
    assert found.exit_code == 0, found.output
    devices = json.loads(file.read_text())["layer_list"][0]["device_list"]
    assert all(len(set(device["device_expert"])) == 6 for device in devices)


def test_a_placement_that_ascend_cannot_load_is_refused() -> None:
    hot = profile([9_000, 10, 10, 10, 10, 10, 10, 10])
    found = place([hot], PlacementRules(ranks=2, redundant=4), PlaceSettings(time_limit=1))
    with pytest.raises(InputError, match="--distinct"):
        exported("vllm-ascend", found)
