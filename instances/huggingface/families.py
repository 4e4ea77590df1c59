"""The architecture families that are understood: one reader each, all of them in one list.

A ``config.json`` is read only if its ``model_type`` and its architecture both stand here; class defaults that
published files leave out stand with their family, so that nothing is guessed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shardproof.instances.huggingface import (
    compressed,
    dense,
    gemma,
    hybrids,
    kimi_linear,
    mixtures,
    searched,
    windowed,
)
from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.decoder import Decoder

Reader = Callable[[Config], Decoder]


@dataclass(frozen=True)
class Family:
    """Model types and architectures that one reader understands, and their class defaults."""

    name: str
    model_types: tuple[str, ...]
    architectures: tuple[str, ...]
    read: Reader
    defaults: Mapping[str, object] = field(default_factory=dict)


_TIED: Mapping[str, object] = {"tie_word_embeddings": True}
_GEMMA3: Mapping[str, object] = {
    "vocab_size": 262208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
}

FAMILIES: tuple[Family, ...] = (
    Family("Llama 2 and 3", ("llama",), ("LlamaForCausalLM",), dense.read_llama),
    Family(
        "Mistral",
        ("mistral", "ministral", "ministral3"),
        (
            "MistralForCausalLM",
            "MinistralForCausalLM",
            "Ministral3ForCausalLM",
            "Mistral3ForConditionalGeneration",
        ),
        dense.read_llama,
        {"num_key_value_heads": 8},
    ),
    Family("Phi-3", ("phi3",), ("Phi3ForCausalLM",), dense.read_llama),
    Family("SmolLM3", ("smollm3",), ("SmolLM3ForCausalLM",), dense.read_llama, _TIED),
    Family("Granite", ("granite",), ("GraniteForCausalLM",), dense.read_llama),
    Family("Seed-OSS", ("seed_oss",), ("SeedOssForCausalLM",), dense.read_seed),
    Family(
        "Qwen2 and Qwen2.5",
        ("qwen2", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "mimo"),
        (
            "Qwen2ForCausalLM",
            "Qwen2VLForConditionalGeneration",
            "Qwen2_5_VLForConditionalGeneration",
            "MiMoForCausalLM",
        ),
        dense.read_qwen2,
    ),
    Family(
        "Qwen3",
        ("qwen3", "qwen3_vl_text"),
        ("Qwen3ForCausalLM", "Qwen3VLForConditionalGeneration"),
        dense.read_qwen3,
    ),
    Family("Qwen2-MoE", ("qwen2_moe",), ("Qwen2MoeForCausalLM",), mixtures.read_qwen2_moe),
    Family(
        "Qwen3-MoE",
        ("qwen3_moe", "qwen3_vl_moe_text"),
        ("Qwen3MoeForCausalLM", "Qwen3VLMoeForConditionalGeneration"),
        mixtures.read_qwen3_moe,
    ),
    Family(
        "Qwen3-Next and Qwen3.5",
        ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"),
        (
            "Qwen3NextForCausalLM",
            "Qwen3_5ForCausalLM",
            "Qwen3_5MoeForCausalLM",
            "Qwen3_5ForConditionalGeneration",
            "Qwen3_5MoeForConditionalGeneration",
        ),
        hybrids.read_qwen_hybrid,
    ),
    Family("Gemma 1", ("gemma",), ("GemmaForCausalLM",), gemma.read_gemma, _TIED),
    Family("Gemma 2", ("gemma2",), ("Gemma2ForCausalLM",), gemma.read_gemma2, _TIED),
    Family(
        "Gemma 3",
        ("gemma3_text",),
        ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
        gemma.read_gemma3,
        _GEMMA3,
    ),
    Family(
        "Gemma 4",
        ("gemma4_text",),
        ("Gemma4ForCausalLM", "Gemma4ForConditionalGeneration"),
        gemma.read_gemma4,
        _TIED,
    ),
    Family("GLM-4", ("glm4",), ("Glm4ForCausalLM",), dense.read_glm4),
    Family("GLM-4.5 to 4.7", ("glm4_moe",), ("Glm4MoeForCausalLM",), mixtures.read_glm4_moe),
    Family("EXAONE 4", ("exaone4",), ("Exaone4ForCausalLM",), dense.read_exaone4),
    Family("Command R", ("cohere",), ("CohereForCausalLM",), dense.read_cohere, _TIED),
    Family("Command R7B and Command A", ("cohere2",), ("Cohere2ForCausalLM",), dense.read_cohere2, _TIED),
    Family("Nemotron-4 and Minitron", ("nemotron",), ("NemotronForCausalLM",), dense.read_nemotron),
    Family("Llama-Nemotron", ("nemotron-nas",), ("DeciLMForCausalLM",), searched.read_nemotron_nas),
    Family("ERNIE 4.5 MoE", ("ernie4_5_moe",), ("Ernie4_5_MoeForCausalLM",), mixtures.read_ernie, _TIED),
    Family("GLM-4.7-Flash", ("glm4_moe_lite",), ("Glm4MoeLiteForCausalLM",), mixtures.read_deepseek),
    Family("OLMo 2 and 3", ("olmo2", "olmo3"), ("Olmo2ForCausalLM", "Olmo3ForCausalLM"), dense.read_olmo2),
    Family("OLMoE", ("olmoe",), ("OlmoeForCausalLM",), mixtures.read_olmoe),
    Family("Mixtral", ("mixtral",), ("MixtralForCausalLM",), mixtures.read_mixtral, {"num_key_value_heads": 8}),
    Family(
        "DeepSeek-V2 and V3, Kimi K2",
        ("deepseek_v2", "deepseek_v3", "kimi_k2"),
        (
            "DeepseekV2ForCausalLM",
            "DeepseekV3ForCausalLM",
            "KimiK2ForCausalLM",
            "KimiK25ForConditionalGeneration",
        ),
        mixtures.read_deepseek,
    ),
    Family(
        "DeepSeek-V3.2, GLM-5",
        ("deepseek_v32", "glm_moe_dsa"),
        ("DeepseekV32ForCausalLM", "GlmMoeDsaForCausalLM"),
        mixtures.read_sparse_deepseek,
    ),
    Family("DeepSeek-V4", ("deepseek_v4",), ("DeepseekV4ForCausalLM",), compressed.read_deepseek_v4),
    Family("MiniMax M2", ("minimax_m2",), ("MiniMaxM2ForCausalLM",), mixtures.read_minimax_m2),
    Family(
        "MiniMax M3",
        ("minimax_m3", "minimax_m3_vl"),
        ("MiniMaxM3ForCausalLM", "MiniMaxM3SparseForCausalLM", "MiniMaxM3SparseForConditionalGeneration"),
        mixtures.read_minimax_m3,
    ),
    Family(
        "MiMo-V2",
        ("mimo_v2_flash", "mimo_v2"),
        ("MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM"),
        windowed.read_mimo_v2,
    ),
    Family(
        "Step 3.5 to 3.7",
        ("step3p5", "step3p7"),
        ("Step3p5ForCausalLM", "Step3p7ForConditionalGeneration", "Step3p7FlashForCausalLM"),
        windowed.read_step3,
    ),
    Family(
        "Kimi Linear and Kimi K3",
        ("kimi_linear",),
        ("KimiLinearForCausalLM", "KimiK3ForConditionalGeneration"),
        kimi_linear.read_kimi_linear,
    ),
    Family(
        "Llama 4",
        ("llama4_text",),
        ("Llama4ForCausalLM", "Llama4ForConditionalGeneration"),
        mixtures.read_llama4,
    ),
    Family("gpt-oss", ("gpt_oss",), ("GptOssForCausalLM",), mixtures.read_gpt_oss),
    Family("Nemotron-H and Nemotron 3", ("nemotron_h",), ("NemotronHForCausalLM",), hybrids.read_nemotron_h),
)


def find_family(config: Config, architectures: tuple[str, ...]) -> Family:
    """Return the family of a config.

    Raises
    ------
    InputError
        If the model type or an architecture is not understood; the message lists those that are.
    """
    model_type = config.word("model_type")
    if model_type is None:
        found = [item for item in FAMILIES if set(architectures) & set(item.architectures)]
        if len(found) == 1 and len(found[0].model_types) == 1:
            return found[0]
        raise config.refuse("model_type", "is missing; add it as in the model's published config.json")
    for family in FAMILIES:
        if model_type in family.model_types:
            strange = [name for name in architectures if name not in family.architectures]
            if strange:
                known = ", ".join(family.architectures)
                raise config.refuse(
                    "architectures",
                    f"architecture '{strange[0]}' is not understood with model_type '{model_type}', and is not "
                    f"guessed; understood with it: {known}",
                )
            return family
    raise _not_understood(config, model_type, architectures)


def _not_understood(config: Config, model_type: str, architectures: tuple[str, ...]) -> Exception:
    known = sorted(kind for family in FAMILIES for kind in family.model_types)
    name = f"{architectures[0]} of model_type " if architectures else ""
    return config.refuse(
        "model_type",
        f"architecture {name}'{model_type}' is not understood, and is not guessed; understood: {', '.join(known)}",
    )
