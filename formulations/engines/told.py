"""From an instance to what its engine is told: the account, the launch of an option, and what must be resident.

The integer program's rows, the evaluation of a plan, its predictions and the printed command all ask here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache

from shardproof.formulations.costs.engine_cache import Demand
from shardproof.formulations.costs.engine_memory import (
    DOUBT,
    SMALL_DEVICE,
    EngineAccount,
    Launch,
    StageSpan,
    default_batched_tokens,
    default_sequences,
)
from shardproof.formulations.costs.engine_profiles import default_version, find_profile, version_key
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.costs.speculative import guesses_of
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.workload import ClosedLoop

DEFAULT_ENGINE = "vllm"
"""Engine whose account and factors stand in where none is named."""

HIGHEST_UTILISATION = Fraction(95, 100)
"""Share of a device that a plan may tell an engine to use: published start-up logs go that far."""

DIRECT_LINK = 64 * 10**9
"""Bytes/s of a scale-up link from which on devices reach each other directly (NVLink, xGMI; PCIe 5 x16 has less)."""


def account_of(instance: Instance) -> EngineAccount:
    """Return the account of the instance's engine (of `DEFAULT_ENGINE` where none is named)."""
    name = DEFAULT_ENGINE if instance.engine == "any" else instance.engine
    return EngineAccount(
        model=instance.model,
        settings=instance.engine_settings.model_copy(update={"name": name}),
        total_bytes=instance.memory_limit,
        peer_links=instance.device.scale_up.bandwidth >= DIRECT_LINK,
        reserve_bytes=instance.runtime_reserve,
        speculation=instance.speculative,
    )


def budget_of(account: EngineAccount) -> int:
    """Bytes of one device that a plan may fill: the utilisation's, less what accounts deviate by."""
    used = _used(account.settings.gpu_memory_utilization or HIGHEST_UTILISATION, account.total_bytes)
    return used - _used(DOUBT, account.total_bytes)


def share_with_free(
    instance: Instance, share: Fraction, option: Option, ranges: Sequence[tuple[int, int]], launch: Launch
) -> Fraction:
    """Return the share of a device that is used where an engine is told one of what weights and workspace leave.

    TensorRT-LLM is (``free_gpu_memory_fraction``). Of stages that differ, that of the fullest: no stage is refused that
    holds.
    """
    account = account_of(instance)
    tied_once = instance.model.tied and len(ranges) == 1
    spans = (StageSpan(first, last + 1) for first, last in ranges)
    kept = max(sum(account.stage(span, option, launch, (), tied_once=tied_once).values()) for span in spans)
    free = max(Fraction(0), 1 - Fraction(kept, account.total_bytes))
    return min(Fraction(1), 1 - (1 - share) * free)


@lru_cache(maxsize=256)
def _used(share: Fraction, total: int) -> int:
    """Bytes of a share of a device, rounded down."""
    return int(share * total)


def longest_request(instance: Instance) -> int:
    """Tokens of the longest request that the engine has to accept: what it is told, else what the scenarios ask.

    TensorRT-LLM lowers what it is told to the model's positions (``_init_max_seq_len``), unless that is forbidden.
    """
    settings = instance.engine_settings
    if settings.max_model_len is not None:
        lowers = instance.engine == "trtllm" and not settings.allow_long_max_model_len
        return min(settings.max_model_len, instance.model.max_position) if lowers else settings.max_model_len
    return max(
        max(load.input_tokens + load.output_tokens, *(load.sequence_length_range or (0,)))
        for load in (scenario.workload for scenario in instance.scenarios)
    )


def sequences_of(instance: Instance, option: Option, load: Sequence[int]) -> int:
    """Requests that one attention replica runs at once: as told, else the largest share of any scenario.

    ``load``: requests of each scenario that one replica takes.
    """
    if instance.engine_settings.max_num_seqs is not None:
        return instance.engine_settings.max_num_seqs
    least = max(1, running(option, load))
    if any(isinstance(item.workload, ClosedLoop) and item.workload.independent for item in instance.scenarios):
        return max(least, default_sequences(instance.engine_settings, instance.device.usable_memory))
    return least


def running(option: Option, load: Sequence[int]) -> int:
    """Requests that one attention replica would run at once, the largest of any scenario."""
    return divide_up(max(load), option.attn_dp)


def default_batch(instance: Instance, account: EngineAccount) -> int:
    """Tokens of one iteration where no prefill microbatch decides them: as told, else the engine's default."""
    return default_batched_tokens(
        account.profile,
        account.settings,
        total_bytes=_class_bytes(instance),
        longest=longest_request(instance),
    )


