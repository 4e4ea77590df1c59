"""Fitting curves from recorded measurements, and the verb that does it."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from shardproof.instances.calibration import load_calibration, parse_calibration
from shardproof.instances.errors import InputError
from shardproof.solver.calibration.figures import figures_by_device
from shardproof.solver.calibration.fit import fit_family
from shardproof.solver.calibration.measurements import read_measurements
from shardproof.solver.calibration.residual import Smoothness, choose_centres, fit_weights
from shardproof.solver.commands.calibrate import command

COLUMNS = ["op", "gpu", "engine", "ver", "kernel", "dtype", "m", "n", "k", "lat_us"]


def truth(m: float, n: float, k: float) -> float:
    """A GEMM on an imagined kernel: 70 % of H100's peaks, 4 us of launch, slower for narrow outputs."""
    roof = max(2 * m * n * k / (0.7 * 989e6), 2 * (m * k + n * k + m * n) / (0.8 * 3350e3))
    return 4 + roof * (1 + 0.3 * np.exp(-n / 2000))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    generator = np.random.default_rng(5)
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(COLUMNS)
        for n, k in generator.choice([256, 512, 1024, 2048, 4096, 8192, 16384], size=(30, 2)):
            for m in 2.0 ** generator.integers(0, 14, size=8):
                time = truth(m, n, k) * np.exp(generator.normal(0, 0.01))
                writer.writerow(["gemm", "h100_sxm", "vllm", "1", "linear", "bfloat16", int(m), n, k, f"{time:.4f}"])
    return path


@pytest.mark.slow  # a family is fitted four times
def test_a_known_law_is_found_on_shapes_held_out(recorded: Path) -> None:
    rows = read_measurements(recorded)["gemm"]
    fitted = fit_family(rows, figures_by_device(["h100-sxm"]), folds=3)
    (curve,) = fitted.curves.values()
    assert curve.rows == 240
    assert curve.fit_error < 0.02
    assert curve.held_out_error is not None
    assert curve.held_out_error < 0.03


def test_one_wild_row_does_not_move_the_fit() -> None:
    points = np.linspace(0, 3, 40)[:, None]
    target = 0.1 * np.sin(points[:, 0])
    target[20] = 3.0
    centres = choose_centres(points, 20)
    owner = np.zeros(40, dtype=np.intp)
    weights = fit_weights(points, target, owner, np.ones((1, 1)), centres, Smoothness(rounds=8))
    from shardproof.formulations.costs.curves.evaluate import kernel

    assert abs(float((kernel(points[20:21], centres) @ weights[0])[0])) < 0.3


def test_folds_keep_a_shape_together(recorded: Path) -> None:
    rows = read_measurements(recorded)["gemm"]
    fold = rows.folds(5)
    shapes: dict[tuple[float, float], set[int]] = {}
    for n, k, number in zip(rows.sizes.n, rows.sizes.k, fold, strict=True):
        shapes.setdefault((n, k), set()).add(int(number))
    assert all(len(numbers) == 1 for numbers in shapes.values())
    assert len(set(fold)) > 1


@pytest.mark.slow  # a family is fitted four times
def test_the_verb_fits_recorded_rows_and_writes_a_device_file(recorded: Path, tmp_path: Path) -> None:
    output = tmp_path / "h100.json"
    arguments = ["--from-measurements", str(recorded), "--device-name", "h100-sxm", "-o", str(output)]
    arguments += ["--folds", "3", "--json"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)["curves"]
    assert row["held_out_error"] < 0.05
    kept = parse_calibration(output.read_text(), where=output.name)
    assert kept.device == "h100-sxm"
    assert "rows.csv" in kept.source
    assert kept.curves[0].key.kernel == "linear"


def test_without_a_gpu_the_verb_says_so() -> None:
    from shardproof.solver.calibration.microbenchmarks import require_gpu

    if gpu_at_hand():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="--from-measurements"):
        require_gpu()


def gpu_at_hand() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    torch = importlib.import_module("torch")
    return bool(torch.cuda.is_available())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("op,gpu\ngemm,h100_sxm\n", "engine, lat_us"),
        ("op,gpu,engine,lat_us\nnonsense,h100_sxm,vllm,3\n", "no known operation"),
        ("op,gpu,engine,m,n,k,lat_us\ngemm,h100_sxm,vllm,many,8,8,3\n", "line 2, m"),
        ("op,gpu,engine,m,n,k,lat_us\ngemm,h100_sxm,vllm,8,8,8,0\n", "above zero"),
    ],
)
def test_bad_measurements_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_measurements(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone"):
        read_measurements(tmp_path / "gone.csv")


def test_a_broken_calibration_is_named() -> None:
    with pytest.raises(InputError, match="mine"):
        parse_calibration("{", where="mine.json")
    with pytest.raises(InputError, match="figures"):
        parse_calibration("{}", where="mine.json")


def test_shipped_curves_state_their_errors() -> None:
    calibration = load_calibration("h100-sxm")
    assert calibration.source
    assert all(curve.fit_error < 1.5 for curve in calibration.curves)
