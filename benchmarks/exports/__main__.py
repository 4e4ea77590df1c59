"""Hold exported files against their consumers: schemas, validators, the engines' own parsers, and `audit`.

``python -m benchmarks.exports``                    a hundred solved questions (and hand-written plans over several
                                                    nodes) to every target; engines are installed below the system's
                                                    temporary folder the first time (2 GB, minutes)
``python -m benchmarks.exports --without-engines``  the same without their parsers
``python -m benchmarks.exports contracts``          options of the installed engines against the recorded contracts;
                                                    ``--write`` records them anew
``python -m benchmarks.exports schemas FOLDER``     records the schemas of custom resources and charts from checkouts
                                                    below FOLDER, each as OWNER/NAME
``python -m benchmarks.exports files FOLDER``       validators over files that were exported before
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from benchmarks.exports.engines import Engine
from benchmarks.exports.environments import WHEELS
from benchmarks.exports.round_trip import Trip, trips, written_exports
from benchmarks.exports.schemas import SOURCES, documents
from benchmarks.exports.schemas import record as record_schema
from shardproof.solver.exporters.contract import FOLDER, recorded
from tests.oracles.consumers import refusals

HOME = Path(tempfile.gettempdir()) / "shardproof-engines"


def round_trip(told: argparse.Namespace) -> int:
    """Print every refusal and false alarm; return how many there were."""
    began, wrong, written = time.perf_counter(), 0, Counter[str]()
    refused = Counter[str]()
    with ExitStack() as stack:
        names = () if told.without_engines else WHEELS
        told.folder.mkdir(parents=True, exist_ok=True)
        engines = {name: stack.enter_context(Engine(name, told.folder)) for name in names}
        for place, trip in enumerate(trips(engines, take=told.take)):
            wrong += len(trip.wrong)
            written.update(trip.files)
            refused.update(trip.refused)
            _show(place, trip)
    print(f"\nfiles by target: {dict(written)}\nplans that a target cannot express: {dict(refused)}")
    print(f"wrong: {wrong}; {time.perf_counter() - began:.0f} s")
    return wrong


def _show(place: int, trip: Trip) -> None:
    count = sum(trip.files.values())
    print(f"{place:4d} {trip.name}: {trip.plan}, {count} files, {trip.lines} lines parsed", flush=True)
    for text in trip.wrong:
        print(f"     WRONG {text}", flush=True)


def contracts(told: argparse.Namespace) -> int:
    """Compare (or write) what the engines' parsers list; return how many flags differ."""
    different = 0
    told.folder.mkdir(parents=True, exist_ok=True)
    for name in WHEELS:
        with Engine(name, told.folder) as engine:
            flags = recorded(engine.options(), name)
        path = FOLDER / f"{name}.json"
        held = json.loads(path.read_text(encoding="utf-8"))
        changed = [flag for flag in {**flags, **held["flags"]} if flags.get(flag) != held["flags"].get(flag)]
        print(f"{name} {engine.version} (recorded of {held['version']}): {len(flags)} flags, changed: {changed}")
        different += len(changed)
        if told.write:
            tree = {"engine": name, "version": engine.version, "source": held["source"], "flags": flags}
            path.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    return 0 if told.write else different


def schemas(told: argparse.Namespace) -> int:
    """Record the schemas of custom resources and charts from their projects' checkouts."""
    written = documents(item for made in written_exports() for item in made.files.items())
    for name, source in SOURCES.items():
        repository, _, path = source.partition(" ")
        folder = told.checkouts / repository
        command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        record_schema(name, folder / path, written[name], commit)
        print(f"{name}: {len(written[name])} documents, {repository} at {commit}")
    return 0


def files(told: argparse.Namespace) -> int:
    """Print what validators refuse of files in a folder."""
    paths = [path for path in sorted(told.files.rglob("*")) if path.suffix in (".yaml", ".sbatch")]
    found = refusals({str(path): path.read_text(encoding="utf-8") for path in paths})
    print("\n".join(found) or f"{len(paths)} files accepted")
    return len(found)


def main() -> None:
    """Read the command line."""
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--folder", type=Path, default=HOME, help="where the engines' environments stand")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, parents=[place]
    )
    parser.add_argument("--take", type=int, help="only so many questions")
    parser.add_argument("--without-engines", action="store_true")
    parser.set_defaults(run=round_trip)
    verbs = parser.add_subparsers()
    held = verbs.add_parser("contracts", parents=[place])
    held.add_argument("--write", action="store_true")
    held.set_defaults(run=contracts)
    recording = verbs.add_parser("schemas")
    recording.add_argument("checkouts", type=Path)
    recording.set_defaults(run=schemas)
    reading = verbs.add_parser("files")
    reading.add_argument("files", type=Path)
    reading.set_defaults(run=files)
    told = parser.parse_args()
    raise SystemExit(int(told.run(told) > 0))


if __name__ == "__main__":
    main()
