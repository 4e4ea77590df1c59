"""The guard at the door: only pages of this very server are answered, and no browser may do more than needed.

A page elsewhere can make a browser send requests here, and a name that points to 127.0.0.1 can make its page count as
ours (DNS rebinding). So the Host must be this machine by one of its own names, an Origin must be this server, and what
a browser marks as sent by another site is refused. Nothing but the page's own files may load in it.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-cache",
}


class Guard:
    """Middleware that refuses requests of other sites, methods that change something, and bodies."""

    def __init__(self, app: ASGIApp, *, port: int) -> None:
        """Guard an application on a port of this machine."""
        self._app = app
        self._hosts = frozenset(f"{name}:{port}" for name in LOCAL_NAMES)
        self._origins = frozenset(f"http://{host}" for host in self._hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403, "reason": refusal[1]})
        else:
            await PlainTextResponse(f"{refusal[1]}\n", refusal[0])(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if _only(headers.getlist("host")) not in self._hosts:
            return 421, "this server is known as 127.0.0.1 and localhost only"
        origins = headers.getlist("origin")
        if origins and _only(origins) not in self._origins:
            return 403, "requests of other sites are refused"
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
        if site not in ("none", "same-origin") and not (mode == "navigate" and scope.get("method") == "GET"):
            return 403, "requests of other sites are refused"
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            return 405, "only GET and HEAD are answered"
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return 413, "no body is read"
        return None


def _only(values: Iterable[str]) -> str | None:
    """Return the one value of a header, lower-case; nothing where it is missing or stands twice."""
    found = list(values)
    return found[0].lower() if len(found) == 1 else None


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sending
