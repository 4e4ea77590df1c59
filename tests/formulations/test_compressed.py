"""Compressed and selected attention: caches, scores, pools, readers; nothing hangs on a name."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import yaml

from shardproof.formulations.costs import compressed
from shardproof.formulations.costs.compute import Step, layer_operations
from shardproof.formulations.costs.engine_cache import CachePool, Demand
from shardproof.formulations.costs.engine_memory import EngineAccount, Launch, StageSpan
from shardproof.formulations.costs.memory import embedding_bytes, head_bytes, kv_bytes_per_request, layer_weight_bytes
from shardproof.formulations.engines.rules import broken_rules, rules_of
from shardproof.instances.catalogue import load_model
from shardproof.instances.compressed import CompressedAttention
from shardproof.instances.engine import EngineSettings
from shardproof.instances.errors import InputError
from shardproof.instances.huggingface import from_config
from shardproof.instances.layers import GroupedQueryAttention
from shardproof.instances.model import Model
from shardproof.instances.option import Option
from shardproof.instances.resolve import resolve_tree
from tests.oracles.places import ROOT

ONE = Option(1, 1, 1, 1)
MODELS = ROOT / "instances" / "catalog" / "models"


def layer(**changes: Any) -> CompressedAttention:
    shape = {"heads": 8, "head_dim": 512, "rope_head_dim": 64, "q_lora_rank": 64, "output_groups": 2, "output_rank": 32}
    return CompressedAttention(**{**shape, "window": 128, **changes})


def total(model: Model, option: Option) -> int:
    counts = Counter(model.layer_kinds).items()
    layers = sum(count * layer_weight_bytes(model, model.kinds[kind], option) for kind, count in counts)
    return layers + embedding_bytes(model, option) + head_bytes(model, option)


@pytest.mark.parametrize(("name", "billions", "active"), [("flash", 284, 13), ("pro", 1573, 49)])
def test_the_published_sizes_come_out(name: str, billions: int, active: int) -> None:
    """284 B with 13 B active; 1.6 T with 49 B active (embedding and head, one of which counts here, not included)."""
    model = load_model(f"deepseek-v4-{name}")
    assert model.parameters / 1e9 == pytest.approx(billions, abs=1)
    ends = 2 * model.vocab * model.hidden / 1e9
    assert active - 1 <= model.active_parameters / 1e9 - ends / 2 <= active + 1


def test_a_start_log_of_the_larger_one_comes_out() -> None:
    """vLLM 0.20, attention on every rank and experts over eight: 125.15 GiB of weights (InferenceX server log)."""
    assert total(load_model("deepseek-v4-pro"), Option(1, 8, 1, 8)) / 2**30 == pytest.approx(125.15, rel=0.03)


def test_an_entry_is_what_engines_store() -> None:
    """448 elements of 8 bits, 64 of 16, seven scales and a byte of padding: 584 bytes; 16 bits throughout: 1,024."""
    assert layer().entry_bytes("fp8") == 584
    assert layer().entry_bytes("bf16") == 1024


@pytest.mark.parametrize("ratio", [0, 4, 128])
def test_the_cache_grows_by_its_ratio(ratio: int) -> None:
    attention = layer(ratio=ratio, overlap=ratio == 4)
    near, far = (compressed.cache_bytes(attention, tokens, "fp8") for tokens in (1024, 1024 + 128 * 1000))
    assert far - near == (128_000 // ratio * 584 if ratio else 0)


def test_queries_see_the_window_and_what_is_selected() -> None:
    assert layer().attended(10_000) == 128
    assert layer(ratio=128).attended(12_800) == 128 + 100
    assert layer(ratio=4, overlap=True, selected_entries=512).attended(10_000) == 128 + 512
    assert layer(ratio=4, overlap=True, selected_entries=512).attended(100) == 100 + 25


@pytest.mark.parametrize("tokens", [1, 7, 300, 1000])
@pytest.mark.parametrize("shape", [{}, {"ratio": 128}, {"ratio": 4, "overlap": True, "selected_entries": 20}])
def test_pairs_of_a_prompt_are_those_of_its_tokens_one_by_one(tokens: int, shape: dict[str, Any]) -> None:
    """But for halves of a diagonal and entries not yet whole; a selection counts as binding at once."""
    attention = layer(**shape)
    exact = sum(attention.attended(seen + 1) for seen in range(tokens))
    counted = compressed.score_pairs(attention, tokens, 0, prefill=True)
    assert counted >= exact - 2 * tokens
    assert counted <= exact + tokens * ((attention.selected_entries or 0) + 1) + attention.window


def test_scores_cost_less_than_over_every_token() -> None:
    """At a long context, whatever the layer's name."""
    model = load_model("deepseek-v4-flash")
    step = Step("decode", 4, 1, 200_000)
    for name, kind in model.kinds.items():
        scores = [one for one in layer_operations(model, kind, ONE, step, "bf16") if one.name == "attention scores"]
        assert isinstance(kind.attention, CompressedAttention)
        whole = 4 * kind.attention.heads * kind.attention.head_dim * 4 * 200_000
        assert sum(one.flops for one in scores) < whole / 10, name


