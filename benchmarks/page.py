"""How fast the page answers: a moved slider, the first paint, twenty tabs at once.

``python -m benchmarks.page`` starts a server of its own, asks over its sockets, and, where Chromium and playwright are
installed, moves the slider of a real page. A change is timed until the answers for all devices are there (in the
browser: drawn). Beside it stands the processor time of the answers, which other work on the machine does not lengthen.
Models are twenty that many people serve; devices are eight SKUs of four generations.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

MODELS = (
    "llama-3.1-8b-instruct", "llama-3.3-70b-instruct", "llama-3.2-3b-instruct", "qwen2.5-7b-instruct",
    "qwen2.5-72b-instruct", "qwen3-8b", "qwen3-14b", "qwen3-32b", "qwen3-30b-a3b", "qwen3-235b-a22b-fp8",
    "qwen3-coder-30b-a3b-instruct", "gpt-oss-20b", "gpt-oss-120b", "mistral-7b", "mixtral-8x7b-instruct",
    "gemma-3-27b-it", "phi-4", "deepseek-v3", "deepseek-r1-distill-qwen-32b", "glm-4.5-air-fp8",
)  # fmt: skip
DEVICES = ("h100-sxm", "h200-sxm", "b200-sxm", "a100-80-sxm", "mi300x", "l40s", "rtx-4090", "l4")
LIMITS_S = (20, 6, 2, 9, 3)
"""TTFT limits in the order in which the slider stands at them."""
TABS = 20
CHANGED_S, PAINTED_S = 0.3, 1.0
CORES = len(os.sched_getaffinity(0))
ASKED = {"engine": "vllm", "isl": 2048, "osl": 512, "concurrency": 32, "tpot": "100 ms", "max_gpus": 64}


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start a page and give its address."""
    command = [
        sys.executable,
        "-m",
        "shardproof.solver.cli",
        "page",
        "--no-browser",
        "--port",
        "0",
        "--time-limit",
        "5s",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        found = re.search(r"http://\S+", process.stderr.readline())
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.wait(20)


class Tab:
    """One socket to the server."""

    def __init__(self, address: str) -> None:
        """Connect with the token of the address."""
        from websockets.sync.client import connect

        host = address.split("/")[2]
        self._open = contextlib.ExitStack()
        self._socket = self._open.enter_context(connect(f"ws://{host}/talk", max_size=None))
        self._socket.send(json.dumps({"token": address.partition("token=")[2]}))
        self._socket.recv()
        self._next = 0
        self.each: list[float] = []
        self.worked: list[float] = []

    def ask(self, fields: dict[str, Any], devices: Sequence[str]) -> tuple[float, list[str]]:
        """Ask every device, and return the seconds until all have answered, and what was refused."""
        started, refused = time.perf_counter(), []
        open_ = self.send(fields, devices)
        while open_:
            message = json.loads(self._socket.recv())
            if "news" not in message:
                device = open_.pop(message["id"])
                self.each.append(time.perf_counter() - started)
                self.worked.append(message.get("processor_s", 0.0))
                wrong = message.get("refused") or message["done"].get("ended")
                refused += [f"{device}: {wrong}"] if wrong else []
        return time.perf_counter() - started, refused

    def send(self, fields: dict[str, Any], devices: Sequence[str]) -> dict[int, str]:
        """Ask every device without waiting, and return the devices by the numbers of their errands."""
        asked = {}
        for device in devices:
            self._next += 1
            asked[self._next] = device
            options = {"question": {"fields": fields}, "device": device}
            self._socket.send(json.dumps({"id": self._next, "kind": "answer", "options": options}))
        return asked

    def close(self) -> None:
        """Hang up."""
        self._open.close()


def by_socket(address: str, models: Sequence[str]) -> float:
    """Time a changed limit for every model over the socket; return the median until all devices have answered."""
    tab, first, changes, each, worked, shared = Tab(address), [], [], [], [], []
    tab.ask(ASKED | {"model": "qwen3-8b", "isl": 100}, DEVICES)
    for model in models:
        asked = ASKED | {"model": model}
        first.append(tab.ask(asked | {"ttft": "40 s"}, DEVICES)[0])
        tab.each.clear()
        tab.worked.clear()
        mine = [tab.ask(asked | {"ttft": f"{limit} s"}, DEVICES)[0] for limit in LIMITS_S]
        changes.append(statistics.median(mine))
        each += tab.each
        worked += tab.worked
        shared.append(sum(tab.worked) / len(LIMITS_S) / CORES)
        print(
            f"{model}: first {first[-1]:.2f} s, changed: median {statistics.median(mine):.3f}, most {max(mine):.2f} s"
        )
    tab.close()
    _say(f"socket, {len(models)} models x {len(DEVICES)} devices, first", first)
    _say("socket, slider changed, each device's answer", each)
    _say("socket, slider changed, all devices (median of each model)", changes)
    _say("processor time of one answer", worked)
    _say(f"processor time of all devices, on {CORES} cores (mean of each model)", shared)
    return statistics.median(changes)


def tabs_at_once(address: str, models: Sequence[str]) -> int:
    """Ask from twenty tabs at once, each a question of its own to eight devices; return how many errors came."""
    times: list[float] = []
    errors: list[str] = []

    def one(number: int) -> None:
        try:
            tab = Tab(address)
            for limit in (5, 2.5):
                fields = ASKED | {"model": models[number % len(models)], "ttft": f"{limit + number / 100} s"}
                seconds, refused = tab.ask(fields, DEVICES)
                times.append(seconds)
                errors.extend(refused)
            tab.close()
        except Exception as error:
            errors.append(repr(error))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(TABS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _say(f"{TABS} tabs at once x {len(DEVICES)} devices", times)
    print(f"errors: {len(errors)} {errors[:3]}")
    return len(errors)


def by_browser(address: str, models: Sequence[str]) -> tuple[float, float]:
    """Move the slider of a real page, and time until every device's answer is drawn; and the first paint.

    Return the median of the first, and the longest paint.
    """
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    paints, changes = [], []
    base, _, token = address.partition("#")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        for model in models:
            fields = "&".join(f"{name.replace('_', '-')}={quote(str(value))}" for name, value in ASKED.items())
            page.goto("about:blank")
            page.goto(f"{base}#model={model}&{fields}&ttft=40%20s&device={','.join(DEVICES)}&{token}")
            page.wait_for_selector("body[data-state=answered]", timeout=120_000)
            paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1e3)
            for limit in LIMITS_S:
                changes.append(page.evaluate(_MOVE, limit * 1.07) / 1e3)
        browser.close()
    _say("browser, first contentful paint", paints)
    _say("browser, slider moved until all devices are drawn", changes)
    return statistics.median(changes), max(paints)


_MOVE = """
limit => new Promise(done => {
  const range = document.querySelector("#limits input[type=range]"), started = performance.now();
  range.value = String(1000 * Math.log(limit / 0.01) / Math.log(600 / 0.01));
  range.dispatchEvent(new Event("input", { bubbles: true }));
  document.body.dataset.state = "moved";
  new MutationObserver((_, watch) => {
    if (document.body.dataset.state === "answered") { watch.disconnect(); done(performance.now() - started); }
  }).observe(document.body, { attributes: true });
})
"""


def _say(what: str, seconds: Sequence[float]) -> None:
    ordered = sorted(seconds)
    ninetieth = ordered[int(0.9 * (len(ordered) - 1))]
    print(f"{what}: median {statistics.median(ordered):.3f} s, 90 % {ninetieth:.3f} s, most {ordered[-1]:.3f} s")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=len(MODELS), help="only so many")
    parser.add_argument("--no-browser", action="store_true")
    given = parser.parse_args()
    models = MODELS[: given.models]
    started = time.monotonic()
    with server() as address:
        held = {f"socket, changed limit, median <= {CHANGED_S} s": by_socket(address, models) <= CHANGED_S}
        held[f"{TABS} tabs, 0 errors"] = tabs_at_once(address, models) == 0
        if not given.no_browser:
            changed, painted = by_browser(address, models)
            held[f"browser, moved slider, median <= {CHANGED_S} s"] = changed <= CHANGED_S
            held[f"browser, first paint <= {PAINTED_S} s, all of them"] = painted <= PAINTED_S
    print(f"{time.monotonic() - started:.0f} s in all; load {os.getloadavg()[0]:.1f}")
    for target, is_met in held.items():
        print(f"{'met' if is_met else 'MISSED'}: {target}")


if __name__ == "__main__":
    main()
