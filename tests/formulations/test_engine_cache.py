"""Pools of blocks: groups, pages, windows, states; and the rows of the program that hold them."""

from __future__ import annotations

from math import ceil

import pytest

from shardproof.formulations.costs.engine_cache import CachePool, Demand
from shardproof.instances.catalogue import load_model
from shardproof.instances.option import Option

ONE = Option(1, 1, 1, 1)


def pool(slug: str, **changes: object) -> CachePool:
    return CachePool(load_model(slug), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("slug", "groups", "size"), [("gpt-oss-20b", 2, 12), ("gemma-3-27b", 7, 10), ("qwen3-next-80b-a3b", 4, 12)]
)
def test_layers_of_hybrids_share_groups_of_equal_size(slug: str, groups: int, size: int) -> None:
    found = pool(slug)
    assert found.is_hybrid
    assert (len(found.groups), found.group_size) == (groups, size)


def test_every_group_has_its_share_of_the_layers() -> None:
    found = pool("gemma-3-27b")
    members = found.group_of_layers()
    counts = [members.count(group) for group in range(len(found.groups))]
    assert sum(counts) == found.model.layer_count
    assert max(counts) == found.group_size


def test_a_window_keeps_its_tokens_and_those_of_one_iteration() -> None:
    found = pool("gpt-oss-20b")
    full, sliding = sorted(found.groups, key=lambda group: group.window or 0)
    assert found.pages(full, ONE, tokens=100_000, batched=8192) == 100_000 // 16
    assert found.pages(sliding, ONE, tokens=100_000, batched=8192) == ceil((127 + 8192) / 16) + 1
    assert found.pages(sliding, ONE, tokens=64, batched=8192) == 4


def test_a_state_takes_one_block_as_large_as_attention_needs() -> None:
    found = pool("qwen3-next-80b-a3b")
    state = next(group for group in found.groups if group.state)
    kind = next(name for name, held in found.kinds.items() if held == state)
    assert found.pages(state, ONE, tokens=1_000_000, batched=8192) == 1
    assert found.page_bytes(ONE) >= found.token_bytes(kind, ONE)


def test_chunked_attention_is_kept_whole() -> None:
    assert not pool("llama-4-scout").is_hybrid


def test_old_versions_keep_windows_whole() -> None:
    found = pool("gpt-oss-20b", windows=False)
    assert not found.is_hybrid
    kind = found.model.layer_kinds[0]
    assert found.layer_bytes(kind, ONE, tokens=1600, batched=1) == 1600 * found.token_bytes(kind, ONE)


def test_demands_are_those_of_the_largest_scenario_or_the_longest_request() -> None:
    found = pool("llama-3.1-8b")
    kind = found.model.layer_kinds[0]
    one = found.token_bytes(kind, ONE)
    many = Demand(requests=10, tokens=160, longest=320, batched=1)
    long = Demand(requests=1, tokens=160, longest=16_000, batched=1)
    assert found.layer_demand(kind, ONE, (many,)) == 1600 * one
    assert found.layer_demand(kind, ONE, (many, long)) == 16_000 * one
