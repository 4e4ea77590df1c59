"""Command lines by engine: every flag that a plan decides, one line a node."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil

from shardproof.formulations.costs.engine_memory import Launch
from shardproof.formulations.costs.engine_profiles import version_key
from shardproof.instances.catalogue import published_name
from shardproof.instances.formats import Formats
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.plan import Group
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.evaluation.speculative_flags import sglang_words, trtllm_lines, vllm_words

ONLINE: Mapping[str, tuple[str, ...]] = {"vllm": ("fp8",), "sglang": ("fp8",), "trtllm": ()}
"""Dtypes to which engines quantise 16-bit weights after they loaded them."""

MASTER = "$MASTER_ADDR"
"""Variable that holds the address of a replica's first node."""

CACHE_DTYPES: Mapping[str, Mapping[str, str]] = {
    "vllm": {"fp8": "fp8", "nvfp4": "nvfp4"},
    "sglang": {"fp8": "fp8_e4m3", "nvfp4": "nvfp4", "mxfp4": "fp4_mx_block16"},
    "trtllm": {"fp8": "fp8", "nvfp4": "nvfp4"},
}
"""What each engine calls the dtypes of a KV cache that are not 16 bits wide."""

WIDE_CACHE = {"vllm": "bfloat16", "sglang": "bf16", "trtllm": "auto"}
"""What they call 16 bits, where the checkpoint itself says otherwise."""

PREFILL_TOKENS = 16384
"""SGLang's default ``--max-prefill-tokens``, which also bounds a batch of prompts."""

OWN_ATTENTION_DP = (0, 5, 23)
"""Version of SGLang whose option list has ``--attn-dp-size``; it still takes the form before (deprecated)."""

NODES_SINCE = (0, 11)
"""Version from which on vLLM spans nodes without Ray."""


ROPE_PARAMETERS_SINCE = (0, 12)
"""Version from which on vLLM reads a config's ``rope_parameters``; older ones read ``rope_scaling``."""


def served_name(instance: Instance) -> str:
    """Return the id or path that the engine is asked to load: as it was given, else the published one."""
    return instance.checkpoint.name or published_name(instance.model.name)


