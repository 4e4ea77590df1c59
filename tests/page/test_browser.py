"""The page in a real browser: what is typed, moved, pasted and linked; wide, phone, dark, by keyboard, by roles."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.oracles.places import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("Chromium is not installed: the page is not tried in a browser", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="the extra 'browser' is not installed")
pytest.importorskip("starlette", reason="the extra 'page' is not installed")

pytestmark = pytest.mark.slow  # a browser and a server are started

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
QUESTION = "model=qwen3-8b&engine=vllm&isl=512&osl=128&batch-size=16&ttft=3%20s&max-gpus=8"
EVIL = "<img src=x onerror=\"document.title='owned'\">"
WAIT = 300_000
VERDICT = "document.getElementById('verdict').textContent"
SMALL = """[...document.querySelectorAll('button, select, input:not([type=radio], [type=checkbox], [type=range])')]
  .filter(node => node.type !== 'file' && node.offsetHeight && node.offsetHeight < 32).length"""
UNNAMED = """[...document.querySelectorAll('input, select, textarea, button')]
  .filter(node => node.offsetParent && !node.labels?.length && !node.getAttribute('aria-label'))
  .filter(node => !node.textContent.trim()).map(node => node.outerHTML)"""
TWICE = "(ids => ids.length - new Set(ids).size)([...document.querySelectorAll('[id]')].map(node => node.id))"
FOCUSED = "(node => node.id || node.textContent || node.type)(document.activeElement)"
LONG = "model=llama-3.1-405b&isl=8192&osl=512&batch-size=256&max-gpus=512&ttft=30%20s&device=rtx-4090,l4"
CUT = "(box => box.scrollWidth - box.clientWidth)(document.getElementById('skus').parentNode)"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "shardproof.solver.cli", "page", "--no-browser", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    found = re.search(r"http://\S+", process.stderr.readline())
    assert found is not None
    yield found[0]
    process.terminate()
    process.wait(30)
    process.stderr.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Any]:
    """Open the page with a question; whatever goes wrong in it, or leaves this machine, fails the test."""
    contexts, wrong = [], []

    def opened(question: str = f"{QUESTION}&device=h100-sxm,l40s", **kind: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}} | kind)
        contexts.append(context)
        context.set_default_timeout(WAIT)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: wrong.append(request.url) if not local(request.url) else None)
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        base, _, token = address.partition("#")
        page.goto(f"{base}#{question}&{token}")
        answered(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:http://127.0.0.1:", "about:"))


def answered(page: Any) -> None:
    page.wait_for_selector("body[data-state=answered]", timeout=WAIT)


def until(page: Any, expression: str) -> None:
    """Wait for what a script of the driver sees; one in the page itself is forbidden by its own policy."""
    end = time.monotonic() + WAIT / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, (expression, linked(page), page.inner_text("#answer"))
        page.wait_for_timeout(50)


def linked(page: Any) -> str:
    """The address as the page itself has it: the driver hears of a changed one only later."""
    return str(page.evaluate("location.href"))


def certified(page: Any) -> None:
    until(page, "document.getElementById('verdict').textContent.includes('(certified)')")


def test_a_question_is_answered_drawn_and_certified(visit: Any) -> None:
    page = visit()
    assert page.inner_text("#verdict").startswith("qwen3-8b on h100-sxm: 1 GPU; none has fewer")
    certified(page)
    assert page.locator("#skus tbody tr").count() == 2
    assert page.locator("#plan .strip li").count() == 1
    assert page.locator("#plan .memory .track").count() == 1
    assert page.locator("#plan svg rect").count() >= 1
    assert page.locator("#pareto .mark").count() == 2
    assert page.locator("#pareto g text").count() == 2
    assert "vllm serve" in page.inner_text("#plan pre")


def test_the_answer_changes_as_one_types(visit: Any) -> None:
    page = visit()
    page.get_by_label("Name or Hugging Face id").fill("Qwen/Qwen3-14B")
    until(page, "document.getElementById('verdict').textContent.startsWith('qwen3-14b on')")
    until(page, "location.hash.includes('model=Qwen%2FQwen3-14B')")
    until(page, "!location.hash.includes('token')")
    page.get_by_label("Name or Hugging Face id").fill("qwen3-999b")
    until(page, "document.getElementById('verdict').textContent.includes('unknown model')")
    assert "nearest: " in page.inner_text("#verdict")


def test_a_slider_moves_the_answer_and_its_pin_is_the_last_value_that_holds(visit: Any) -> None:
    import shardproof

    page = visit(f"{QUESTION}&device=l40s")
    page.wait_for_selector("#ttft-mark:not(:empty)", timeout=WAIT)
    fields: Any = {"model": "qwen3-8b", "device": "l40s", "engine": "vllm", "isl": 512, "osl": 128, "batch_size": 16}
    slack = shardproof.sensitivity(only=("ttft",), ttft="3 s", max_gpus=8, **fields)
    last = slack.inputs[0].optimum_until
    assert last is not None
    assert page.inner_text("#ttft-mark").startswith(f"{slack.gpus} GPU holds down to {last / 1e6:.3g} ms")
    assert page.locator("#limits .pin").first.is_visible()
    page.locator("#limits input[type=range]").first.evaluate(
        "node => { node.value = 1; node.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    until(page, "document.getElementById('verdict').textContent.includes('no plan exists')")
    assert page.get_by_label("Time to first token (TTFT)", exact=True).input_value() == "10 ms"
    until(page, "location.hash.includes('ttft=10%20ms')")


def test_a_price_limit_needs_prices(visit: Any) -> None:
    page = visit()
    assert "USD/h" in page.inner_text("#max_price-mark")
    page.get_by_label("Price of all GPUs", exact=True).fill("1 USD/h")
    until(page, "document.getElementById('plot').hidden && document.body.dataset.state === 'answered'")
    assert "price" in page.inner_text("#skus tr[data-device=l40s]")


def test_devices_stand_side_by_side_and_are_chosen(visit: Any) -> None:
    page = visit()
    page.locator("#devices-box summary").click()
    page.get_by_label("Find").fill("h200")
    assert page.locator("#devices label:visible").count() < 5
    page.get_by_role("checkbox", name=re.compile("^h200-sxm")).check()
    page.wait_for_selector("#skus tr[data-device=h200-sxm]", timeout=WAIT)
    answered(page)
    page.get_by_role("radio", name="show the plan on h200-sxm").check()
    assert page.inner_text("#verdict").startswith("qwen3-8b on h200-sxm")
    assert page.inner_text("#plan-title") == "Plan: 1 x h200-sxm"


def test_a_link_holds_the_whole_question(visit: Any) -> None:
    from shardproof.solver.page.questions import asked_of
    from shardproof.solver.page.serve import link_parts

    rest = {"assumptions": [f"ümläut {EVIL}"], "name": "linked"}
    fields = {
        "model": "qwen3-8b",
        "engine": "vllm@0.11",
        "isl": "512",
        "osl": "128",
        "batch_size": "8",
        "kv_cache": "fp8",
    }
    asked = asked_of({"fields": fields, "devices": ["l40s", "h100-sxm"], "rest": rest})
    page = visit("&".join(link_parts(asked)))
    own = page.evaluate("JSON.stringify(window.shardproof.state.question)")
    typed = {name: str(value) for name, value in asked.fields.items()}
    assert json.loads(own) == {"fields": typed, "devices": ["l40s", "h100-sxm"], "rest": rest}
    again = visit(linked(page).partition("#")[2])
    certified(page)
    certified(again)
    assert again.inner_text("#verdict") == page.inner_text("#verdict")
    assert again.evaluate("JSON.stringify(window.shardproof.state.question)") == own
    assert again.input_value("#kv_cache") == "fp8"


def test_what_is_shown_is_taken_along_and_pasted_back(visit: Any, tmp_path: Path) -> None:
    from shardproof.instances.resolve import load_instance
    from shardproof.solver.page.questions import question_for, read_question

    page = visit()
    texts = {name: page.locator(f"#texts details:has(summary:text-is('{name}')) pre").text_content() for name in
             ("Command line", "Instance file", "Link to this question", "Plan")}  # fmt: skip
    file = tmp_path / "question.yaml"
    file.write_text(texts["Instance file"])
    asked = read_question(texts["Command line"])
    assert question_for(asked, "h100-sxm").fingerprint == load_instance(file).fingerprint
    assert texts["Link to this question"].endswith(linked(page).partition("#")[2])
    assert json.loads(texts["Plan"])["stages"]
    other = visit("model=phi-4&isl=100&osl=10&batch-size=1&device=l4")
    other.locator("#open summary").click()
    other.get_by_label("Paste it here").fill(texts["Instance file"])
    other.get_by_role("button", name="Open", exact=True).click()
    until(other, f"{VERDICT}.startsWith('qwen3-8b on h100')")
    other.get_by_label("Paste it here").fill("shardproof solve --modle x")
    other.get_by_role("button", name="Open", exact=True).click()
    other.wait_for_selector("#pasted-error:not(:empty)")
    assert "no flag" in other.inner_text("#pasted-error")


def test_a_config_is_dropped_on_the_page(visit: Any, tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "instances/catalog/models/phi-4.yaml").read_text())["config"]
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(config))
    page = visit()
    page.set_input_files("#config", str(file))
    until(page, "document.getElementById('verdict').textContent.startsWith('mine on h100')")
    assert "model mine" in page.inner_text("#rest")
    until(page, "location.hash.includes('file=')")
    page.get_by_role("button", name="Leave it out").click()
    until(page, "document.body.dataset.state === 'empty'")


def test_a_trace_is_dropped_on_the_page(visit: Any, tmp_path: Path) -> None:
    file = tmp_path / "chat.csv"
    rows = "".join(f"{number * 0.5},{200 + number},20\n" for number in range(40))
    file.write_text(f"time_s,input_tokens,output_tokens\n{rows}")
    page = visit()
    page.set_input_files("#config", str(file))
    until(page, "document.getElementById('dropped').textContent.includes('40 requests')")
    until(page, "document.body.dataset.state === 'answered'")
    assert page.inner_text("#verdict").startswith("qwen3-8b on h100-sxm: 1 GPU")
    until(page, r"/trace=dropped-[0-9a-f]{16}-chat\.csv/.test(location.hash)")
    assert page.input_value("#isl") == ""
    page.set_input_files("#config", {"name": "a.npz", "mimeType": "x/y", "buffer": b"PK no archive"})
    until(page, "document.getElementById('model-facts').textContent.includes('a.npz')")


def test_a_dense_model_has_no_experts_in_its_picture(visit: Any) -> None:
    page = visit()
    until(page, "document.querySelectorAll('#plan th').length > 0")
    assert "feed-forward TP x DP" in page.inner_text("#plan")
    assert "experts" not in page.inner_text("#plan table")


def test_a_file_with_a_device_of_its_own_is_answered(visit: Any) -> None:
    from shardproof.solver.page.questions import read_question
    from shardproof.solver.page.serve import link_parts

    case = read_question((ROOT / "instances/cases/qwen3-235b-a22b.yaml").read_text(encoding="utf-8"))
    page = visit("&".join(link_parts(case)))
    assert case.devices == ()
    assert "5 GPUs; 4 are impossible" in page.inner_text("#verdict")
    assert "device" in page.inner_text("#rest")
    assert page.locator("#plan .strip li").count() == 5


FLEET = ROOT / "instances/cases/pools/melange-default.yaml"


def test_a_fleet_is_drawn_moved_linked_and_judged(visit: Any, tmp_path: Path) -> None:
    tree = json.loads(json.dumps(yaml.safe_load(FLEET.read_text())).replace("long-short", EVIL.replace('"', '\\"')))
    (tmp_path / "fleet.json").write_text(json.dumps(tree))
    page = visit("model=phi-4&isl=100&osl=10&batch-size=1&device=l4")
    page.set_input_files("#config", str(tmp_path / "fleet.json"))
    until(page, f"{VERDICT}.startsWith('melange-default: 4.68 USD/h with 2 GPUs; no fleet does with less')")
    certified(page)
    assert page.locator("#fleet table").first.locator("tbody tr").count() == 2
    assert page.get_by_role("img", name="a10g, 1 node: 1 replica of group 0, 7 GPUs free").count() == 1
    assert page.locator("#skus").is_hidden()
    until(page, "document.querySelector('#price-0-mark').textContent.includes('to 3.67 USD/h a GPU')")
    plan = page.locator("#texts details:has(summary:text-is('Plan')) pre").text_content()
    page.get_by_label(f"{EVIL}: requests per second", exact=True).fill("40/s")
    until(page, f"{VERDICT}.startsWith('melange-default: 7.34 USD/h')")
    page.get_by_label("There are, GPUs or nodes", exact=True).last.fill("1")
    until(page, f"{VERDICT}.startsWith('melange-default: 8.') || {VERDICT}.startsWith('melange-default: 9.')")
    assert page.evaluate("window.shardproof.state.question.rest.devices[1].available.gpus") == 1
    page.get_by_label(re.compile("^Paste a deployment document")).fill(plan)
    page.get_by_role("button", name="Judge it").click()
    until(page, "document.getElementById('judged').textContent.includes('pasted fleet: 4.68 USD/h; breaks')")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert page.evaluate(UNNAMED) == []
    assert page.evaluate(TWICE) == 0
    assert page.locator("img").count() == 0
    again = visit(linked(page).partition("#")[2])
    assert again.inner_text("#verdict").startswith(page.inner_text("#verdict").removesuffix(" (certified)."))


def test_devices_stand_as_one_fleet(visit: Any) -> None:
    page = visit()
    page.get_by_role("radio", name="as one fleet").check()
    until(page, f"{VERDICT}.startsWith('qwen3-8b: 1 GPU; no fleet does with less')")
    until(page, "location.hash.includes('devices=h100-sxm%2Cl40s')")
    page.get_by_label("There are, GPUs or nodes", exact=True).first.fill(EVIL)
    until(page, f"{VERDICT}.includes('is no offer')")
    assert page.locator("img").count() == 0
    page.get_by_role("radio", name="side by side").check()
    until(
        page, "document.querySelectorAll('#skus tbody tr').length === 2 && document.body.dataset.state === 'answered'"
    )
    until(page, "!location.hash.includes('devices')")


def test_a_plan_by_hand_is_judged_line_by_line(visit: Any) -> None:
    page = visit()
    page.get_by_label(re.compile("^Paste a deployment document")).fill(
        f"# Plan {EVIL}\n\n* GPUs: 2\n* TP: 2\n* Weights: 99 GB per GPU\n"
    )
    page.get_by_role("button", name="Judge it").click()
    page.wait_for_selector(".lines .claim", timeout=WAIT)
    assert page.locator(".lines > li").count() == 6
    assert page.locator(".lines .contradicted, .lines .inconsistent").count() >= 1
    assert EVIL in page.inner_text(".lines")


def test_files_of_a_target_are_copied(visit: Any) -> None:
    page = visit()
    page.get_by_label("Files for").select_option("kubernetes")
    page.get_by_role("button", name="Write files").click()
    page.wait_for_selector("#files details", timeout=WAIT)
    assert "README.md" in page.inner_text("#files")
    with page.expect_download() as kept:
        page.locator("#files details").first.evaluate("node => { node.open = true; }")
        page.get_by_role("button", name=re.compile("^Save ")).first.click()
    assert kept.value.path().read_text()


@pytest.mark.parametrize("name", ["model", "engine", "isl", "ttft", "weights", "load-profile", "device"])
def test_names_are_text_wherever_they_stand(visit: Any, name: str) -> None:
    page = visit(f"{QUESTION}&{name}={quote(EVIL)}" + ("" if name == "device" else "&device=h100-sxm"))
    assert page.title() == "shardproof: plan a deployment"
    assert page.locator("img").count() == 0
    assert page.locator("#skus tbody tr").count() >= 1


def test_a_hostile_model_of_a_link_is_only_text(visit: Any) -> None:
    config = yaml.safe_load((ROOT / "instances/catalog/models/qwen3-8b.yaml").read_text())["config"]
    from shardproof.instances.huggingface import from_config
    from shardproof.solver.page.questions import Asked
    from shardproof.solver.page.serve import link_parts

    model = from_config(config, name=EVIL, source="x", origin="x").model_dump(mode="json", exclude_none=True)
    fields = {"isl": 512, "osl": 128, "batch_size": 8, "engine": "vllm"}
    page = visit("&".join(link_parts(Asked(fields, ("h100-sxm", "l40s"), {"model": model, "assumptions": [EVIL]}))))
    certified(page)
    assert EVIL in page.inner_text("#verdict")
    assert page.locator("img").count() == 0
    assert page.title() == "shardproof: plan a deployment"


@pytest.mark.parametrize("kind", ["wide", "phone", "dark"])
def test_nothing_is_cut_off(visit: Any, kind: str) -> None:
    sizes: dict[str, Any] = {
        "wide": {"viewport": {"width": 1300, "height": 900}},
        "phone": {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "has_touch": True},
        "dark": {"color_scheme": "dark"},
    }
    page = visit(**sizes[kind])
    certified(page)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    if kind != "phone":
        assert page.evaluate(CUT) <= 0
    red, green, blue = map(
        int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
    )
    assert (max(red, green, blue) < 60) == (kind == "dark")
    if kind == "phone":
        assert page.evaluate(SMALL) == 0


def test_everything_is_reached_by_keyboard(visit: Any) -> None:
    page = visit()
    reached = set()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(FOCUSED))
    wanted = "model engine isl osl batch_size ttft tpot max_price by-hand judge export target".split()
    assert [name for name in wanted if name not in reached] == []
    page.focus("#limits input[type=range]")
    before = page.input_value("#ttft")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert page.input_value("#ttft") != before
    answered(page)
    mark = page.locator("#pareto .mark").first
    mark.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('type')") == "radio"


def test_roles_and_names_are_told_to_screen_readers(visit: Any) -> None:
    page = visit()
    known = {
        "form": "Question",
        "region": "Devices side by side",
        "table": "Devices side by side",
        "slider": "Time to first token (TTFT), slider",
        "group": "Vertical axis",
        "heading": "Plan: 1 x h100-sxm",
    }
    for role, name in known.items():
        assert page.get_by_role(role, name=name).count() >= 1, (role, name)
    assert page.locator("#verdict").get_attribute("aria-live") == "polite"
    assert page.evaluate(UNNAMED) == []
    assert page.evaluate(TWICE) == 0
    assert page.locator("#pareto .mark").first.get_attribute("aria-label").startswith("qwen3-8b / ")


def test_a_long_solve_shows_what_is_known_and_stops(visit: Any, browser: Any, address: str) -> None:
    page = visit("model=qwen3-8b&isl=64&osl=8&batch-size=1&device=h100-sxm")
    page.evaluate(f"location.hash = '{LONG}'")
    page.get_by_role("button", name="Stop").wait_for(timeout=WAIT)
    until(page, "/so far/.test(document.getElementById('skus').textContent)")
    page.get_by_role("button", name="Stop").click()
    answered(page)
    assert re.search("stopped.*at least [0-9]+ GPUs|at least [0-9]+ GPUs; stopped", page.inner_text("#skus"))


def test_without_the_token_the_page_says_where_it_stands(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address.partition("#")[0])
    page.wait_for_selector("#line:not([hidden])", timeout=WAIT)
    assert "token" in page.inner_text("#line")
    context.close()
