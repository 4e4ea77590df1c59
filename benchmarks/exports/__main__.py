"""Record the contract of flags, and hold exported files against the consumers' own validators.

``python -m benchmarks.exports --record vllm 0.33.0 OPTIONS.json`` reduces the option list that an engine's parser
builds (JSON: flag -> {all, action, type, choices, nargs, metavar}) to the flags that we write.
``python -m benchmarks.exports DIR`` runs ``compose-spec`` and ``kubernetes-validate`` over exported files, each if it
is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

from shardproof.solver.exporters.contract import FOLDER, recorded


def record(engine: str, version: str, source: Path) -> None:
    """Write an engine's contract from its whole option list."""
    options = json.loads(source.read_text(encoding="utf-8"))
    tree = {"engine": engine, "version": version, "source": "options of the engine's own parser"}
    flags = recorded(options, engine)
    text = json.dumps(tree | {"flags": flags}, indent=1, sort_keys=False)
    (FOLDER / f"{engine}.json").write_text(text + "\n", encoding="utf-8")


def validate(folder: Path) -> int:
    """Run the validators that are installed; return how many files they refuse."""
    refused = 0
    for path in sorted(folder.rglob("*.yaml")):
        if path.name.startswith("compose"):
            refused += _compose(path)
        elif path.name != "config.yaml" and "apiVersion" in path.read_text(encoding="utf-8"):
            refused += _kubernetes(path)
    return refused


def _compose(path: Path) -> int:
    if importlib.util.find_spec("compose_spec") is None:
        print(f"{path}: skipped, compose-spec is not installed")
        return 0
    compose = importlib.import_module("compose_spec")
    try:
        compose.PyCompose.from_yaml(path.read_text(encoding="utf-8")).validate()
    except ValueError as error:
        print(f"{path}: {error}")
        return 1
    print(f"{path}: accepted by compose-spec")
    return 0


def _kubernetes(path: Path) -> int:
    program = shutil.which("kubernetes-validate")
    if program is None:
        print(f"{path}: skipped, kubernetes-validate is not installed")
        return 0
    run = subprocess.run([program, "--strict", str(path)], capture_output=True, text=True, check=False)
    print(run.stdout + run.stderr, end="")
    return int(run.returncode != 0)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", nargs=3, metavar=("ENGINE", "VERSION", "OPTIONS"))
    parser.add_argument("folder", nargs="?", type=Path)
    told = parser.parse_args()
    if told.record:
        record(told.record[0], told.record[1], Path(told.record[2]))
    if told.folder:
        raise SystemExit(int(validate(told.folder) > 0))


if __name__ == "__main__":
    main()
