"""Everyday phrases are read, and no number of a line vanishes: what was not read is listed."""

from __future__ import annotations

from fractions import Fraction

import pytest

from shardproof.solver.audit.audit import audit_document
from shardproof.solver.audit.review import review_of
from shardproof.solver.audit.verdict import verdict_of
from shardproof.solver.documents.reader import parse_document
from shardproof.solver.documents.statement import Document

LINE = (
    "We serve Qwen3-32B in FP8 on 8 H100, TP 2, {} replicas, 64 concurrent requests of 4k in and 500 out, TTFT 700 ms,"
    " KV cache {} GB per GPU"
)


def read(line: str, suffix: str = ".md") -> Document:
    return parse_document(f"# Plan\n\nTP 2\n\n{line}\n", name="plan", suffix=suffix)


def said(document: Document) -> dict[str, int]:
    return {s.field: int(s.number) for s in document.statements if s.line > 3 and not isinstance(s.value, (str, bool))}


@pytest.mark.parametrize(
    "line",
    [
        "4k in and 500 out", "4k in / 500 out", "4k in/500 out", "4k input, 500 output", "4k/500 tokens",
        "ISL 4096 / OSL 500", "ISL/OSL: 4096/500", "in/out 4k/500", "input 4k, output 500",
        "4096-token prompts and 500-token answers",
        "- Traffic: 4k input tokens, 500 output tokens", "4096 tokens in, 500 tokens out",
    ],
)  # fmt: skip
def test_lengths_of_prompt_and_answer(line: str) -> None:
    document = read(line)
    assert said(document) == {"input_tokens": 4096, "output_tokens": 500}
    assert document.unread == ()


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("We run on 8 H100.", {"gpus_listed": 8}),
        ("It runs on 8x NVIDIA H100 80GB cards.", {"gpus_listed": 8}),
        ("H100 x 8", {"gpus_listed": 8}),
        ("8xH100-80GB", {"gpus_listed": 8}),
        ("8 GPUs, 4 replicas", {"gpus_listed": 8, "replicas": 4}),
        ("TTFT 700 ms at 4k/500", {"ttft": 0, "input_tokens": 4096, "output_tokens": 500}),
        ("There are 2 nodes of 8 H100.", {"nodes": 2, "gpus_per_node": 8}),
        ("Each node has 8 H100.", {"gpus_per_node": 8}),
        ("It runs on 4 H100 per replica.", {"gpus_per_replica": 4}),
        ("64 users, 3k in, 256 out", {"batch": 64, "input_tokens": 3000, "output_tokens": 256}),
        ("KV cache 20 GB per GPU", {"kv_per_gpu": 20 * 10**9}),
        ("20 GB of KV cache on each GPU", {"kv_per_gpu": 20 * 10**9}),
        ("weights 33 GB, activations 2 GB per GPU", {"weights_total": 33 * 10**9, "activations": 2 * 10**9}),
        ("Memory per GPU: weights 17 GB, KV 5 GB", {"weights_per_gpu": 17 * 10**9, "kv_per_gpu": 5 * 10**9}),
    ],
)
def test_phrases(line: str, fields: dict[str, int]) -> None:
    document = read(line)
    assert said(document) == fields
    assert document.unread == ()


@pytest.mark.parametrize(
    ("line", "unread"),
    [
        ("TP 2 and a queue of 12 jobs", "a queue of 12 jobs"),
        ("- Weights: 33 GB per GPU, 17 shards", "17 shards"),
        ("8 H100, 900 GB/s NVLink", "900 GB/s NVLink"),
        ("TP 2 leaves 40 GB for the KV cache", "40 GB"),
        ("TP 2, every stage on 4 GPUs", "4 GPUs"),
        ("TP 2, 500 output tokens/s", "500 output tokens/s"),
        ("- Model: Qwen3-32B, 64 layers, 5 towers", "5 towers"),
    ],
)
def test_what_is_not_read_of_a_line_is_listed(line: str, unread: str) -> None:
    assert any(unread in item.text for item in read(line).unread)


@pytest.mark.parametrize(
    "line",
    [
        "8 H100 or 16 A100",
        "On 16 H100 it would be faster.",
        "It leaves 40 GB for the KV cache.",
        "Unlike 4 H100, it fits.",
    ],
)
def test_what_is_said_of_another_deployment_is_no_claim(line: str) -> None:
    assert said(read(line)) == {}


def test_names_hold_no_numbers_that_are_listed() -> None:
    assert read("Llama 3.1 70B in FP8 runs on 8 H100 80GB, TP 8, as in step 3 (4-bit cache on v0.11.0).").unread == ()


def test_values_of_yaml_are_listed_too() -> None:
    document = parse_document("tp: 2\nweights_per_gpu: 17 GB, 12 shards\n", name="plan", suffix=".yaml")
    assert [item.text for item in document.unread] == ["12 shards"]


