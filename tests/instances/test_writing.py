"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shardproof.instances import writing
from shardproof.instances.errors import InputError
from shardproof.instances.writing import write_folder, write_whole

FILES = {"README.md": "read", "a/run.sh": "run", "a/b/values.yaml": "x: 1\n"}


def stop_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the process be killed at the given replacement of a file."""
    left = [count]
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_file_stands_as_it_was_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    write_whole(path, "old")
    path.chmod(0o600)
    stop_at(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_whole(path, b"new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_what_is_no_file_is_written_to_as_it_is() -> None:
    write_whole(Path(os.devnull), "gone")
    assert not Path(os.devnull).is_file()


def test_a_new_folder_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deploy"
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_folder(folder, FILES)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    write_folder(folder, FILES)
    assert texts(folder) == FILES
    assert os.access(folder / "a/run.sh", os.X_OK)
    assert not os.access(folder / "README.md", os.X_OK)


def test_in_an_old_folder_each_file_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, FILES)
    (tmp_path / "own.txt").write_text("mine")
    stop_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path, {name: f"{text}, new" for name, text in FILES.items()})
    found = texts(tmp_path)
    assert found.pop("own.txt") == "mine"
    assert found.keys() == FILES.keys()
    assert sum(text.endswith(", new") for text in found.values()) == 2


def test_another_kind_of_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(InputError, match="another kind of file"):
        write_folder(tmp_path, FILES)
    assert writing.write_whole is write_whole
