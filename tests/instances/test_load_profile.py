"""Load profiles: formats, synthetic ones, mixing, and everything that is refused."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from shardproof.instances.errors import InputError
from shardproof.instances.load_profile.profile import LoadProfile
from shardproof.instances.load_profile.read import load_profile, profile_from_rows, serve_profiles


def written(tmp_path: Path, name: str, text: str) -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def loads_of(source: str) -> tuple[tuple[Fraction, ...], ...]:
    profile = load_profile(source)
    return tuple(tuple(Fraction(load, profile.denominator) for load in row) for row in profile.loads)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "1,2,3\n4,5,6\n"),
        ("b.csv", "layer,expert,load\n0,0,1\n0,1,2\n0,2,3\n1,0,4\n1,1,5\n1,2,6\n"),
        ("c.csv", "layer_id,expert_id,count\n3,0,1\n3,1,2\n3,2,3\n7,2,6\n7,1,5\n7,0,4\n"),
        ("d.json", "[[1, 2, 3], [4, 5, 6]]"),
        ("e.json", '{"logical_count": [[[1, 1, 1], [2, 2, 2]], [[0, 1, 2], [2, 3, 4]]]}'),
        ("f.json", '{"loads": {"3": [1, 2, 3], "10": [4, 5, 6]}}'),
        (
            "g.json",
            '{"expert_load_pass": [[1, 2, 2, 1], [4, 5, 6, 0]], '
            '"physical_to_logical_map": [[0, 1, 2, 2], [0, 1, 2, 2]]}',
        ),
        ("h.jsonl", '{"logical_count": [[1, 1, 1], [2, 2, 2]]}\n{"logical_count": [[0, 1, 2], [2, 3, 4]]}\n'),
    ],
)
def test_text_formats_agree(tmp_path: Path, name: str, text: str) -> None:
    assert loads_of(written(tmp_path, name, text)) == ((1, 2, 3), (4, 5, 6))


def test_numpy_formats_agree(tmp_path: Path) -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]])
    np.savez(tmp_path / "a.npz", logical_count=array)
    np.savez(tmp_path / "b.npz", array.astype(float))
    np.save(tmp_path / "c.npy", np.stack([array - 1, np.ones_like(array)]))
    assert all(loads_of(str(tmp_path / name)) == ((1, 2, 3), (4, 5, 6)) for name in ("a.npz", "b.npz", "c.npy"))


def torch_file(path: Path, *, evil: bool = False) -> str:
    """Write what torch.save writes for a dict with one tensor, without PyTorch."""

    class Storage:
        pass

    class Pickler(pickle._Pickler):  # the Python pickler: names of modules that are not installed can be written
        def persistent_id(self, obj: object) -> object:
            return ("storage", Name("torch", "LongStorage"), "0", "cpu", 6) if isinstance(obj, Storage) else None

        def save(self, obj: object, save_persistent_id: bool = True) -> None:
            if isinstance(obj, Name):
                self.write(b"c" + obj.module.encode() + b"\n" + obj.name.encode() + b"\n")  # type: ignore[attr-defined]
            else:
                super().save(obj, save_persistent_id)

    class Name:
        def __init__(self, module: str, name: str) -> None:
            self.module, self.name = module, name

    class Tensor:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Rebuild(), (Storage(), 0, (2, 3), (3, 1), False)

    class Rebuild(Name):
        def __init__(self) -> None:
            super().__init__(*(("os", "system") if evil else ("torch._utils", "_rebuild_tensor_v2")))

        def __call__(self) -> None: ...

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump({"logical_count": Tensor()})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("record/data.pkl", stream.getvalue())
        archive.writestr("record/data/0", np.array([1, 2, 3, 4, 5, 6], dtype="<i8").tobytes())
    return str(path)


def test_a_recorder_file_is_read_without_pytorch(tmp_path: Path) -> None:
    assert loads_of(torch_file(tmp_path / "a.pt")) == ((1, 2, 3), (4, 5, 6))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plain tensors"):
        load_profile(torch_file(tmp_path / "a.pt", evil=True))


def test_shares_stay_exact(tmp_path: Path) -> None:
    assert loads_of(written(tmp_path, "a.json", "[[0.1, 0.2, 0.7]]")) == (
        (Fraction(1, 10), Fraction(1, 5), Fraction(7, 10)),
    )
    assert loads_of(written(tmp_path, "a.csv", "0.1,0.2,0.7\n1e-3,0,1\n"))[1][0] == Fraction(1, 1000)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "empty"),
        ("a.csv", "1,2\n3\n", "same number"),
        ("a.csv", "1,-2\n3,4\n", "zero or more"),
        ("a.csv", "1,nan\n3,4\n", "finite number"),
        ("a.csv", "1,\n3,4\n", "finite number"),
        ("a.csv", "layer,expert,load\n0,-1,4\n", "from 0"),
        ("a.json", "[[1, NaN]]", "NaN"),
        ("a.json", "[[1, -Infinity]]", "no load"),
        ("a.json", "{", "cannot be read"),
        ("a.json", '[["a", 2]]', "number"),
        ("a.json", "[[1, true]]", "number"),
        ("a.json", "{}", "keys"),
        ("a.json", "[]", "one row per layer"),
        ("a.json", '{"expert_load_pass": [[1, 2]]}', "physical_to_logical_map"),
        ("a.json", '{"expert_load_pass": [[1, 2]], "physical_to_logical_map": [[0]]}', "shape"),
        ("a.txt", "1", "give one of"),
        ("a.pt", "no zip", "no .pt file"),
        ("a.npz", "no zip", "cannot be read"),
    ],
)
def test_bad_files_are_refused_with_file_and_remedy(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        load_profile(written(tmp_path, name, text))
    assert name in str(raised.value)


def test_numbers_that_are_no_loads_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1.0, np.nan]]))
    np.save(tmp_path / "b.npy", np.array([["x"]]))
    for name in ("a.npy", "b.npy"):
        with pytest.raises(InputError, match=name):
            load_profile(str(tmp_path / name))


def test_shapes_must_be_the_models(tmp_path: Path) -> None:
    source = written(tmp_path, "a.csv", "1,2\n3,4\n")
    assert load_profile(source, layers=2, experts=2).layers == 2
    with pytest.raises(InputError, match="has 3 per layer"):
        load_profile(source, experts=3)
    with pytest.raises(InputError, match="94"):
        load_profile(source, layers=94)


@pytest.mark.parametrize("source", ["zipf", "zipf:x", "zipf:-1", "lognormal:nan", "uniform:2", "zipf:1e9"])
def test_bad_synthetic_names(source: str) -> None:
    with pytest.raises(InputError):
        load_profile(source, layers=1, experts=4)


def test_a_synthetic_profile_needs_experts_and_a_missing_file_names_them() -> None:
    with pytest.raises(InputError, match="number of experts"):
        load_profile("zipf:1")
    with pytest.raises(InputError, match="lognormal"):
        load_profile("nowhere.npz")


def test_synthetic_profiles_follow_their_seed() -> None:
    one, two = (load_profile("zipf:0.9", layers=3, experts=16, seed=seed) for seed in (1, 2))
    assert one == load_profile("zipf:0.9", layers=3, experts=16, seed=1) != two
    assert all(sum(row) == 1 << 20 for row in one.loads)
    heavy = load_profile("zipf:1.2", layers=1, experts=16).loads[0]
    assert max(heavy) > max(load_profile("zipf:0.3", layers=1, experts=16).loads[0])
    assert len(set(load_profile("uniform", layers=2, experts=4).loads[0])) == 1


def profile(*rows: list[int], denominator: int = 1) -> LoadProfile:
    return LoadProfile(name="p", source="test", loads=tuple(map(tuple, rows)), denominator=denominator)


def test_average_weighted_and_worst() -> None:
    day, night = profile([10, 0]), profile([0, 4], denominator=2)
    (mean,) = serve_profiles([day, night])
    assert [Fraction(load, mean.denominator) for load in mean.loads[0]] == [5, 1]
    (mixed,) = serve_profiles([day, night], serve="weighted", weights=[3, 1])
    assert [Fraction(load, mixed.denominator) for load in mixed.loads[0]] == [Fraction(15, 2), Fraction(1, 2)]
    both = serve_profiles([day, night], serve="worst")
    assert [one.loads[0] for one in both] == [(20, 0), (0, 4)]
    assert both[0].denominator == both[1].denominator == 2


def test_profiles_must_match_and_weights_must_weigh() -> None:
    with pytest.raises(InputError, match="same layers"):
        serve_profiles([profile([1, 2]), profile([1, 2, 3])])
    for weights in ([], [1], [0, 0], [1, -1]):
        with pytest.raises(InputError, match="weights"):
            serve_profiles([profile([1, 2])] * 2, serve="weighted", weights=weights)


def test_rows_round_trip_through_json(tmp_path: Path) -> None:
    rows = [[Fraction(1, 3), Fraction(2, 3)], [1, 0]]
    made = profile_from_rows(rows, name="p", source="test")
    assert made.denominator == 3
    assert LoadProfile.model_validate(json.loads(made.model_dump_json())) == made
