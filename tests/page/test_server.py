"""The server: answers its own page alone, sends nothing else, and what a tab asks is what the functions answer."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("starlette", reason="the extra 'page' is not installed")
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import shardproof
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.page.desk import Desks
from shardproof.solver.page.questions import asked_of, read_question
from shardproof.solver.page.serve import address_of
from shardproof.solver.page.server import application
from tests.oracles.places import ROOT

TOKEN, PORT = "a token that no other page knows", 8765
HERE = f"http://127.0.0.1:{PORT}"
OWN = {"host": f"127.0.0.1:{PORT}"}
PLANS = ROOT / "instances" / "plans"
EVIL = "</script><img src=x onerror=alert(1)>"
FIELDS = {"model": "qwen3-8b", "isl": "512", "osl": "128", "batch_size": "8", "ttft": "2 s", "max_gpus": "8"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("dropped")
    desks = Desks(SolveSettings(time_limit_s=20), processes=1, others=1, folder=str(folder))
    with TestClient(application(desks, token=TOKEN, port=PORT), base_url=HERE) as found:
        yield found


class Tab:
    """One tab over its socket."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.number = socket, 0
        socket.send_text(json.dumps({"token": TOKEN}))
        assert json.loads(socket.receive_text()) == {"welcome": True}

    def ask(self, kind: str, **options: Any) -> Any:
        self.number += 1
        self.socket.send_text(json.dumps({"id": self.number, "kind": kind, "options": options}))
        while "news" in (message := json.loads(self.socket.receive_text())):
            pass
        assert message["id"] == self.number
        return message

    def done(self, kind: str, **options: Any) -> Any:
        return self.ask(kind, **options)["done"]

    def refused(self, kind: str, **options: Any) -> str:
        words: str = self.ask(kind, **options)["refused"]
        return words


@pytest.fixture(scope="module")
def tab(client: TestClient) -> Iterator[Tab]:
    with client.websocket_connect("/talk", headers=OWN | {"origin": HERE}) as socket:
        yield Tab(socket)


