"""The jobs of docs/jobs.md run as they stand, in an empty folder, and each leaves files to start."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.oracles.places import ROOT
from tests.oracles.warm_command import warm_shardproof

PAGE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOLDERS = "chat node racks long moe cheapest upgrade mended next-year failover guessed".split()


@pytest.mark.slow(reason="eleven questions are solved, two of them with requests that come by themselves")
def test_every_block_runs_and_leaves_files(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) == len(FOLDERS)
    with warm_shardproof(tmp_path / "bin") as bin_:
        environment = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}"}
        for block in blocks:
            done = subprocess.run(
                ["bash", "-euc", block], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
    for name in FOLDERS:
        written = [path for path in (folder / f"{name}-deploy").rglob("*") if path.is_file()]
        assert len(written) >= 2, name
