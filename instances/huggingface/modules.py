"""The names that checkpoints give to the matrices, and the patterns by which files exclude them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from shardproof.instances.layers import Layer, MixtureOfExperts, TensorClass

ROOTS = ("model.language_model.", "language_model.model.", "model.", "language_model.", "backbone.")

NESTED_REPETITION = re.compile(r"\([^()]*[+*}][^()]*\)[+*{]")
MAX_EXPRESSIONS = 2000
ONE_LAYER = re.compile(r"layers\.([0-9]+)\.")
EVERY_LAYER = "*"
LAYER_START = re.compile(r"layers\.[0-9]+\.[^*?\[]*\*")

ATTENTION_NAMES: dict[str, tuple[str, ...]] = {
    "query": ("self_attn.q_proj", "self_attn.qkv_proj", "mixer.q_proj"),
    "key": ("self_attn.k_proj", "self_attn.qkv_proj", "mixer.k_proj"),
    "value": ("self_attn.v_proj", "self_attn.qkv_proj", "mixer.v_proj"),
    "output": ("self_attn.o_proj", "mixer.o_proj"),
    "query_down": ("self_attn.q_a_proj", "attn.wq_a", "self_attn.fused_qkv_a_proj_with_mqa"),
    "query_up": ("self_attn.q_b_proj", "attn.wq_b"),
    "kv_down": ("self_attn.kv_proj", "attn.wkv", "self_attn.kv_a_proj_with_mqa", "self_attn.fused_qkv_a_proj_with_mqa"),
    "kv_up": ("self_attn.kv_b_proj",),
    "output_down": ("self_attn.o_a_proj", "attn.wo_a", "self_attn.wo_a"),
    "output_up": ("self_attn.o_b_proj", "attn.wo_b", "self_attn.wo_b"),
    "index_query": ("self_attn.indexer.wq_b", "self_attn.index_q_proj"),
    "index_key": ("self_attn.indexer.wk", "self_attn.index_k_proj"),
    "gate": ("self_attn.g_proj",),
    "head_gate": ("self_attn.g_proj",),
}
LINEAR_NAMES: dict[str, tuple[str, ...]] = {
    "query_key_value": ("linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz"),
    "gate": ("linear_attn.in_proj_z", "linear_attn.in_proj_qkvz", "self_attn.g_proj"),
    "input": ("mixer.in_proj",),
    "output": ("linear_attn.out_proj", "mixer.out_proj", "self_attn.o_proj"),
    **{name: (f"self_attn.{short}_proj",) for name, short in (("query", "q"), ("key", "k"), ("value", "v"))},
    **{f"forget_{end}": (f"self_attn.f_{short}_proj",) for end, short in (("down", "a"), ("up", "b"))},
    **{f"gate_{end}": (f"self_attn.g_{short}_proj",) for end, short in (("down", "a"), ("up", "b"))},
}
FFN_PARENTS: dict[str, tuple[str, ...]] = {
    "dense": ("mlp", "feed_forward", "mixer"),
    "shared": (
        "mlp.shared_experts",
        "mlp.shared_expert",
        "share_expert",
        "feed_forward.shared_expert",
        "mixer.shared_experts",
        "block_sparse_moe.shared_experts",
    ),
    "latent": ("mixer",),
    "experts": (
        "mlp.experts",
        "mlp.experts.0",
        "feed_forward.experts",
        "block_sparse_moe.experts",
        "block_sparse_moe.experts.0",
        "mixer.experts",
        "mixer.experts.0",
    ),
    "experts_beside_dense": ("experts", "experts.0", "moe.experts", "moe.experts.0"),
}
FFN_NAMES: dict[str, tuple[str, ...]] = {
    "gate": ("gate_proj", "gate_up_proj", "w1"),
    "up": ("up_proj", "gate_up_proj", "w3"),
    "down": ("down_proj", "w2"),
    "latent_down": ("fc1_latent_proj",),
    "latent_up": ("fc2_latent_proj",),
}


@dataclass(frozen=True)
class Module:
    """One matrix of one layer under every name that checkpoints give it; all experts as one."""

    names: tuple[str, ...]
    tensor_class: TensorClass
    matrix: str
    parameters: int


def layer_modules(index: int, layer: Layer, hidden: int) -> Iterator[Module]:
    """Yield the matrices of one layer that quantisation can touch."""
    prefix = f"layers.{index}."
    names = LINEAR_NAMES if layer.attention.kind == "linear" else ATTENTION_NAMES
    for matrix in layer.attention.matrices(hidden):
        if matrix.tensor_class == "attention":
            known = tuple(prefix + name for name in names[matrix.name])
            yield Module(names=known, tensor_class="attention", matrix=matrix.name, parameters=matrix.parameters)
    for matrix in layer.feed_forward.matrices(hidden):
        branch, _, rest = matrix.name.rpartition("_")
        parent, short = ("latent", matrix.name) if branch == "latent" else (branch or "dense", rest)
        yield Module(
            names=tuple(f"{prefix}{place}.{name}" for place in FFN_PARENTS[parent] for name in FFN_NAMES[short]),
            tensor_class="dense_ffn",
            matrix=matrix.name,
            parameters=matrix.parameters,
        )
    if isinstance(layer.feed_forward, MixtureOfExperts):
        parent = "experts_beside_dense" if layer.feed_forward.dense_intermediate else "experts"
        for matrix in layer.feed_forward.expert_matrices(hidden):
            yield Module(
                names=tuple(
                    f"{prefix}{place}.{name}" for place in FFN_PARENTS[parent] for name in FFN_NAMES[matrix.name]
                ),
                tensor_class="experts",
                matrix=matrix.name,
                parameters=matrix.parameters * layer.feed_forward.experts,
            )


class Patterns:
    """A list of module patterns: exact names, parts of a dotted path, wildcards, and ``re:`` expressions."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Sort the patterns by what they need; `re.error` for one that cannot be used."""
        rootless = [item if item.startswith("re:") else _rootless(item) for item in patterns]
        starts = [item[:-1] for item in rootless if LAYER_START.fullmatch(item)]
        plain = {item for item in rootless if not item.startswith("re:") and not _wild(item)}
        self.by_layer = any(character.isdigit() for item in patterns for character in item)
        self._exact = frozenset(item for item in plain if item.startswith("layers."))
        self._parts = tuple(f".{item}." for item in plain if not item.startswith("layers."))
        self._starts: dict[str, tuple[str, ...]] = {}
        for start in starts:
            layer = start.split(".")[1]
            self._starts[layer] = (*self._starts.get(layer, ()), start)
        wild = [
            item for item in rootless if (item.startswith("re:") or _wild(item)) and not LAYER_START.fullmatch(item)
        ]
        if len(wild) > MAX_EXPRESSIONS:
            raise re.error(f"more than {MAX_EXPRESSIONS} wildcards")
        self._expressions = tuple(_compile(item) for item in wild if item.startswith("re:"))
        named: dict[str, list[str]] = {}
        for item in wild:
            if not item.startswith("re:"):
                numbered = ONE_LAYER.match(item)
                named.setdefault(numbered[1] if numbered else EVERY_LAYER, []).append(_translated(item))
        self._wildcards = {layer: re.compile("|".join(items)) for layer, items in named.items()}

    def match(self, module: Module) -> bool:
        """Tell whether any name of the module, or a parent of it, is on the list."""
        return any(self._match(name) for name in module.names)

    def _match(self, name: str) -> bool:
        parts = name.split(".")
        if name.startswith(self._starts.get(parts[1], ())):
            return True
        if self._exact and any(".".join(parts[:count]) in self._exact for count in range(2, len(parts) + 1)):
            return True
        if any(part in f".{name}." for part in self._parts):
            return True
        expressions = [*self._expressions]
        expressions += [self._wildcards[layer] for layer in (EVERY_LAYER, parts[1]) if layer in self._wildcards]
        if not expressions:
            return False
        full = [f"model.{name}", *("model." + ".".join(parts[:count]) for count in range(2, len(parts)))]
        return any(expression.match(text) for expression in expressions for text in full)


def _wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _rootless(pattern: str) -> str:
    for root in ROOTS:
        if pattern.startswith(root):
            return pattern.removeprefix(root)
    return pattern


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str]:
    if NESTED_REPETITION.search(pattern):
        raise re.error("a repetition inside a repetition can take forever")
    return re.compile(pattern.removeprefix("re:"))


def _translated(pattern: str) -> str:
    return translate(f"model.{pattern}" if pattern.startswith("layers.") else pattern)