@dataclass(frozen=True)
class Told:
    """What the flags of a plan say."""

    engine: EnginePlan

    @property
    def instance(self) -> Instance:
        """The question that the plan answers."""
        return self.engine.instance

    @property
    def plan(self) -> Group:
        """The plan."""
        return self.engine.plan

    @property
    def option(self) -> Option:
        """What every stage runs."""
        return self.plan.stages[0].option

    @property
    def launch(self) -> Launch:
        """What one attention replica is told."""
        return self.engine.launch(self.option)

    @property
    def stages(self) -> int:
        """Pipeline stages."""
        return len(self.plan.stages)

    @property
    def utilisation(self) -> Fraction:
        """Share of the device's memory, where the instance lends only a part of it a share of that part."""
        lent = Fraction(self.engine.account.total_bytes, self.instance.device.usable_memory)
        return percent_up(self.engine.utilisation * lent)

    @property
    def static_share(self) -> Fraction:
        """Share of the device that holds weights and cache alone (SGLang)."""
        if self.engine.account.tells_static:
            return self.utilisation
        total = self.instance.device.usable_memory
        outside = max(
            self.engine.account.peak(self.option, self.launch, last=True),
            self.engine.account.peak(self.option, self.launch, last=False),
        )
        return Fraction(ceil(1000 * (self.utilisation - Fraction(outside, total))), 1000)

    @property
    def nodes(self) -> int:
        """Nodes of one replica: the fewest alike ones of which each runs whole stages, or a whole share of one stage.

        Engines number ranks stage by stage and cut them evenly: of 5 stages on 2 nodes SGLang starts only 4
        (``_calculate_rank_ranges``, engine.py), and vLLM and TensorRT-LLM would tear the third one apart.
        """
        gpus, node = self.option.gpus, self.instance.device.devices_per_node
        width = gpus * self.stages
        even = (count for count in range(ceil(width / node), width + 1) if width % count == 0)
        return next(count for count in even if gpus % (width // count) == 0 or (width // count) % gpus == 0)

    @property
    def partition(self) -> str:
        """Layers of every stage."""
        return ",".join(str(stage.layers[1] - stage.layers[0] + 1) for stage in self.plan.stages)

    def stretched(self, section: str) -> dict[str, object]:
        """Fields of the checkpoint's config that stretch its positions, under the section's name (empty: none do).

        YaRN's positions are stated beside it: engines no longer multiply them (vLLM 0.33, SGLang 0.5).
        """
        rope = self.instance.engine_settings.rope_scaling
        if rope is None:
            return {}
        stated = {"max_position_embeddings": self.instance.model.max_position} if rope.rope_type == "yarn" else {}
        return {section: rope.told(), **stated}

    @property
    def beyond(self) -> bool:
        """Whether the engine is told to accept requests beyond the model's positions."""
        longer = self.launch.longest > self.instance.model.max_position
        return longer and self.instance.engine_settings.allow_long_max_model_len

    def environment(self, beyond: str, partition: str = "") -> str:
        """Variables before the command: layers of the stages, and permission for longer requests, by their names."""
        values = [f"{partition}={self.partition}"] if partition and self.stages > 1 else []
        values += [f"{beyond}=1"] if self.beyond else []
        return "".join(f"{value} " for value in values)

    def cache_dtype(self) -> str | None:
        """Name of the KV cache's dtype (``None``: what the checkpoint says or 16 bits, or none that it knows)."""
        if self.instance.model.kv_dtype == "bf16" and self.instance.checkpoint.kv_cache is not None:
            return WIDE_CACHE[self.instance.engine]
        return CACHE_DTYPES[self.instance.engine].get(self.instance.model.kv_dtype)

    def quantisation(self) -> list[str]:
        """Flag that quantises a 16-bit checkpoint while it is loaded, where it fits before that."""
        return ["--quantization fp8"] if self.quantises and self.fits_before else []

    @property
    def quantises(self) -> bool:
        """Whether the engine makes 8 bits of a checkpoint's 16."""
        own, wanted = self.instance.checkpoint.weights, self.instance.model.formats.attention.dtype
        return wanted in ONLINE[self.instance.engine] and own in ("bf16", "fp16")

    @cached_property
    def before(self) -> int:
        """Bytes of weights on the fullest device as the checkpoint stores them: engines load them so at first."""
        own = self.instance.checkpoint.weights
        assert own is not None
        stored = self.instance.model.with_formats(Formats.uniform(own))
        instance = self.instance.model_copy(update={"model": stored})
        found = EnginePlan(instance, self.plan)
        return max(found.stage_account(place).weights_bytes for place in range(len(self.plan.stages)))

    @property
    def fits_before(self) -> bool:
        """Whether the weights fit a device before they are quantised."""
        return self.before <= self.engine.account.total_bytes


def percent_up(share: Fraction) -> Fraction:
    """Round up to whole percent."""
    return Fraction(ceil(100 * share), 100)


def vllm(told: Told) -> list[str]:
    """Lines of vLLM: attention DP is data parallelism, expert parallelism spans TP x DP."""
    option, launch, settings = told.option, told.launch, told.instance.engine_settings
    flags = [f"--tensor-parallel-size {option.attn_tp}", f"--pipeline-parallel-size {told.stages}"]
    if option.attn_dp > 1:
        flags.append(f"--data-parallel-size {option.attn_dp}")
    if option.moe_ep > 1:
        flags.append("--enable-expert-parallel")
    flags += [
        f"--max-model-len {launch.longest}",
        f"--max-num-batched-tokens {launch.batched}",
        f"--max-num-seqs {launch.sequences}",
        f"--gpu-memory-utilization {float(told.utilisation):g}",
        *told.quantisation(),
    ]
    if told.cache_dtype():
        flags.append(f"--kv-cache-dtype {told.cache_dtype()}")
    if settings.block_size:
        flags.append(f"--block-size {settings.block_size}")
    if settings.enforce_eager:
        flags.append("--enforce-eager")
    flags += vllm_words(told.instance) + _vllm_positions(told)
    environment = told.environment("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "VLLM_PP_LAYER_PARTITION")
    line = f"{environment}vllm serve {shlex.quote(served_name(told.instance))} {' '.join(flags)}"
    return [line + more for more in _vllm_nodes(told)]


def _vllm_positions(told: Told) -> list[str]:
    """Flag that stretches positions, by version."""
    version = told.instance.engine_settings.version
    old = version is not None and version_key(version) < ROPE_PARAMETERS_SINCE
    stretched = told.stretched("rope_scaling" if old else "rope_parameters")
    return [f"--hf-overrides {shlex.quote(json.dumps(stretched))}"] if stretched else []


def _vllm_nodes(told: Told) -> list[str]:
    """What the line of each node says besides."""
    if told.nodes == 1:
        return [""]
    version = told.instance.engine_settings.version
    if version is not None and version_key(version) < NODES_SINCE:
        return [" --distributed-executor-backend ray"]
    replica = told.option.attn_tp * told.stages
    local, rest = divmod(told.option.gpus * told.stages // told.nodes, replica)
    if told.option.attn_dp > 1 and local and not rest:
        shared = f" --data-parallel-size-local {local} --data-parallel-address {MASTER} --data-parallel-rpc-port 13345"
        starts = [f" --data-parallel-start-rank {local * node}" for node in range(told.nodes)]
        return [shared + start + ("" if node == 0 else " --headless") for node, start in enumerate(starts)]
    shared = f" --nnodes {told.nodes} --master-addr {MASTER}"
    return [f"{shared} --node-rank {node}" + ("" if node == 0 else " --headless") for node in range(told.nodes)]


def sglang(told: Told) -> list[str]:
    """Lines of SGLang: running requests and chunks are given for all of a stage's DP ranks together."""
    option, launch, settings = told.option, told.launch, told.instance.engine_settings
    flags = [f"--tp-size {option.gpus}", f"--pp-size {told.stages}"]
    if option.attn_dp > 1:
        flags += _attention_dp(told)
    if option.moe_ep > 1:
        flags.append(f"--ep-size {option.moe_ep}")
    flags += [
        f"--context-length {launch.longest}",
        f"--chunked-prefill-size {launch.batched * option.attn_dp}",
        f"--max-running-requests {launch.sequences * option.attn_dp}",
        f"--mem-fraction-static {float(told.static_share):g}",
        *told.quantisation(),
    ]
    if launch.batched > PREFILL_TOKENS:
        flags.append(f"--max-prefill-tokens {launch.batched}")
    if told.cache_dtype():
        flags.append(f"--kv-cache-dtype {told.cache_dtype()}")
    if settings.block_size:
        flags.append(f"--page-size {settings.block_size}")
    if settings.enforce_eager:
        flags.append("--disable-cuda-graph")
    flags += sglang_words(told.instance)
    if told.stretched("rope_scaling"):
        flags.append(f"--json-model-override-args {shlex.quote(json.dumps(told.stretched('rope_scaling')))}")
    environment = told.environment("SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN", "SGLANG_PP_LAYER_PARTITION")
    program = f"python -m sglang.launch_server --model-path {shlex.quote(served_name(told.instance))}"
    line = f"{environment}{program} {' '.join(flags)}"
    if told.nodes == 1:
        return [line]
    shared = f"--nnodes {told.nodes} --dist-init-addr {MASTER}:20000"
    return [f"{line} {shared} --node-rank {node}" for node in range(told.nodes)]


def _attention_dp(told: Told) -> list[str]:
    """Since 0.5.23 DP attention has a flag of its own; without a version the form that all of them take."""
    version, degree = told.instance.engine_settings.version, told.option.attn_dp
    if version is not None and version_key(version) >= OWN_ATTENTION_DP:
        return [f"--attn-dp-size {degree}"]
    return [f"--dp-size {degree}", "--enable-dp-attention"]


def trtllm(told: Told) -> list[str]:
    """Lines of TensorRT-LLM: the command, and the file that it reads."""
    option, launch, settings = told.option, told.launch, told.instance.engine_settings
    found = told.engine.binding
    held = found.total_bytes - found.weights_bytes - found.activation_bytes - found.non_torch_bytes - found.graph_bytes
    share = percent_up(Fraction(found.kv_bytes, max(1, held)))
    lines = [f"tensor_parallel_size: {option.gpus}", f"pipeline_parallel_size: {told.stages}"]
    if option.attn_dp > 1:
        lines.append("enable_attention_dp: true")
    if option.moe_ep > 1:
        lines += [f"moe_expert_parallel_size: {option.moe_ep}", f"moe_tensor_parallel_size: {option.moe_tp}"]
    if told.stages > 1:
        lines.append(f"pp_partition: [{told.partition}]")
    if told.nodes > 1:
        lines.append(f"gpus_per_node: {option.gpus * told.stages // told.nodes}")
    lines += [
        f"max_num_tokens: {launch.batched}",
        f"max_batch_size: {launch.sequences}",
        f"max_seq_len: {launch.longest}",
        "enable_chunked_prefill: true",
    ]
    cache = [f"free_gpu_memory_fraction: {float(min(share, Fraction(99, 100))):g}"]
    if told.cache_dtype():
        cache.append(f"dtype: {told.cache_dtype()}")
    if settings.block_size:
        cache.append(f"tokens_per_block: {settings.block_size}")
    lines.append(f"kv_cache_config: {{{', '.join(cache)}}}")
    if settings.enforce_eager:
        lines.append("cuda_graph_config: null")
    lines += trtllm_lines(told.instance)
    if told.stretched("rope_scaling"):
        lines.append(f"model_kwargs: {json.dumps(told.stretched('rope_scaling'))}")
    start = told.environment("TLLM_ALLOW_LONG_MAX_MODEL_LEN")
    start += "mpirun -n " + str(option.gpus * told.stages) + " trtllm-llmapi-launch " if told.nodes > 1 else ""
    return [f"{start}trtllm-serve {shlex.quote(served_name(told.instance))} --config config.yaml", *lines]


WRITERS: Mapping[str, Callable[[Told], list[str]]] = {"vllm": vllm, "sglang": sglang, "trtllm": trtllm}
"""Writer of each engine's lines."""
