"""The command line as a user meets it: exit codes, one JSON document, messages without tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shardproof.instances.errors import InternalError
from shardproof.solver.cli import main
from tests.oracles.command_line import run_inside
from tests.oracles.places import CASES, ROOT

MAIN = str(ROOT / "instances" / "cases" / "qwen3-235b-a22b.yaml")


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shardproof.solver.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"NO_COLOR": "1"}, check=False
    )


def test_solve_prints_the_answer() -> None:
    run = process("solve", MAIN)
    assert run.returncode == 0, run.stderr
    assert "5 GPUs; no plan has fewer than 5" in run.stdout
    assert "certified" in run.stdout
    assert "KV cache in FP8" in run.stdout
    assert "\x1b" not in run.stdout


def test_json_is_one_document_with_the_promised_keys(tmp_path: Path) -> None:
    plan, certificate = tmp_path / "plan.yaml", tmp_path / "cert.json"
    run = run_inside("solve", MAIN, "--json", "-o", str(plan), "--certificate", str(certificate))
    document = json.loads(run.stdout)
    from shardproof.solver.result import ResultDocument

    ResultDocument.model_validate(document)
    assert (document["status"], document["gpus"], document["bound"], document["gap"]) == ("optimal", 5, 5, 0.0)
    assert document["plan"]["stages"][0]["layers"][0] == 0
    from shardproof.instances.plan import load_plan

    assert load_plan(plan).gpus == 5
    verify = run_inside("verify", str(certificate), "--instance", MAIN, "--json")
    assert verify.returncode == 0, verify.stdout + verify.stderr
    assert json.loads(verify.stdout)["accepted"] is True


def test_flags_need_no_file(tmp_path: Path) -> None:
    flags = "--model qwen3-8b --device h100-sxm --isl 512 --osl 128 --batch-size 8 --ttft 2s --max-gpus 4".split()
    kept = tmp_path / "question.yaml"
    run = run_inside("solve", *flags, "--json", "--write-instance", str(kept))
    assert run.returncode == 0, run.stderr
    again = run_inside("solve", str(kept), "--json")
    one, other = json.loads(run.stdout), json.loads(again.stdout)
    assert one["instance_fingerprint"] == other["instance_fingerprint"]
    assert one["plan"] == other["plan"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["solve", MAIN, "--ttft", "1ms"], 1, []),
        (["solve", MAIN, "--ttft", "30"], 2, ["has no unit"]),
        (["solve", "no-such-file.yaml"], 2, ["no-such-file.yaml", "cannot be read"]),
        (["solve", MAIN, "--device", "h100-sxn"], 2, ["h100-sxm"]),
        (["solve", MAIN, "--time-limit", "0 s"], 3, []),
        (["solve", "--model", "qwen3-8b"], 2, ["--device"]),
        (["solve", MAIN, "--mfu", "60"], 2, ["60: must be", "'60%' or 0.6"]),
        (["solve", MAIN, "--batch-size", "2", "--concurrency", "3"], 2, ["--batch-size", "--concurrency", "leave one"]),
        (["sole", MAIN], 2, ["solve"]),
        (["verify", "no-such-file.json"], 2, ["cannot be read"]),
    ],
)
def test_exit_codes_and_messages(arguments: list[str], code: int, words: list[str]) -> None:
    run = run_inside(*arguments)
    assert run.returncode == code, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    said = " ".join(run.stderr.split())
    assert all(word in said for word in words), run.stderr
    assert all(len(line) <= 80 or " " not in line.strip() for line in run.stderr.splitlines())


@pytest.mark.parametrize("width", [40, 80, 120])
def test_messages_fit_the_terminal_also_where_there_is_none(
    width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A message that is read from a file or a pipe is wrapped as on a terminal, its further rows indented."""
    monkeypatch.setenv("COLUMNS", str(width))
    tree = "{model: qwen3-8b, device: h100-sxm, limits: {ttft: 30, tpot: 20}, workload: {kind: burst, batch_size: x}}"
    place = "question.yaml"
    monkeypatch.chdir(tmp_path)
    Path(place).write_text(tree, encoding="utf-8")
    lines = run_inside("solve", place).stderr.splitlines()
    assert len(lines) > 2
    assert all(len(line) <= width or " " not in line.strip() for line in lines)
    assert lines[0].startswith(f"error: {place}:")
    assert all(line.startswith(("  ", place)) for line in lines[1:])


def test_a_process_ends_with_the_code() -> None:
    run = process("solve", "no-such-file.yaml")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == run_inside("solve", "no-such-file.yaml").stderr


@pytest.mark.parametrize("document", ["instance", "plan", "device", "model", "result"])
def test_schemas_print(document: str) -> None:
    schema = json.loads(run_inside("schema", document).stdout)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False


def test_every_verb_has_help_with_an_example() -> None:
    from shardproof.solver.cli import VERBS

    assert process("solve", "--help").stdout == run_inside("solve", "--help").stdout
    for verb in VERBS:
        run = run_inside(verb, "--help")
        assert run.returncode == 0, f"{verb}: {run.stderr}"
        assert "shardproof " + verb in run.stdout, verb


@pytest.mark.parametrize("arguments", [["catalog"], ["catalog", "--json"], ["schema", "instance"]])
def test_a_reader_that_leaves_is_no_failure(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "shardproof.solver.cli", *arguments]
    run = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    os.close(writing)
    assert (run.returncode, run.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["catalog"], ["schema", "instance"], ["--help"]])
def test_a_full_stdout_is_one_line_and_exit_2(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "shardproof.solver.cli", *arguments]
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("error: stdout: cannot be written")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(("content", "code"), [(b"layers: 3\n", 2), (b"\xff\xfe\xfd", 2), (b"{}", 4)])
def test_verify_tells_another_file_from_a_refused_certificate(tmp_path: Path, content: bytes, code: int) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(content)
    run = run_inside("verify", str(file))
    assert run.returncode == code, run.stderr
    said = " ".join(run.stderr.split())
    assert ("is not a certificate: not JSON (line 1" in said) == (code == 2)
    assert said.count("file.json") == (code == 2)


@pytest.mark.parametrize("debug", [False, True])
def test_a_fault_of_ours_is_one_message_and_exit_70(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, debug: bool
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise InternalError("two answers\nthat contradict each other")

    monkeypatch.setattr("shardproof.solver.answer.result_of", breaks)
    monkeypatch.setenv("SHARDPROOF_DEBUG", "1" if debug else "")
    with pytest.raises(SystemExit) as ended:
        main(["solve", "--json", str(CASES / "qwen3-235b-a22b.yaml")])
    assert ended.value.code == 70
    out, err = capsys.readouterr()
    assert out == ""
    shown = " ".join(err.split()).rpartition("internal error: ")[2]
    assert shown.startswith("InternalError: two answers that contradict each other (please report it;")
    assert ("Traceback" in err) == debug
    assert debug or all(line.startswith("  ") for line in err.splitlines()[1:])