def test_a_plan_in_one_sentence() -> None:
    documents = {copies: read(LINE.format(copies, 4.82)) for copies in (4, 5)}
    wrong = {copies: [c for c in audit_document(one).claims if c.wrong] for copies, one in documents.items()}
    assert documents[4].unread == ()
    assert wrong[4] == []
    assert any("5 replicas x 2 GPUs = 10 GPUs, 8 are there" in claim.formula for claim in wrong[5])


@pytest.mark.parametrize(
    ("phrase", "field", "holds"),
    [
        ("KV cache 20 GB per GPU", "kv_per_gpu", True),  # more than requests need, and the GPU has room: a pool
        ("KV cache 3 GB per GPU", "kv_per_gpu", False),
        ("KV cache 90 GB per GPU", "kv_per_gpu", False),
        ("KV cache pool of 20 GB per GPU", "kv_pool", True),
        ("20 GB per GPU reserved for the KV cache", "kv_pool", True),
        ("KV cache space: 3 GB on each GPU", "kv_pool", False),
        ("85 GB of KV cache space on each GPU", "kv_pool", False),
    ],
)
def test_a_cache_that_a_gpu_sets_aside_is_no_need(phrase: str, field: str, holds: bool) -> None:
    text = "We serve Qwen3-32B in FP8 on 8 H100 SXM, TP 2, 4 replicas, 64 concurrent requests of 4k in and 500 out. "
    claims = [claim for claim in audit_document(read(text + phrase)).claims if claim.statement.field == field]
    assert [claim.wrong for claim in claims] == [not holds]


def test_a_part_of_a_sum_is_what_requests_need() -> None:
    """Beside weights and a total a KV cache is a need, and too much of it is wrong."""
    head = "# Qwen3-8B\n- Hardware: 2 x H100 SXM\n- Tensor parallel: 2\n- Batch: 64 requests of 4,096 + 512 tokens\n\n"
    table = "## Memory per GPU\n| part | size |\n|---|---|\n| weights | 8.2 GB |\n| KV cache | {} GB |\n"
    wrong = {size: audit_document(read(head + table.format(size))).wrong for size in ("21.7", "40")}
    assert [claim.statement.field for claim in wrong["40"]] == ["kv_per_gpu"]
    assert wrong["21.7"] == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Tensor parallel 4, two replicas.", {"tp": 4, "replicas": 2}),
        ("Three identical replicas, TP 2", {"replicas": 3, "tp": 2}),
        ("5 requests/s, 2k prompt, 300 output tokens", {"input_tokens": 2048, "output_tokens": 300}),
        ("5 requests per second of 2k prompt, 300 output tokens", {"input_tokens": 2048, "output_tokens": 300}),
        ("5 requests, 2k prompt, 300 output tokens", {"batch": 5, "input_tokens": 2048, "output_tokens": 300}),
    ],
)
def test_counts_in_words_are_read_and_rates_are_no_counts(text: str, found: dict[str, int]) -> None:
    assert said(read(text)) == found


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("A user sees a first token after 0.9 s.", "ttft", Fraction(9, 10)),
        ("The first token comes in about 900 ms.", "ttft", Fraction(9, 10)),
        ("It takes 0.9 s to the first token.", "ttft", Fraction(9, 10)),
        ("Then 20 ms per output token.", "tpot", Fraction(20, 1000)),
        ("We see 20 ms between tokens.", "tpot", Fraction(20, 1000)),
        ("It takes 26 GB in total.", "memory_total", Fraction(26 * 10**9)),
        ("17 GB of weights and 7 GB of KV cache, 26 GB in total on each GPU.", "memory_per_gpu", Fraction(26 * 10**9)),
        ("It costs 13.52 USD per hour.", "price_total", Fraction(1352, 100)),
        ("It costs $13.52 an hour.", "price_total", Fraction(1352, 100)),
        ("We pay 1.69 dollars per GPU hour.", "price", Fraction(169, 100)),
    ],
)  # fmt: skip
def test_figures_named_by_the_words_around_them(line: str, field: str, value: Fraction) -> None:
    document = parse_document(f"# Plan\n\n{line}\n", name="x.md", suffix=".md")
    assert [s.number for s in document.statements if s.field == field] == [value]


@pytest.mark.parametrize(
    "line",
    [
        "The weights take 33 GB in total.",
        "A node has 640 GB in total.",
        "It would take 26 GB in total and cost 13 USD per hour.",
        "The download is 141 GB in total.",
    ],
)
def test_sums_of_a_part_and_of_other_plans_are_no_sum_of_this_plan(line: str) -> None:
    document = read(line)
    assert not {s.field for s in document.statements} & {"memory_total", "memory_per_gpu", "price_total"}


def test_every_figure_that_is_not_read_is_counted_with_its_line() -> None:
    text = (
        "# Plan\n\n- Model: Llama-3.1-8B-Instruct\n- Tensor parallel size: 2\n\nIt draws 5.6 kW and fills 99 shelves.\n"
    )
    found = review_of(parse_document(text, name="x.md", suffix=".md"))
    assert "2 figures of line 6 are not read" in verdict_of(found.audits[0])
    assert any(item.line == 6 for item in found.audits[0].document.unread)
