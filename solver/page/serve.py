"""`page`: serve the planner to this machine's own browser, until it is stopped."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import quote

from shardproof.instances.errors import InputError
from shardproof.solver.api.options import check_options
from shardproof.solver.api.question import Fields, check_fields, shows_fields, tree_of
from shardproof.solver.api.record import seconds_of

if TYPE_CHECKING:
    from shardproof.solver.page.questions import Asked

ADDRESS = "127.0.0.1"
PORT = 8765
_SPARE = 2
"""Workers beyond the cores, so that a long solve leaves room for short ones."""


def address_of(port: int, *, token: str, asked: Asked | None = None) -> str:
    """Return the address that opens the page; what follows the # is never sent to anybody."""
    return f"http://{ADDRESS}:{port}/#{'&'.join([*link_parts(asked), f'token={token}'])}"


def link_parts(asked: Asked | None) -> list[str]:
    """Return a question as the parts of a link, which the page reads and writes the same way."""
    if asked is None:
        return []
    parts = [f"{name.replace('_', '-')}={quote(str(value), safe='')}" for name, value in asked.fields.items()]
    parts += [f"device={','.join(quote(device, safe='') for device in asked.devices)}"] if asked.devices else []
    if asked.rest:
        text = json.dumps(asked.rest, separators=(",", ":"))
        parts.append(f"file={base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')}")
    return parts


@shows_fields
def page(
    instance: str | Path | None = None,
    *,
    port: int = PORT,
    time_limit: float | str = "20 s",
    processes: int | None = None,
    on_open: Callable[[str], None] | None = None,
    **fields: Unpack[Fields],
) -> None:
    """Serve the planner to browsers of this machine alone, until it is interrupted.

    Parameters
    ----------
    instance
        Path of an instance file that the page opens with.
    port
        Port on 127.0.0.1; 0 takes any that is free.
    time_limit
        Seconds, or text with a unit, of one solve.
    processes
        Solves at once; by default two more than there are cores.
    on_open
        Called once with the address, which holds the token: a browser that opens it may ask.
    **fields
        What a flag of the command line says, under the flag's name: the question that the page opens with.

    Raises
    ------
    InputError
        If the packages of the extra are missing, the port is taken, or the question cannot be read.
    """
    check_fields(fields, "page")
    check_options("page", {"processes": processes, "port": port})
    limit = seconds_of(time_limit, "time_limit")
    if not limit:
        raise InputError("page: time_limit: 0: give each solve some seconds")
    asked = _opened(instance, dict(fields))
    _require_extra()
    _serve(_listen(port), limit, processes or _cores() + _SPARE, asked, on_open)


def _opened(instance: str | Path | None, fields: dict[str, Any]) -> Asked | None:
    from shardproof.solver.page.questions import asked_from_file

    if instance is None and not any(value is not None for value in fields.values()):
        return None
    tree = tree_of(instance, fields)[0]
    if instance is not None:
        tree = _with_model_inside(tree, Path(instance).parent)
    return asked_from_file(tree)


def _with_model_inside(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Put the model that a file beside the question holds into the question: a page opens no files."""
    from shardproof.instances.catalogue import read_model
    from shardproof.instances.reading import is_file

    named = tree.get("model")
    if not isinstance(named, str) or not is_file(folder / named):
        return tree
    return tree | {"model": read_model(folder / named).model_dump(mode="json", exclude_none=True)}


def _require_extra() -> None:
    try:
        import starlette
        import uvicorn
        import websockets
    except ImportError as error:
        raise InputError(f"page needs {error.name}: pip install 'shardproof[page]'") from None
    del starlette, uvicorn, websockets


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        raise InputError(f"port {port}: cannot be opened ({error.strerror}); give another one, or 0 for any") from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve(
    listener: socket.socket, limit: float, processes: int, asked: Asked | None, on_open: Callable[[str], None] | None
) -> None:
    import uvicorn

    from shardproof.solver.batch.fingerprint import SolveSettings
    from shardproof.solver.page.desk import Desks
    from shardproof.solver.page.server import application
    from shardproof.solver.page.talk import LONGEST_MESSAGE

    port, token = listener.getsockname()[1], secrets.token_urlsafe(24)
    dropped = tempfile.TemporaryDirectory(prefix="shardproof-page-")
    desks = Desks(SolveSettings(time_limit_s=limit), processes=processes, folder=dropped.name)

    class Announcing(uvicorn.Server):
        """A server that says when it answers."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if on_open is not None:
                on_open(address_of(port, token=token, asked=asked))

    config = uvicorn.Config(
        application(desks, token=token, port=port),
        log_level="warning",
        ws="websockets-sansio",
        ws_max_size=LONGEST_MESSAGE,
        timeout_graceful_shutdown=2,
        server_header=False,
        lifespan="on",
    )
    try:
        Announcing(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
        dropped.cleanup()
