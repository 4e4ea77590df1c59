"""One tab's socket: errands come in, news and documents go out as they come; a tab that closes waits for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from shardproof.instances.errors import InputError
from shardproof.instances.reading import parse_mapping
from shardproof.solver.batch.answer import Answer
from shardproof.solver.page.desk import Desks, Listener
from shardproof.solver.page.errands import Errand

MOST_ASKED = 200
"""Errands that one tab may wait for at once."""
LONGEST_MESSAGE = 2_000_000
"""Bytes of the largest message that a tab may send."""
_GREETING_S = 10.0
_NEWS_EVERY_S = 0.15


class Talk:
    """What one tab asks, and who tells it."""

    def __init__(self, socket: WebSocket, desks: Desks, token: str) -> None:
        """Talk over a socket that is not accepted yet."""
        self._socket = socket
        self._desks = desks
        self._token = token
        self._out: asyncio.Queue[str] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, tuple[Errand, Listener]] = {}

    async def run(self) -> None:
        """Accept the socket, ask for the token, and answer until it closes."""
        await self._socket.accept()
        sender = asyncio.create_task(self._send())
        try:
            if await self._greeted():
                self._out.put_nowait('{"welcome":true}')
                while True:
                    self._take(await self._socket.receive_text())
        except (WebSocketDisconnect, KeyError, RuntimeError):
            pass  # closed, or a binary frame, which this page never sends
        finally:
            sender.cancel()
            for errand, listener in self._asked.values():
                self._desks.leave(errand, listener)
            with contextlib.suppress(RuntimeError):
                await self._socket.close()

    async def _greeted(self) -> bool:
        """Whether the first message holds the token."""
        try:
            text = await asyncio.wait_for(self._socket.receive_text(), _GREETING_S)
            token = parse_mapping(text, where="greeting", json_syntax=True).get("token")
        except (TimeoutError, InputError):
            token = None
        known = isinstance(token, str) and secrets.compare_digest(token.encode(), self._token.encode())
        if not known:
            await self._socket.close(4401, "the token is missing or wrong")
        return known

    async def _send(self) -> None:
        while True:
            await self._socket.send_text(await self._out.get())

    def _take(self, text: str) -> None:
        """Read one message: an errand, or the end of waiting for one."""
        try:
            message = parse_mapping(text, where="message", json_syntax=True)
        except InputError as error:
            self._say({"refused": str(error)})
            return
        number = message.get("id")
        if not isinstance(number, int) or isinstance(number, bool):
            self._say({"refused": "a message needs an id, a whole number"})
        elif message.get("leave"):
            self._leave(number)
        elif message.get("stop"):
            self._stop(number)
        elif number in self._asked or len(self._asked) >= MOST_ASKED:
            self._say({"id": number, "refused": f"at most {MOST_ASKED} errands at once, each with an id of its own"})
        else:
            options = message.get("options")
            self._ask(number, str(message.get("kind")), options if isinstance(options, Mapping) else {})

    def _ask(self, number: int, kind: str, options: Mapping[str, Any]) -> None:
        told = [0.0]

        def news(content: Any) -> None:
            if time.monotonic() - told[0] >= _NEWS_EVERY_S:
                told[0] = time.monotonic()
                self._from_desk({"id": number, "news": content})

        def done(answer: Answer) -> None:
            self._loop.call_soon_threadsafe(self._finished, number, answer)

        # Plain values travel to a worker; decimals that a file may hold travel as text.
        errand = Errand(kind, json.loads(json.dumps(options, default=str)))
        self._asked[number] = errand, (listener := Listener(news, done, tab=id(self)))
        self._desks.ask(errand, listener)

    def _leave(self, number: int) -> None:
        found = self._asked.pop(number, None)
        if found is not None:
            self._desks.leave(*found)

    def _stop(self, number: int) -> None:
        found = self._asked.get(number)
        if found is not None:
            self._desks.stop(*found)

    def _finished(self, number: int, answer: Answer) -> None:
        if self._asked.pop(number, None) is None:
            return
        if answer.document is None:
            self._say({"id": number, "refused": answer.reason or "ended without an answer"})
        else:
            spent = answer.summary.get("processor_s", 0.0)
            head = f'"id":{number},"seconds":{answer.seconds:.4f},"processor_s":{spent:.4f}'
            self._out.put_nowait(f'{{{head},"done":{answer.document}}}')

    def _from_desk(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._say, message)

    def _say(self, message: Mapping[str, Any]) -> None:
        self._out.put_nowait(json.dumps(message, default=str))