def packed(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def question(**fields: Any) -> dict[str, Any]:
    return {"fields": FIELDS | fields}


def test_the_page_is_served_whole(client: TestClient) -> None:
    text = client.get("/").text
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', text):
        found = client.get(path)
        assert found.status_code == 200, path
        for name in re.findall(r'^import .* from "\./(.*)";$', found.text, re.MULTILINE):
            assert client.get(f"/static/{name}").status_code == 200, name
    assert not re.search(r'(?:src|href)="(?!/|#|data:)', text)
    assert "<script>" not in text
    assert " on" + "click" not in text


def test_no_file_of_the_page_names_another_host() -> None:
    for folder in ("solver/page/static", "solver/drawing"):
        for path in (ROOT / folder).iterdir():
            if path.suffix in (".js", ".css", ".html"):
                known = ("http://www.w3.org/2000/svg",)
                found = re.findall(r"https?://[^\s\"'`]+", path.read_text(encoding="utf-8"))
                assert [url for url in found if url not in known] == [], path


def test_browsers_are_told_to_load_and_send_nothing_else(client: TestClient) -> None:
    headers = client.get("/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert client.get("/static/none.js").headers["content-security-policy"] == headers["content-security-policy"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": f"evil.example:{PORT}"}, 421),
        ({"host": "127.0.0.1"}, 421),
        ({"host": f"127.0.0.1.evil.example:{PORT}"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"host": f"localhost:{PORT}", "origin": f"http://localhost:{PORT}"}, 200),
    ],
)
def test_other_origins_and_names_are_refused(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.get("/", headers=headers).status_code == status
    if status != 200 or "sec-fetch-mode" not in headers:
        assert opens(client, OWN | headers) == (status == 200)


def opens(client: TestClient, headers: dict[str, str]) -> bool:
    with contextlib.suppress(WebSocketDisconnect), client.websocket_connect("/talk", headers=headers):
        return True
    return False


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/etc/passwd",
     "/static/page.html%00", "/static/..\\server.py", "/../../../../etc/passwd", "/talk", "/static/"],
)  # fmt: skip
def test_no_path_leads_out_of_the_page(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (404, 307)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_reading_is_answered(client: TestClient, method: str) -> None:
    assert client.request(method, "/").status_code == 405


def test_bodies_are_not_read(client: TestClient) -> None:
    assert client.request("GET", "/", content=b"x" * 10_000_000).status_code == 413


@pytest.mark.parametrize("first", ['{"token": "guessed"}', '{"token": 1}', "{}", "[", "", '{"id": 1, "kind": "names"}'])
def test_without_the_token_nothing_is_said(client: TestClient, first: str) -> None:
    with client.websocket_connect("/talk", headers=OWN) as socket:
        socket.send_text(first)
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_text()
        assert end.value.code == 4401


def test_an_answer_is_that_of_solve(tab: Tab) -> None:
    told = tab.done("answer", question=question(), device="h100-sxm")
    own = shardproof.solve(
        model="qwen3-8b", device="h100-sxm", isl=512, osl=128, batch_size=8, ttft="2 s", max_gpus=8
    ).to_dict()  # fmt: skip
    assert told["result"]["instance_fingerprint"] == own["instance_fingerprint"]
    assert told["row"]["gpus"] == own["gpus"] == 1
    assert told["plan"] == json.loads(json.dumps(own["plan"]))
    assert told["result"]["proof"] == "solver-claimed"
    assert tab.done("certify", question=question(), device="h100-sxm")["result"]["proof"] == own["proof"]
    assert told["row"]["price_kind"] == "total-cost"
    assert told["view"]["stages"]
    assert told["row"]["workload"] == "8 at once, 512 + 128 tokens"


def test_names_are_those_of_the_catalogue(tab: Tab) -> None:
    names = tab.done("names")
    assert {device["name"] for device in names["devices"]} == {d["name"] for d in shardproof.catalog("devices").devices}
    ids = {model["name"]: model["ids"] for model in names["models"]}
    assert "qwen/qwen3-8b" in ids["qwen3-8b"]
    assert tab.done("model", name="Qwen/Qwen3-8B")["model"]["name"] == "qwen3-8b"


def test_reasons_and_limits_are_those_of_the_verbs(tab: Tab) -> None:
    asked = question(model="qwen3-32b", max_gpus="4")
    fields: Any = {"model": "qwen3-32b", "device": "h100-sxm", "isl": 512, "osl": 128, "batch_size": 8, "ttft": "2 s"}
    assert tab.done("why", question=asked, device="h100-sxm") == shardproof.explain(**fields, max_gpus=4).to_dict()
    told = tab.done("limits", question=asked, device="h100-sxm")
    own = shardproof.sensitivity(only=("ttft limit", "batch_size"), **fields, max_gpus=4)
    assert told["inputs"] == own.to_dict()["inputs"]


def test_a_dropped_config_is_the_model_of_the_question(tab: Tab) -> None:
    item = shardproof.catalog("models", "qwen3-8b").models[0]
    config = yaml.safe_load((ROOT / "instances/catalog/models/qwen3-8b.yaml").read_text())["config"]
    told = tab.done("drop", data=packed(json.dumps(config).encode()), name="mine.json")
    assert told["shown"] == "mine"
    asked = {"fields": {k: v for k, v in FIELDS.items() if k != "model"}, "rest": {"model": told["model"]}}
    answer = tab.done("answer", question=asked, device="h100-sxm")
    assert answer["row"]["model"] == "mine"
    named = tab.done("answer", question=question(), device="h100-sxm")
    assert answer["result"]["instance_fingerprint"] == named["result"]["instance_fingerprint"]
    assert item["parameters"]
    assert "x.json" in tab.refused("drop", data=packed(b"{"), name="x.json")
    said = tab.refused("drop", data=packed(b'{"model_type": "nobody"}'), name="../../etc/config.json")
    assert "config.json" in said
    assert "/tmp" not in said


TRACE = b"time_s,input_tokens,output_tokens\n" + b"".join(b"%d.0,%d,20\n" % (n, 200 + n) for n in range(30))


def test_a_dropped_trace_is_the_load_of_the_question(tab: Tab, tmp_path: Path) -> None:
    told = tab.done("drop", data=packed(TRACE), name="../my trace.csv")
    assert told["field"] == "trace"
    assert told["shown"].startswith("30 requests in 29 s")
    fields = {"model": "qwen3-8b", "engine": "vllm", "ttft": "2 s", "max_gpus": "4", "trace": told["value"]}
    answer = tab.done("answer", question={"fields": fields}, device="h100-sxm")
    (tmp_path / "trace.csv").write_bytes(TRACE)
    own = shardproof.solve(device="h100-sxm", **{**fields, "max_gpus": 4, "trace": tmp_path / "trace.csv"})
    assert (answer["row"]["gpus"], answer["row"]["bound"]) == (own.gpus, own.bound)
    assert "--trace my-trace.csv" in answer["written"]["command"]
    assert "dropped" not in answer["written"]["file"]


def test_dropped_loads_are_the_loads_of_the_experts(tab: Tab) -> None:
    loads = {"loads": [[1 + expert % 7 for expert in range(128)] for _ in range(48)]}
    told = tab.done("drop", data=packed(json.dumps(loads).encode()), name="loads.json")
    assert (told["field"], told["shown"]) == ("load_profile", "loads of 48 layers x 128 experts")
    fields = FIELDS | {"model": "qwen3-30b-a3b-fp8", "load_profile": told["value"]}
    assert tab.done("answer", question={"fields": fields}, device="h100-sxm")["row"]["gpus"] == 1
    wrong = FIELDS | {"model": "qwen3-235b-a22b-fp8", "load_profile": told["value"]}
    said = tab.refused("answer", question={"fields": wrong}, device="h100-sxm")
    assert "loads.json" in said
    assert "/" not in said.partition("loads.json")[0]


@pytest.mark.parametrize("field", ["trace", "load_profile"])
@pytest.mark.parametrize(
    "value",
    [
        "/etc/passwd",
        "dropped-0123456789abcdef-../../../etc/passwd",
        "dropped-0123456789abcdef-nobody.csv",
        "../dropped-0123456789abcdef-x.csv",
        "README.md",
    ],
)
def test_no_file_is_opened_that_was_not_dropped_here(tab: Tab, field: str, value: str) -> None:
    fields = {"model": "qwen3-8b", "engine": "vllm", "ttft": "2 s", field: value}
    fields |= {} if field == "trace" else {"isl": "99", "osl": "9", "batch_size": "1"}
    said = tab.refused("answer", question={"fields": fields}, device="h100-sxm")
    assert "drop" in said


@pytest.mark.parametrize(("data", "name"), [("!", "a.csv"), ("A" * 1_900_000, "a.csv"), (None, "a.csv"), ("", "a.exe")])
def test_what_is_dropped_is_read_within_limits(tab: Tab, data: object, name: str) -> None:
    assert tab.refused("drop", data=data, name=name)


@pytest.mark.slow  # two audits of the main case with their completions
@pytest.mark.parametrize("plan", sorted(PLANS.iterdir()), ids=lambda path: path.name)
def test_a_plan_by_hand_is_judged_as_audit_judges(tab: Tab, plan: Path) -> None:
    case = read_question((ROOT / "instances/cases/qwen3-235b-a22b.yaml").read_text(encoding="utf-8"))
    text = plan.read_text(encoding="utf-8")
    told = tab.done("audit", question=case.tree(), device=case.devices[0] if case.devices else None, text=text)
    own = shardproof.audit(plan, ROOT / "instances/cases/qwen3-235b-a22b.yaml").to_dict()
    assert [(c["line"], c["verdict"]) for c in told["claims"]] == [(c["line"], c["verdict"]) for c in own["claims"]]
    assert len(told["claims"]) > 3


def test_a_command_line_is_judged_too(tab: Tab) -> None:
    line = "vllm serve Qwen/Qwen3-8B --tensor-parallel-size 2"
    assert tab.done("audit", question=question(), device="h100-sxm", text=line)["claims"]


def fleet_case() -> tuple[Path, dict[str, Any]]:
    path = ROOT / "instances/cases/pools/melange-default.yaml"
    return path, read_question(path.read_text(encoding="utf-8")).tree()


def test_a_fleet_is_that_of_solve(tab: Tab) -> None:
    path, asked = fleet_case()
    told, own = tab.done("certify", question=asked), shardproof.solve(path).to_dict()
    assert (told["result"]["proof"], told["fleet"]["value"]) == (own["proof"], own["value"])
    assert told["plan"] == json.loads(json.dumps(own["plan"]))
    prices = [group["price_per_hour"] for group in told["fleet"]["groups"]]
    assert sum(prices) == pytest.approx(own["metrics"]["price_per_hour"])
    assert [offer["used"] for offer in told["fleet"]["offers"]] == [1, 1]
    assert tab.done("limits", question=asked)["offers"] == shardproof.sensitivity(path).to_dict()["offers"]
    assert tab.done("why", question=asked)["reasons"] == shardproof.explain(path).to_dict()["reasons"]


def test_a_pasted_fleet_is_held_as_compare_holds_it(tab: Tab) -> None:
    _, asked = fleet_case()
    plan = tab.done("answer", question=asked)["plan"]
    dear = [*plan["groups"], plan["groups"][0] | {"replicas": 3}]
    for groups, breaks in ((plan["groups"], False), (plan["groups"][:1], True), (dear, True)):
        told = tab.done("audit", question=asked, text=json.dumps(plan | {"groups": groups}))["fleet"]
        assert told["best"] == 4.68
        assert bool(told["plans"][0]["broken"]) == breaks
        assert told["plans"][0]["plan"] == "pasted fleet"
    assert "groups" in tab.refused("audit", question=asked, text="{}")


def test_a_dropped_instance_file_is_the_question(tab: Tab) -> None:
    path, asked = fleet_case()
    assert tab.done("drop", data=packed(path.read_bytes()), name="mine.yaml")["question"] == asked
    tree = {"model": "phi-4", "device": "l4", "limits": {"ttft": "2 s"}}
    found = tab.done("drop", data=packed(json.dumps(tree).encode()), name="q.json")["question"]
    assert found["fields"] == {"model": "phi-4", "ttft": "2 s"}
    assert "UTF-8" in tab.refused("drop", data=packed(b"\xff\xfe\x00"), name="q.yml")


def test_files_are_those_of_export(tab: Tab) -> None:
    asked = question(engine="vllm")
    answer = tab.done("answer", question=asked, device="h100-sxm")
    told = tab.done("export", question=asked, device="h100-sxm", plan=answer["plan"], target="kubernetes")
    assert told["files"]["README.md"]
    assert any("kind: " in text for text in told["files"].values())
    assert "no target" in tab.refused("export", question=asked, device="h100-sxm", plan=answer["plan"], target=EVIL)


def test_a_pasted_question_comes_back_as_fields(tab: Tab) -> None:
    told = tab.done("read", text="shardproof solve --model qwen3-8b --device h100-sxm --isl 2k --ttft '2 s'")
    assert told == {"fields": {"model": "qwen3-8b", "isl": 2000, "ttft": "2 s"}, "devices": ["h100-sxm"], "rest": {}}


@pytest.mark.parametrize("name", list(FIELDS))
def test_script_in_every_name_is_one_refusal(tab: Tab, name: str) -> None:
    assert tab.refused("answer", question=question(**{name: EVIL}), device="h100-sxm")
    assert tab.refused("answer", question=question(), device=EVIL)


@pytest.mark.parametrize(
    "message",
    ["{", "[]", "1", '{"id": "x"}', '{"id": true}', '{"id": null, "kind": "names"}', "[" * 5000,
     '{"a": 1, "a": 2}', '{"id": 1e99999}'],
)  # fmt: skip
def test_what_is_no_message_is_refused_and_the_tab_goes_on(tab: Tab, message: str) -> None:
    tab.socket.send_text(message)
    assert "refused" in json.loads(tab.socket.receive_text())
    assert tab.done("read", text="--model qwen3-8b")["fields"]


def test_unknown_errands_and_options_are_refused(tab: Tab) -> None:
    assert "no errand" in tab.refused("format-disk")
    assert "is no question" in tab.refused("answer", question=3)
    assert "at most" in tab.refused("audit", question=question(), device="h100-sxm", text="x" * 1_000_001)
    assert "opens none" in tab.refused("model", name="/etc/passwd")
    assert "names a file" in tab.refused("answer", question=question(), device="/etc/passwd")


def test_the_link_of_the_server_is_read_by_the_page() -> None:
    """The page's own script writes and reads the same form; the browser tests go both ways."""
    asked = asked_of({"fields": FIELDS, "devices": ["h100-sxm", "l40s"], "rest": {"assumptions": [EVIL]}})
    address = address_of(PORT, token=TOKEN, asked=asked)
    parts = dict(part.partition("=")[::2] for part in address.partition("#")[2].split("&"))
    assert parts["device"] == "h100-sxm,l40s"
    assert parts["batch-size"] == "8"
    assert parts["token"] == TOKEN
    assert json.loads(base64.urlsafe_b64decode(parts["file"] + "==")) == {"assumptions": [EVIL]}
