"""The catalogue: every file loads, cites its source, and adds up to what is published."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from shardproof.instances import catalogue
from shardproof.instances.errors import InputError
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.api.catalogued import describe_model
from shardproof.solver.commands.catalog import command
from shardproof.solver.exporters.images import PRODUCTS
from tests.oracles.places import SHARED

# Totals of the text models, as counted in the checkpoints or given by the makers.
PUBLISHED = {
    "deepseek-r1": 671_026_419_200,
    "deepseek-v3": 671_026_419_200,
    "gemma-3-27b": 27_009_346_304,
    "glm-4.5-air": 106_852_251_264,
    "gpt-oss-120b": 116_829_156_672,
    "gpt-oss-20b": 20_914_757_184,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-8b": 8_030_261_248,
    "mixtral-8x7b": 46_702_792_704,
    "mixtral-8x22b": 140_620_634_112,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-235b-a22b": 235_093_634_560,
    "qwen3-235b-a22b-fp8": 235_093_634_560,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-coder-480b-a35b": 480_154_875_392,
    "qwen3.5-397b-a17b": 396_346_350_336,
}
# Checkpoints that hold a vision tower too: text model and tower together.
PUBLISHED_WITH_TOWER = {
    "gemma-3-4b": 4_300_079_472,
    "gemma-3-27b": 27_432_406_640,
    "llama-4-maverick": 401_583_781_376,
    "mistral-small-3.1-24b": 24_011_361_280,
}


def test_there_are_enough_items():
    assert len(catalogue.model_names()) >= 140
    assert len(catalogue.device_names()) >= 35


@pytest.mark.parametrize("name", catalogue.model_names())
def test_model_loads_and_cites_its_source(name):
    model = catalogue.load_model(name)
    assert model.name == name
    assert model.source.strip()
    assert model.layer_count == sum(len(run.pattern) * run.repeat for run in model.runs)
    if model.published_parameters is not None:
        assert model.parameters == model.published_parameters
    assert 0 < model.active_parameters <= model.parameters
    assert set(model.layer_kinds) == set(model.kinds)


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_parameters_are_exact(name, parameters):
    assert catalogue.load_model(name).parameters == parameters


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_WITH_TOWER.items())
def test_towers_complete_the_checkpoint(name, parameters):
    model = catalogue.load_model(name)
    assert model.parameters + model.extra_parameters == parameters


@pytest.mark.parametrize("path", sorted((SHARED / "fidelity" / "models").glob("*.json")), ids=lambda path: path.stem)
def test_totals_of_the_facts(path):
    facts = json.loads(path.read_text())
    model = catalogue.load_model(path.stem.lower())
    assert model.layer_count == facts["layers"]
    assert model.hidden == facts["hidden"]
    assert model.max_position == facts["max_position"]
    if facts["params"]:
        assert model.parameters == facts["params"]["total"]


def test_fixed_points_of_the_main_case():
    model = catalogue.load_model("qwen3-235b-a22b")
    layer = model.kinds["full-moe"]
    expert = sum(matrix.parameters for matrix in layer.feed_forward.expert_matrices(model.hidden))
    assert 128 * expert == 2_415_919_104
    assert sum(matrix.parameters for matrix in layer.attention.matrices(model.hidden)) == 71_303_168
    assert model.active_parameters == 22_190_763_520


@pytest.mark.parametrize("name", catalogue.device_names())
def test_device_loads_and_every_number_has_a_source(name):
    device = catalogue.load_device(name)
    assert device.name == name
    assert device.source.strip()
    given = {"peak_flops", "memory", "memory_bandwidth", "scale_up", "scale_out"}
    given |= {"visible_memory"} if device.visible_memory is not None else set()
    given |= {"price_per_hour"} if device.price_per_hour is not None else set()
    given |= {"watts"} if device.watts is not None else set()
    given |= {"engines"} if device.engines is not None else set()
    assert (device.price_basis is None) == (device.price_per_hour is None)
    assert given <= set(device.sources)
    assert all(text.strip() for text in device.sources.values())


def test_devices_agree_with_datasheets():
    h100 = catalogue.load_device("h100-sxm")
    assert h100.peak_flops["fp8"] == 1_979 * 10**12
    assert h100.memory == 80 * 10**9
    assert h100.price_per_hour == Fraction("1.69")
    assert "fp8" not in catalogue.load_device("a100-80-sxm").peak_flops
    assert catalogue.load_device("gb200-nvl72").devices_per_node == 72


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Qwen/Qwen3-235B-A22B-FP8", "qwen3-235b-a22b-fp8"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("QWEN3-8B", "qwen3-8b"),
        ("qwen3-235b", "qwen3-235b-a22b"),
    ],
)
def test_models_have_other_names(spelling, name):
    assert catalogue.load_model(spelling).name == name


def test_aliases_are_unambiguous():
    for kind, names in (("models", catalogue.model_names()), ("devices", catalogue.device_names())):
        seen: dict[str, str] = {}
        for name in names:
            tree = yaml.safe_load((catalogue.FOLDER / kind / f"{name}.yaml").read_text())
            for alias in tree.get("aliases", []):
                assert alias.lower() not in seen
                assert alias.lower() not in names
                seen[alias.lower()] = name


def test_a_device_is_known_by_the_name_that_its_driver_prints() -> None:
    for slug, label in PRODUCTS.items():
        for name in (label, label.replace("-", " ")):
            assert catalogue.load_device(name).name == slug
            assert catalogue.is_device(name)


def test_spaces_and_underscores_stand_for_dashes() -> None:
    names = ("qwen3-8b", "qwen3_8b", "Qwen3 8B", "Qwen/Qwen3-8B")
    assert {catalogue.load_model(name).name for name in names} == {"qwen3-8b"}
    with pytest.raises(InputError, match=r"nearest: qwen3-8b"):  # an id of an organisation is another checkpoint
        catalogue.load_model("Qwen/Qwen3_8B")


@pytest.mark.parametrize(
    ("look_up", "name", "nearest"),
    [
        (catalogue.load_model, "qwen3-235b-a22", "qwen3-235b-a22b"),
        (catalogue.load_model, "lama-3.1-70b", "llama-3.1-70b"),
        (catalogue.load_device, "h100_sxn", "h100-sxm"),
    ],
)
def test_unknown_names_come_with_the_nearest(look_up, name, nearest):
    with pytest.raises(InputError, match=nearest):
        look_up(name)


@pytest.mark.parametrize("name", ["", "  ", "nope", "x" * 10_000, "../../etc/passwd", "a\0b", "\ud800"])
def test_strange_names_are_refused(name):
    with pytest.raises(InputError):
        catalogue.load_model(name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        catalogue.load_model(str(tmp_path / "config.json"))


def test_a_model_written_out_reads_back(tmp_path):
    model = catalogue.load_model("gemma-4-26b-a4b")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(model.model_dump(mode="json")))
    assert catalogue.load_model(str(path)) == model


def test_loading_one_item_reads_one_file(monkeypatch):
    read = []
    monkeypatch.setattr(catalogue, "_read_item", lambda path, slug: read.append(path))
    catalogue.load_model("qwen3-235b-a22b-fp8")
    catalogue.load_model("Qwen/Qwen3-235B-A22B-FP8")
    assert [path.name for path in read] == ["qwen3-235b-a22b-fp8.yaml"] * 2


def test_command_lists_and_shows():
    runner = CliRunner()
    listed = json.loads(runner.invoke(command, ["--json"]).stdout)
    assert {item["name"] for item in listed["models"]} == set(catalogue.model_names())
    assert {item["name"] for item in listed["devices"]} == set(catalogue.device_names())
    shown = json.loads(runner.invoke(command, ["devices", "h100", "--json"]).stdout)
    assert shown["device"]["memory_bytes"] == 80_000_000_000
    text = runner.invoke(command, ["qwen3-8b"])
    assert text.exit_code == 0
    assert "8,190,735,360" in text.stdout
    assert isinstance(runner.invoke(command, ["engines", "x"]).exception, InputError)


def test_stored_bytes_of_released_checkpoints():
    assert describe_model(catalogue.load_model("llama-3.1-8b"))["weight_bytes"] == 2 * 8_030_261_248
    assert describe_model(catalogue.load_model("qwen3-235b-a22b"))["kv_bytes_per_token"] == 192_512
    # The size that the checkpoint's own index gives (model.safetensors.index.json of openai/gpt-oss-120b).
    assert describe_model(catalogue.load_model("gpt-oss-120b"))["weight_bytes"] == 65_248_815_744


@pytest.mark.parametrize(
    ("name", "visible"),
    [("a100", "79.2"), ("mi300x", "191.8"), ("b200", "178.35"), ("rtx-5090", "31.36")],
)
def test_processes_see_gibibytes_where_datasheets_say_gigabytes(name, visible):
    assert catalogue.load_device(name).visible_memory == int(Fraction(visible) * 2**30)


def test_an_engine_is_refused_where_it_does_not_run():
    for device, engine in (("mi300x", "trtllm"), ("gaudi-3", "trtllm"), ("gaudi-3", "sglang"), ("v100", "sglang")):
        with pytest.raises(InputError, match="does not run on"):
            resolve_tree(question(device, engine), where="question")
    assert resolve_tree(question("v100", "vllm"), where="question").engine == "vllm"


def question(device, engine):
    load = {"kind": "burst", "batch_size": 1, "input_tokens": 64, "output_tokens": 16}
    return {"name": "question", "model": "llama-3.2-1b", "device": device, "engine": engine, "workload": load}


@pytest.mark.parametrize(
    ("checkpoint", "gigabytes"),
    [
        ("nvidia/Gemma-4-31B-IT-NVFP4", 32.6),
        ("deepseek-ai/DeepSeek-V3.1", 673.2),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", 41.6),
        ("moonshotai/Kimi-K2-Thinking", 594.2),
        ("openai/gpt-oss-20b", 13.8),
    ],
)
def test_an_id_stands_for_its_checkpoint(checkpoint, gigabytes):
    found = describe_model(catalogue.load_model(checkpoint))["weight_bytes"] / 1e9
    assert found == pytest.approx(gigabytes, abs=0.06)


def test_base_tuned_and_quantised_ids_are_told_apart():
    ids = ("meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.1-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct")
    assert len({catalogue.load_model(name).name for name in ids}) == 3
    assert catalogue.published_name("llama-3.3-70b-instruct") == "meta-llama/Llama-3.3-70B-Instruct"
    for unknown in ("unsloth/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct-AWQ"):
        with pytest.raises(InputError, match=r"nearest: llama-3\.3-70b-instruct"):
            catalogue.load_model(unknown)


def test_what_an_item_shares_comes_from_another(tmp_path, monkeypatch):
    shared = catalogue.load_model("qwen3-4b-instruct-2507-fp8")
    assert (shared.parameters, shared.max_position) == (4_022_468_096, 262_144)
    assert shared.formats.dense_ffn.dtype == "fp8"
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "one.yaml").write_text("source: a test\nsame_as: two\n")
    (tmp_path / "models" / "two.yaml").write_text("source: a test\nsame_as: one\n")
    with pytest.raises(InputError, match="another item"):
        catalogue.load_model("one")


def test_the_same_model_by_name_and_by_config_gives_the_same_figures(tmp_path):
    tree = yaml.safe_load((catalogue.FOLDER / "models" / "glm-5-fp8.yaml").read_text())["config"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tree))
    read, listed = catalogue.load_model(str(path)), catalogue.load_model("zai-org/GLM-5-FP8")
    assert read.model_copy(update={"name": "", "source": "", "notes": ()}) == listed.model_copy(
        update={"name": "", "source": "", "notes": ()}
    )


def test_an_item_that_comes_or_goes_is_seen_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "devices").mkdir()
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    assert catalogue.device_names() == ()
    added = tmp_path / "devices" / "mine.yaml"
    added.write_text("{}", encoding="utf-8")
    assert catalogue.device_names() == ("mine",)
    added.unlink()
    assert catalogue.device_names() == ()


def test_parameters_are_those_of_every_layer_one_by_one() -> None:
    model = catalogue.load_model("gemma-3-27b")
    layers = sum(model.layer_parameters(kind) for kind in model.layer_kinds)
    ends = model.vocab * model.hidden * (1 if model.tied else 2) + model.final_norm_parameters
    assert len(set(model.layer_kinds)) > 1
    assert model.parameters == ends + layers
