"""The application: the page's own files, each under its name, and one socket for every tab."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from shardproof.solver.drawing import assets as drawing
from shardproof.solver.page.desk import Desks
from shardproof.solver.page.guard import Guard
from shardproof.solver.page.talk import Talk

MOST_TABS = 64
_FOLDER = Path(__file__).parent / "static"
_KINDS = {".css": "text/css", ".js": "text/javascript", ".html": "text/html"}


def application(desks: Desks, *, token: str, port: int) -> Starlette:
    """Return the application; ``port`` is the one that it is asked under."""
    files = _files()
    tabs: set[Talk] = set()

    async def start(request: Request) -> Response:
        del request
        return Response(files["page.html"], media_type=_KINDS[".html"])

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            return PlainTextResponse("there is no such file\n", 404)
        return Response(files[name], media_type=_KINDS[Path(name).suffix])

    async def talk(socket: WebSocket) -> None:
        if len(tabs) >= MOST_TABS:
            await socket.close(4429, f"{MOST_TABS} tabs are open; close one")
            return
        own = Talk(socket, desks, token)
        tabs.add(own)
        try:
            await own.run()
        finally:
            tabs.discard(own)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        desks.start()
        try:
            yield
        finally:
            desks.close()

    routes = [Route("/", start), Route("/static/{name}", file), WebSocketRoute("/talk", talk)]
    return Starlette(routes=routes, middleware=[Middleware(Guard, port=port)], lifespan=lifespan)


def _files() -> Mapping[str, bytes]:
    """Return every file that is served, by its name: nothing else can be named."""
    own = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _KINDS}
    return {**drawing.files(), **own}