def usual_batch(instance: Instance, account: EngineAccount) -> int:
    """Tokens of one iteration by the engine's default, whatever it is told."""
    untold = account.settings.model_copy(update={"max_num_batched_tokens": None})
    longest = longest_request(instance)
    return default_batched_tokens(account.profile, untold, total_bytes=_class_bytes(instance), longest=longest)


def cut_at(instance: Instance, account: EngineAccount, batched: int) -> int | None:
    """Tokens at which a closed loop's prompts are cut beyond what the engine does by default (``None``: no more)."""
    return batched if account.profile.chunked_prefill and batched < usual_batch(instance, account) else None


def launch_of(instance: Instance, option: Option, *, load: Sequence[int], batched: Iterable[int]) -> Launch:
    """Return what an attention replica is told; ``batched``: tokens of one iteration that scenarios ask for.

    Versions that do not cut prompts want the longest of them to fit one iteration.
    """
    sequences, told = sequences_of(instance, option, load), instance.engine_settings.max_num_batched_tokens
    longest = longest_request(instance)
    name = DEFAULT_ENGINE if instance.engine == "any" else instance.engine
    whole = () if find_profile(name, instance.engine_settings.version).chunked_prefill else (longest,)
    decoded = sequences * (1 + guesses_of(instance.speculative))
    return Launch(max(decoded, *whole, *(batched if told is None else (told,))), sequences, longest)


def demands_of(instance: Instance, option: Option, launch: Launch, *, load: Sequence[int]) -> tuple[Demand, ...]:
    """Return what one attention replica has to keep resident in each scenario: no more than it may run at once.

    Each request has a slot for every guess besides.
    """
    guesses = guesses_of(instance.speculative)
    return tuple(
        Demand(
            requests=min(divide_up(requests, option.attn_dp), launch.sequences),
            tokens=scenario.workload.resident_tokens + guesses,
            longest=launch.longest + guesses,
            batched=launch.batched,
        )
        for scenario, requests in zip(instance.scenarios, load, strict=True)
    )


def admits_at_most(instance: Instance, account: EngineAccount) -> int:
    """Requests that one attention replica runs at once at most: as told, else the engine's default."""
    return default_sequences(account.settings, _class_bytes(instance))


def _class_bytes(instance: Instance) -> int:
    """Bytes by which engines tell large devices from small ones; vLLM counts A100s with the small (arg_utils.py)."""
    usable = instance.device.usable_memory
    return min(usable, SMALL_DEVICE - 1) if instance.device.architecture == "Ampere" else usable


def device_class(instance: Instance) -> tuple[bool, bool]:
    """Return what engines' defaults and accounts hang on beyond a device's figures: whether it is small, has peers."""
    return _class_bytes(instance) < SMALL_DEVICE, instance.device.scale_up.bandwidth >= DIRECT_LINK


def start_up_bytes(account: EngineAccount, option: Option, launch: Launch) -> int:
    """Bytes that start-up needs beyond what the highest utilisation leaves free (see `EngineAccount.headroom`)."""
    share = account.settings.gpu_memory_utilization or HIGHEST_UTILISATION
    free = account.total_bytes - _used(share, account.total_bytes)
    return max(0, account.headroom(option, launch) - free)


def memory_budget(instance: Instance) -> int:
    """Bytes of one device that a plan of the instance may fill."""
    return instance.memory_limit if instance.engine == "any" else budget_of(account_of(instance))


def engine_assumptions(instance: Instance) -> tuple[str, ...]:
    """Sentences for what the instance leaves open under its engine."""
    if instance.engine == "any":
        return ()
    account = account_of(instance)
    settings, since = account.settings, account.profile.since
    if settings.version is None:
        told = f"engine version: not given, {settings.name} is taken as {default_version(settings.name)}"
    elif version_key(settings.version) == version_key(since):
        told = ""
    else:
        told = f"{settings.version_text} accounts for memory as versions from {since} on: it has no entry of its own"
    loops = any(isinstance(scenario.workload, ClosedLoop) for scenario in instance.scenarios)
    usual = f"{default_batch(instance, account):,}" if loops and settings.max_num_batched_tokens is None else ""
    bursts = any(not isinstance(scenario.workload, ClosedLoop) for scenario in instance.scenarios)
    chunks = bursts and settings.max_num_batched_tokens is None and account.profile.chunked_prefill
    return tuple(
        sentence
        for sentence in (
            told,
            "prompts are prefilled whole or in chunks; a chunk is charged the mean context of its prompt"
            if chunks
            else "",
            f"closed loops run iterations of {usual} tokens, {settings.name}'s default, or fewer where a GPU is saved "
            "(max_num_batched_tokens is not given)"
            if usual
            else "",
            f"longest request: {longest_request(instance):,} tokens, as the workload asks (max_model_len is not given)"
            if settings.max_model_len is None
            else "",
        )
        if sentence
    )