def test_the_pool_adds_up_layer_by_layer() -> None:
    """A request more costs its entries, window and states; the tokens in flight are charged once."""
    pool = CachePool(load_model("deepseek-v4-flash"), block=256)
    assert not pool.is_hybrid
    for kind in pool.model.kinds:
        one, two, three = (pool.layer_demand(kind, ONE, (Demand(n, 8192, 1, 4096),)) for n in (1, 2, 3))
        assert three - two == two - one > 0
        more = pool.layer_demand(kind, ONE, (Demand(1, 8192, 1, 8192),))
        assert more > one


def test_the_longest_request_binds_where_it_is_alone() -> None:
    account = EngineAccount(load_model("deepseek-v4-flash"), EngineSettings(name="vllm"), 141 * 10**9)
    span, launch = StageSpan(0, 43), Launch(2048, 16, 1_000_000)
    found = account.capacity(span, Option(8, 1, 1, 8), launch, budget=120 * 10**9, tied_once=False)
    held = account.holds(span, Option(8, 1, 1, 8), found, tokens=1_000_000, batched=2048)
    needed = [Demand(count, 1_000_000, 1, 2048) for count in (held, held + 1)]
    sizes = [account._stage_cache(span, Option(8, 1, 1, 8), (demand,)) for demand in needed]
    assert sizes[0] <= found.free < sizes[1]


def test_ranks_divide_the_groups_of_the_output_projection() -> None:
    """64 heads over 16 ranks would leave half a group of eight on each."""
    load = {"kind": "burst", "batch_size": 1, "input_tokens": 100, "output_tokens": 10}
    tree = {"name": "x", "model": "deepseek-v4-flash", "device": "h200-sxm", "engine": "vllm", "workload": load}
    instance = resolve_tree(tree, where="test")
    names = {rule.name for rule in broken_rules(instance, Option(16, 1, 1, 16), rules_of("vllm"))}
    assert "heads" in names
    assert not broken_rules(instance, Option(8, 1, 1, 8), rules_of("vllm"))


def published(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((MODELS / f"{name}.yaml").read_text(encoding="utf-8"))["config"]
    return tree


def test_the_same_layers_by_types_and_rates() -> None:
    """The newer way to write a config: names of layer types, and a rate for each."""
    listed = published("deepseek-v4-flash")
    names = {0: "sliding_attention", 4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}
    newer = {key: value for key, value in listed.items() if key != "compress_ratios"}
    newer["layer_types"] = [names[ratio] for ratio in listed["compress_ratios"][:43]]
    newer["compress_rates"] = {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}
    first, second = (from_config(config, name="any", source="test") for config in (listed, newer))
    assert first == second


@pytest.mark.parametrize(
    "changes",
    [
        {"compress_ratios": [2] * 43},
        {"compress_ratios": [4] * 42},
        {"compress_ratios": None},
        {"engram_layer_ids": [1]},
        {"o_groups": 7},
        {"expert_dtype": "fp3"},
        {"index_topk": None},
    ],
)
def test_what_is_not_understood_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        from_config(published("deepseek-v4-flash") | changes, name="any", source="test")


def test_selected_blocks_bound_the_scores_of_grouped_attention() -> None:
    """MiniMax M3: 16 blocks of 128 tokens on the layers that have an indexer; all tokens where the config says none."""
    model = load_model("minimax-m3")
    spans = {kind.attention.span for kind in model.kinds.values() if isinstance(kind.attention, GroupedQueryAttention)}
    assert spans == {None, 2048}
    step = Step("decode", 1, 1, 100_000)
    flops = {
        name: max(one.flops for one in layer_operations(model, kind, ONE, step, "bf16") if "scores" in one.name)
        for name, kind in model.kinds.items()
    }
    assert min(flops.values()) * 10 < max(flops.values())
    kept = {kv_bytes_per_request(model, kind, ONE, 100_000) for kind in model.kinds.values()}
    assert len(kept) == 2  # the cache keeps every token, and the indexer's keys beside it
    config = published("minimax-m3")
    config["sparse_attention_config"] = {
        key: value for key, value in config["sparse_attention_config"].items() if "block" not in key
    }
    whole = from_config(config, name="any", source="test")
    attentions = [kind.attention for kind in whole.kinds.values()]
    assert {part.span for part in attentions if isinstance(part, GroupedQueryAttention)} == {None}
