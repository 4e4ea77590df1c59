"""Build sdist and wheel, and try them away from the clone: contents, plain and editable install, a neighbour.

Run with an interpreter that has `build` and `mypy`: ``.venv/bin/python .ci/package.py``. Whatever fails ends the run
with one line and exit code 1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("formulations", "instances", "solver")
CPU_SECONDS = 0.15
"""What `import shardproof` may take."""

PROGRAM = """
    import sys, time
    before = time.process_time()
    import shardproof
    spent = time.process_time() - before
    heavy = [name for name in ("numpy", "ortools", "pydantic", "yaml") if name in sys.modules]
    assert not heavy, heavy
    assert spent < {limit}, f"import shardproof took {{spent:.3f}} s"
    assert shardproof.__version__ == "{version}", shardproof.__version__
    import instances, solver, formulations
    for neighbour in (instances, solver, formulations):
        assert neighbour.OWNER == "neighbour", neighbour.__file__
    question = dict(model="qwen3-8b", device="h100-sxm", isl=512, osl=128, batch_size=8, ttft="2 s")
    answer = shardproof.solve(**question)
    assert (answer.status, answer.gpus) == ("optimal", 1), answer
    assert shardproof.verify(answer.certificate(), answer.instance)
    assert len(shardproof.catalog().devices) > 10
    assert "solver" in sys.modules and "shardproof.solver" in sys.modules
"""

TYPED = """
    from typing import assert_type

    import shardproof

    answer = shardproof.solve("case.yaml", ttft="2 s")
    assert_type(answer, shardproof.Solved)
    assert_type(answer.plan, shardproof.Plan | None)
    assert_type(answer.explain(), shardproof.Explained)
"""


def main() -> None:
    """Build, look inside, install, try."""
    with tempfile.TemporaryDirectory(prefix="shardproof-") as folder:
        work = Path(folder)
        sdist, wheel = _build(work)
        _look_inside(sdist, wheel)
        _build_again(sdist, wheel, work)
        python = _environment(work)
        _neighbour(python, work)
        _try(python, wheel, work, "the wheel")
        _types(python, work)
        _try(python, ROOT, work, "the editable install", "--no-deps", "-e")
    print("package: contents, plain and editable install, a neighbour named solver, types: all hold")


def _run(*command: str | Path, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False, env=clean
    )
    if run.returncode:
        sys.exit(
            f"package: {' '.join(map(str, command))}: exit {run.returncode}\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
        )
    return run.stdout


def _need(holds: object, words: str) -> None:
    if not holds:
        sys.exit(f"package: {words}")


def _build(work: Path) -> tuple[Path, Path]:
    _run(sys.executable, "-m", "build", "--outdir", work / "dist", ROOT, cwd=work)
    return next((work / "dist").glob("*.tar.gz")), next((work / "dist").glob("*.whl"))


def _wanted() -> set[str]:
    """Files that the package must hold: all that git knows in the three folders, and the import package's own."""
    listed = _run("git", "ls-files", *FOLDERS, "shardproof/__init__.py", "shardproof/py.typed", cwd=ROOT).split("\n")
    kept = (".py", ".yaml", ".json", ".html", ".j2", ".css", ".js", ".typed")
    found = {name if name.startswith("shardproof/") else f"shardproof/{name}" for name in listed if name.endswith(kept)}
    return {name for name in found if (ROOT / name).exists()}


def _look_inside(sdist: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        facts = {name.partition(".dist-info/")[2] for name in archive.namelist() if ".dist-info/" in name}
    missing = _wanted() - held
    _need(not missing, f"the wheel lacks {sorted(missing)[:5]}")
    _need(all(name.startswith("shardproof/") for name in held), "the wheel installs more than shardproof/")
    _need("licenses/LICENSE" in facts, "the wheel has no licence")
    with tarfile.open(sdist) as archive:
        inside = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
        links = [member.name for member in archive.getmembers() if member.issym() or member.islnk()]
    _need(held <= inside, f"the sdist lacks {sorted(held - inside)[:5]}")
    _need(not links, f"the sdist holds links: {links}")
    _need({"LICENSE", "CHANGELOG.md", "constraints.txt"} <= inside, "the sdist lacks licence, changelog or constraints")


def _build_again(sdist: Path, wheel: Path, work: Path) -> None:
    """A wheel built from the unpacked sdist, elsewhere, holds the same files."""
    elsewhere = work / "elsewhere"
    with tarfile.open(sdist) as archive:
        archive.extractall(elsewhere, filter="data")
    _run(sys.executable, "-m", "build", "--wheel", "--outdir", work / "again", next(elsewhere.iterdir()), cwd=work)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(next((work / "again").glob("*.whl"))) as other:
        first, second = ({item.filename: item.CRC for item in archive.infolist()} for archive in (one, other))
    differing = [name for name in first if first[name] != second.get(name) and not name.endswith("RECORD")]
    _need(first.keys() == second.keys() and not differing, f"the unpacked sdist builds another wheel: {differing[:5]}")


def _environment(work: Path) -> Path:
    _run(sys.executable, "-m", "venv", work / "venv", cwd=work)
    return work / "venv" / "bin" / "python"


def _neighbour(python: Path, work: Path) -> None:
    """Install somebody else's project whose packages are called as the folders of this repository."""
    project = work / "neighbour"
    for name in FOLDERS:
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text('OWNER = "neighbour"\n')
        (project / name / "cli.py").write_text('def main():\n    print("neighbour")\n')
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "neighbour"\nversion = "1"\n'
        f"[tool.setuptools]\npackages = {list(FOLDERS)}\n"
    )
    _run(python, "-m", "pip", "install", "-q", project, cwd=work)


def _try(python: Path, what: Path, work: Path, name: str, *options: str) -> None:
    """Install, then ask from another directory; the neighbour is installed before and again after."""
    _run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", *options, what, cwd=work)
    _run(python, "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", work / "neighbour", cwd=work)
    version = _version()
    program = work / "program.py"
    program.write_text(textwrap.dedent(PROGRAM.format(version=version, limit=CPU_SECONDS)))
    aside = work / "aside"
    aside.mkdir(exist_ok=True)
    _run(python, program, cwd=aside)
    shown = _run(python.with_name("shardproof"), "--version", cwd=aside)
    _need(shown.strip() == f"shardproof, version {version}", f"{name}: --version prints {shown!r}")


def _version() -> str:
    import tomllib

    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def _types(python: Path, work: Path) -> None:
    """A program of somebody else's is checked against the installed package's types."""
    program = work / "typed.py"
    program.write_text(textwrap.dedent(TYPED))
    _run(sys.executable, "-m", "mypy", "--strict", "--python-executable", python, program, cwd=work / "aside")


if __name__ == "__main__":
    main()
