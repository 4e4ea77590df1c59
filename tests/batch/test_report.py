"""The report: what the page holds, that names are only text, and that it works in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from shardproof.instances.errors import InputError
from shardproof.solver.batch.answer import Answer, Job, from_document, from_fleet
from shardproof.solver.batch.launch import launch
from shardproof.solver.drawing.view import plan_view
from shardproof.solver.report.content import read_content
from shardproof.solver.report.page import page
from tests.oracles import batch_planner
from tests.oracles.batch_process import request

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "</script><img src=x onerror=document.title='owned'><!--"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=4000",
)  # fmt: skip


def planned(job: Job) -> Answer:
    """Answer with a plan of two stages."""
    tree = batch_planner.document(job.instance)
    stage = {"gpus": 1, "attn_tp": 1, "attn_dp": 1, "moe_tp": 1, "moe_ep": 1}
    memory, parts = {"weights": 9_000_000_000, EVIL: 10**9}, {"experts": 40_000_000, "head": 10_000_000}
    stages = [
        stage | {"layers": [0, 17], "memory_bytes": memory, "time_ns": parts},
        stage | {"layers": [18, 35], "memory_bytes": memory, "time_ns": parts},
    ]
    run = {"scenario": "main", "prefill_requests": 2, "decode_microbatches": 1}
    plan = {"replicas": 1, "microbatch_tokens": 1024, "microbatches": [run], "stages": stages}
    if tree["gpus"] is not None:
        tree |= {"plan": plan, "assumptions": [EVIL]}
    return from_document(tree, seconds=0.01)


def run_folder(folder: Path) -> Path:
    """A run whose names try to be markup."""
    asked = request(folder)
    tasks = tuple(replace(task, device=f"{task.device} {EVIL}") for task in asked.tasks)
    launch(replace(asked, name=f"tiny {EVIL}", description=EVIL, tasks=tasks), work=planned)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("run"))


def payload(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="payload">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def test_the_page_holds_every_row_and_plan(folder: Path) -> None:
    content = read_content(folder)
    tree = payload(page(content))
    assert len(tree["rows"]) == 18
    assert [row["status"] for row in tree["rows"]] == [row.status for row in content.rows]
    with_plan = [row for row in tree["rows"] if row["status"] == "optimal"]
    assert all(tree["plans"][row["plan"]]["stages"] for row in with_plan)
    timeline = tree["plans"][with_plan[0]["plan"]]["timelines"][0]
    assert timeline["microbatches"] == 4


def test_names_are_text_everywhere(folder: Path) -> None:
    text = page(read_content(folder))
    assert EVIL not in text
    assert "<img" not in text
    assert str(escape(EVIL)) in text
    assert text.count("</script>") == 2


def test_the_page_needs_nothing_else(folder: Path) -> None:
    text = page(read_content(folder))
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_groups_that_differ_are_drawn_one_by_one() -> None:
    stage = {"gpus": 1, "attn_tp": 1, "attn_dp": 1, "moe_tp": 1, "moe_ep": 1, "layers": [0, 31]}
    run = {"scenario": "main", "prefill_requests": 2, "decode_microbatches": 1}
    group = {"microbatch_tokens": 4096, "microbatches": [run]}
    groups = [
        group | {"replicas": 1, "shares": [{"scenario": "main", "requests": 22}], "stages": [stage] * 2},
        group | {"replicas": 2, "shares": [{"scenario": "main", "requests": 33}], "stages": [stage] * 3},
    ]
    asked = {"name": "main", "kind": "burst", "requests": 88, "ttft_limit_ns": 10**9}
    facts = {"model": "mixtral-8x7b", "device": "a100-80-sxm", "engine": "any", "routed": True, "scenarios": [asked]}
    view = plan_view({"plan": {"replicas": 3, "groups": groups}}, facts)
    assert view["stages"] == []
    assert [(one["gpus"], one["gpus_each"], one["offer"]) for one in view["groups"]] == [
        (2, 2, "a100-80-sxm"),
        (6, 3, "a100-80-sxm"),
    ]
    assert [one["takes"][0]["requests"] for one in view["groups"]] == [22, 33]
    assert [one["view"]["timelines"][0]["microbatches"] for one in view["groups"]] == [11, 17]


def test_a_fleet_of_fewest_gpus_has_a_bound_that_a_row_may_hold() -> None:
    found = {"status": "optimal", "proof": "solver-claimed", "gpus": 4, "bound": 4.0, "stop_reason": "proved"}
    assert from_fleet(found | {"objective": "gpus"}, seconds=1.0).summary["bound"] == 4
    assert isinstance(from_fleet(found | {"objective": "gpus"}, seconds=1.0).summary["bound"], int)
    assert from_fleet(found | {"objective": "price", "bound": 9.6}, seconds=1.0).summary["bound"] is None


def test_missing_runs_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        read_content(tmp_path)
    with pytest.raises(InputError, match="no such run"):
        read_content(folder, run="another")


PROBE = """
<script>
const report = { errors: [], steps: {} };
addEventListener("error", event => report.errors.push(event.message));
function count() { return document.querySelectorAll("#table tbody > tr[id^=row-]").length; }
function press(node, key) { node.focus(); node.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })); }
addEventListener("load", () => {
  const steps = report.steps;
  steps.title = document.title;
  steps.first = count();
  const list = document.querySelector("#filters select");
  list.value = ""; list.dispatchEvent(new Event("change"));
  steps.all = count();
  const search = document.querySelector("#filters input[type=search]");
  search.value = "h100"; search.dispatchEvent(new Event("input"));
  steps.found = count();
  search.value = ""; search.dispatchEvent(new Event("input"));
  const head = () => document.querySelector('th[data-key="ttft_s"]');
  const place = () => [...head().parentNode.children].indexOf(head());
  // Rows of one question stand together: what is sorted is each question's rows.
  const parts = () => [...document.querySelectorAll("#table tbody tr")].reduce((found, line) => {
    if (line.className === "question") found.push([]);
    else if (line.id.startsWith("row-")) found[found.length - 1].push(line.children[place()].textContent);
    return found;
  }, []).map(texts => texts.filter(Boolean).map(Number));
  const goes = good => column => column.every((value, index, all) => !index || good(all[index - 1], value));
  const every = good => parts().every(goes(good));
  steps.parts = parts().length;
  steps.questions = [...document.querySelectorAll("#table tr.question")].map(line => line.textContent);
  head().querySelector("button").click();
  steps.rising = every((before, after) => before <= after);
  steps.sorted = head().getAttribute("aria-sort");
  head().querySelector("button").click();
  steps.falling = every((before, after) => before >= after);
  const open = document.querySelector("#table .open");
  open.click();
  steps.expanded = document.querySelector("#table .open[aria-expanded=true]") !== null;
  steps.focused = document.activeElement.className;
  steps.stages = document.querySelectorAll(".plan tbody tr").length;
  steps.memory = document.querySelectorAll(".plan .memory .track").length;
  steps.bars = document.querySelectorAll(".plan svg rect").length;
  const before = document.querySelectorAll(".plan").length;
  const mark = document.querySelectorAll("#pareto .mark");
  steps.marks = mark.length;
  steps.named = document.querySelectorAll("#pareto g text").length;
  const opened = document.querySelector(".plan h3").textContent;
  press([...mark].find(one => !one.getAttribute("aria-label").startsWith(opened)), "Enter");
  steps.opened = document.querySelectorAll(".plan").length - before;
  document.querySelector('[data-axis="gpus"]').click();
  steps.axis = document.querySelector("#pareto svg").getAttribute("aria-label");
  steps.devices = document.querySelectorAll("#devices [role=listitem]").length;
  steps.images = document.querySelectorAll("img").length;
  steps.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const box = document.querySelector("#results .scroll");
  steps.cut = box.scrollWidth - box.clientWidth;
  steps.dark = getComputedStyle(document.body).backgroundColor;
  document.body.replaceChildren(Object.assign(document.createElement("pre"), { textContent: JSON.stringify(report) }));
});
</script>
"""


def browse(folder: Path, work: Path, *flags: str) -> Any:
    """Open the page of a run in Chromium, act as a person would, and return what was seen."""
    return browsed(page(read_content(folder)), work, *flags)


def browsed(text: str, work: Path, *flags: str) -> Any:
    """Do the same with the text of a page."""
    assert CHROMIUM is not None
    file = work / "report.html"
    file.write_text(text.replace("</body>", PROBE + "</body>"))
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={work / 'profile'}", *flags, "--dump-dom", file.as_uri()]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False).stdout
    found = re.search(r"<pre>(.*?)</pre>", seen, re.DOTALL)
    assert found is not None, seen[-2000:]
    return json.loads(html.unescape(found.group(1)))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_works_in_a_browser(folder: Path, tmp_path: Path) -> None:
    seen = browse(folder, tmp_path, "--window-size=1280,900")
    steps = seen["steps"]
    assert seen["errors"] == []
    assert steps["title"] == f"tiny {EVIL} - shardproof"
    assert (steps["first"], steps["all"], steps["found"]) == (9, 18, 6)
    assert steps["rising"]
    assert steps["falling"]
    assert steps["sorted"] == "ascending"
    assert steps["expanded"]
    assert steps["focused"] == "open"
    assert (steps["stages"], steps["memory"], steps["bars"]) == (2, 2, 8)
    assert steps["marks"] > 5
    assert steps["named"] > 1
    assert steps["parts"] == len(steps["questions"]) == len(set(steps["questions"])) > 1
    assert all("TTFT" in words and "tokens" in words for words in steps["questions"])
    assert steps["opened"] == 1
    assert steps["axis"].startswith("GPUs against TTFT")
    assert steps["devices"] == 3
    assert steps["images"] == 0
    assert steps["overflow"] <= 0


@pytest.mark.slow  # 5,000 rows in a browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_holds_5_000_rows(folder: Path, tmp_path: Path) -> None:
    content = read_content(folder)
    times = [replace(row, task=f"{row.task} {n}", device=f"device {n}", ttft_s=n / 100) for n in range(278)
             for row in content.rows]  # fmt: skip
    many = replace(content, rows=times[:5000], plan_of=(content.plan_of * 278)[:5000])
    steps = browsed(page(many), tmp_path, "--window-size=1300,900")["steps"]
    assert (steps["first"], steps["all"]) == (100, 100)
    assert steps["rising"]
    assert steps["marks"] == 3000
    assert steps["overflow"] <= 0
    assert steps["cut"] <= 0


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_fits_a_phone_and_the_dark(folder: Path, tmp_path: Path) -> None:
    steps = browse(folder, tmp_path, "--window-size=390,800", "--blink-settings=preferredColorScheme=0")["steps"]
    assert steps["overflow"] <= 0
    red, green, blue = map(int, re.findall(r"\d+", steps["dark"])[:3])
    assert max(red, green, blue) < 60
