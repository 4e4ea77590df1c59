"""Numbers, texts and archives from outside: what is hostile is refused in one message, at once."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from shardproof.instances.errors import InputError, printable
from shardproof.instances.load_profile import archives
from shardproof.instances.load_profile.formats import read_rows
from shardproof.instances.numbers import exact, integer
from shardproof.instances.reading import parse_mapping
from shardproof.instances.units import parse_quantity, parse_ratio

HUGE = ["1e999999999", "1e-999999999", "9" * 5000, "1e41", "0." + "0" * 100 + "1"]


@pytest.mark.parametrize("text", HUGE)
def test_a_number_beyond_all_quantities_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match=r"beyond|characters"):
        exact(text)
    with pytest.raises(ValueError, match="is not a ratio"):
        parse_ratio(text)
    with pytest.raises(ValueError, match="write for example"):
        parse_quantity(f"{text} s", "duration")


@pytest.mark.parametrize(("text", "value"), [("3/5", 0.6), (".5", 0.5), ("1_000", 1000), ("-2e3", -2000), ("5.", 5)])
def test_numbers_are_exact(text: str, value: float) -> None:
    assert exact(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e", "0x10", "3/0", "1/2/3", "١٢", "1 2"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|zero"):
        exact(text)


def test_a_hexadecimal_integer_is_read_within_limits() -> None:
    assert integer("0x1F") == 31
    with pytest.raises(ValueError, match="characters"):
        integer("0x" + "f" * 4300)


@pytest.mark.parametrize("text", ["1e999 s", "1e18 s", "40 h"])
def test_a_duration_of_more_than_thirty_years_is_out_of_range(text: str) -> None:
    if text == "40 h":
        assert parse_quantity(text, "duration") == 40 * 3600 * 10**9
    else:
        with pytest.raises(ValueError, match=r"out of range|beyond"):
            parse_quantity(text, "duration")


@pytest.mark.parametrize("syntax", ["yaml", "json"])
@pytest.mark.parametrize("tree", [{"a\x1b[2J": 1}, {"a": "x\x07"}, {"a": [{"b": "\x9b31m"}]}, {"a": "\u202ex"}])
def test_control_characters_never_leave_a_file(tree: dict[str, object], syntax: str) -> None:
    with pytest.raises(InputError, match="control characters") as caught:
        parse_mapping(json.dumps(tree), where="f", json_syntax=syntax == "json")
    assert printable(str(caught.value)) == str(caught.value)


def test_a_message_shows_control_characters_as_escapes() -> None:
    assert printable("a\x1b[31m\x9b\u202e\udc80\n\tb") == "a\\x1b[31m\\x9b\\u202e\\udc80\n\tb"
    assert str(InputError("file\x1b[2J: gone")) == "file\\x1b[2J: gone"


def npy(shape: tuple[int, ...], content: bytes = b"") -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


def archive(members: dict[str, bytes], *, flags: int = 0, size: int | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    raw = bytearray(buffer.getvalue())
    place = raw.find(b"PK\x01\x02")
    while place >= 0 and flags:
        raw[place + 8] |= flags
        place = raw.find(b"PK\x01\x02", place + 4)
    if size is not None:
        place = raw.find(b"PK\x01\x02")
        raw[place + 24 : place + 28] = struct.pack("<I", size)
    return bytes(raw)


def torch_file(size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """What ``torch.save`` would write of a tensor over one storage of 4 doubles, with any size and strides."""

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    storage = b"(" + text("storage") + b"ctorch\nDoubleStorage\n" + text("0") + text("cpu") + number(4) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + numbers(size) + numbers(stride) + b"tR"
    content = np.arange(1.0, 5.0).tobytes()
    return archive({"f/data.pkl": b"\x80\x02}" + text("loads") + tensor + b"s.", "f/data/0": content})


def test_a_tensor_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.pt"
    path.write_bytes(torch_file((2, 2), (2, 1)))
    assert read_rows(path) == [[1, 2], [3, 4]]


HOSTILE: dict[str, bytes] = {
    "bomb.npz": archive({"loads.npy": npy((2,), b"\0" * 16)}, size=2**31),
    "encrypted.npz": archive({"loads.npy": npy((2,), b"\0" * 16)}, flags=1),
    "promise.npz": archive({"loads.npy": npy((10**9, 10**9))}),
    "cut.npz": archive({"loads.npy": npy((2,), b"\0" * 16)})[:-30],
    "broken.npz": b"PK\x03\x04" + b"\xff" * 100,
    "promise.npy": npy((10**12,)),
    "objects.npy": npy((1,)).replace(b"<f8", b"|O "),
    "text.npy": b"hello",
    "empty.npy": b"",
    "stride.pt": torch_file((10**6, 10**6), (0, 0)),
    "negative.pt": torch_file((-1,), (1,)),
    "no-pickle.pt": archive({"x": b"1"}),
    "null.json": b'{"loads": null}',
    "nulls.json": b'{"loads": [[1, null]]}',
    "deep.json": b"[" * 100_000,
    "huge.json": b'{"loads": [[1e99999999]]}',
    "digits.json": b'{"loads": [[' + b"9" * 5000 + b"]]}",
    "map.json": b'{"physical_count": [[1]], "physical_to_logical_map": [[2000000000]]}',
    "half.json": b'{"physical_count": [[1]], "physical_to_logical_map": [[0.5]]}',
    "words.json": b'{"a": {"b": 1}, "loads": {"x": [1]}}',
    "expert.csv": b"layer,expert,load\n0,2000000000,1\n",
    "huge.csv": b"layer,expert,load\n0,0,1e99999999\n",
    "binary.csv": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_profile_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    with pytest.raises(InputError, match=name):
        read_rows(path)


def test_a_profile_larger_than_the_limit_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 10)
    path = tmp_path / "large.json"
    path.write_text('{"loads": [[1, 2]]}')
    with pytest.raises(InputError, match="is larger than"):
        read_rows(path)


def test_arrays_and_archives_within_limits_are_read(tmp_path: Path) -> None:
    loads = np.arange(6).reshape(2, 3)
    np.savez_compressed(tmp_path / "a.npz", loads=loads)
    np.save(tmp_path / "a.npy", loads.astype("f4"))
    assert read_rows(tmp_path / "a.npz") == read_rows(tmp_path / "a.npy") == loads.tolist()


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 50_000 + "x", "{a: " * 20_000, "? " * 30_000])
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"nested deeper|not YAML"):
        parse_mapping(text, where="f")


def test_a_name_too_long_for_any_file_is_refused() -> None:
    from shardproof.instances.load_profile.read import load_profile

    with pytest.raises(InputError, match="no such file"):
        load_profile("1" * 5000)
