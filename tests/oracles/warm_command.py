"""A `shardproof` for shells that starts warm: each call is a fork of one process that has everything imported.

A call hands over its arguments, folder and streams; the fork runs the command line with them, as a process of its own,
and its exit code goes back. A call is this file run without site packages: what it needs is the standard library.
"""

from __future__ import annotations

import array
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
STREAMS = 3


@contextmanager
def warm_shardproof(folder: Path) -> Iterator[Path]:
    """Yield a folder for the PATH, with a `shardproof` in it."""
    program = folder / "shardproof"
    folder.mkdir()
    place = Path(tempfile.mkdtemp())  # the names of sockets are short
    at = place / "s"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{__file__}" call "{at}" "$@"\n', encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    command = [sys.executable, "-m", "tests.oracles.warm_command", "serve", str(at)]
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        while not at.exists():
            assert server.poll() is None
            time.sleep(0.05)
        yield folder
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(place)


def serve(at: str) -> None:
    """Answer calls one after the other, each in a fork."""
    import ortools.sat.python.cp_model  # noqa: F401

    import shardproof.solver.batch.work
    import shardproof.solver.commands.export
    import shardproof.solver.commands.solve  # noqa: F401
    from shardproof.solver.cli import main

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(at + ".new")
        listening.listen()
        Path(at + ".new").rename(at)
        while True:
            caller, _ = listening.accept()
            with caller:
                asked, received, _, _ = caller.recvmsg(1 << 20, socket.CMSG_SPACE(STREAMS * 4))
                streams = array.array("i", received[0][2][: STREAMS * 4])
                child = os.fork()
                if child == 0:
                    listening.close()
                    _run(json.loads(asked), list(streams), main)
                for stream in streams:
                    os.close(stream)
                _, status = os.waitpid(child, 0)
                caller.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _run(asked: dict[str, object], streams: list[int], main: object) -> None:
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    os.chdir(str(asked["folder"]))
    code: object = 70
    try:
        main(asked["arguments"])  # type: ignore[operator]
    except SystemExit as ended:
        code = ended.code
    finally:
        for shown in (sys.stdout, sys.stderr):
            shown.flush()
        os._exit(code if isinstance(code, int) else 70)


def call(at: str, arguments: list[str]) -> int:
    """Hand a call over and wait for its exit code."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(at)
        asked = json.dumps({"arguments": arguments, "folder": os.getcwd()}).encode()
        handed = array.array("i", range(STREAMS))
        server.sendmsg([asked], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handed)])
        return int(server.recv(16))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(call(sys.argv[2], sys.argv[3:]))
