"""Configs of published checkpoints, cut down to the fields that are read, with their published totals."""

from __future__ import annotations

from shardproof.instances.huggingface import from_config

DIMENSIONS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")


def config(model_type, architecture, shape, intermediate, vocab, **more):
    return {
        "architectures": [architecture],
        "model_type": model_type,
        **dict(zip(DIMENSIONS, shape, strict=True)),
        "intermediate_size": intermediate,
        "vocab_size": vocab,
        "max_position_embeddings": 32768,
        "torch_dtype": "bfloat16",
        **more,
    }


def read(tree, **options):
    return from_config(tree, name="model", source="test", **options)


LLAMA = config("llama", "LlamaForCausalLM", (4096, 32, 32, 8), 14336, 128256)
QWEN_MOE = config(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    (2048, 48, 32, 4),
    6144,
    151936,
    head_dim=128,
    num_experts=128,
    num_experts_per_tok=8,
    moe_intermediate_size=768,
)
LATENT = config(
    "deepseek_v2",
    "DeepseekV2ForCausalLM",
    (5120, 60, 128, 128),
    12288,
    102400,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    n_routed_experts=160,
    n_shared_experts=2,
    num_experts_per_tok=6,
    moe_intermediate_size=1536,
    first_k_dense_replace=1,
    topk_method="group_limited_greedy",
)
QWEN_NEXT = config(
    "qwen3_next",
    "Qwen3NextForCausalLM",
    (2048, 48, 16, 2),
    5120,
    151936,
    head_dim=256,
    linear_num_key_heads=16,
    linear_num_value_heads=32,
    linear_key_head_dim=128,
    linear_value_head_dim=128,
    num_experts=512,
    num_experts_per_tok=10,
    moe_intermediate_size=512,
    shared_expert_intermediate_size=512,
)

# Totals as the checkpoints' indices and model cards give them.
PUBLISHED = {
    "Phi-3-mini": (3_821_079_552, config("phi3", "Phi3ForCausalLM", (3072, 32, 32, 32), 8192, 32064)),
    "Phi-4": (14_659_507_200, config("phi3", "Phi3ForCausalLM", (5120, 40, 40, 10), 17920, 100352)),
    "Phi-4-mini": (
        3_836_021_760,
        config("phi3", "Phi3ForCausalLM", (3072, 32, 24, 8), 8192, 200064, tie_word_embeddings=True),
    ),
    "OLMo-2-13B": (13_716_198_400, config("olmo2", "Olmo2ForCausalLM", (5120, 40, 40, 40), 13824, 100352)),
    "OLMoE-1B-7B": (
        6_919_161_856,
        config(
            "olmoe",
            "OlmoeForCausalLM",
            (2048, 16, 16, 16),
            1024,
            50304,
            num_experts=64,
            num_experts_per_tok=8,
        ),
    ),
    "Gemma-7B": (8_537_680_896, config("gemma", "GemmaForCausalLM", (3072, 28, 16, 16), 24576, 256000, head_dim=256)),
    "Gemma-3-1B": (
        999_885_952,
        config("gemma3_text", "Gemma3ForCausalLM", (1152, 26, 4, 1), 6912, 262144, head_dim=256),
    ),
    "SmolLM3-3B": (3_075_098_624, config("smollm3", "SmolLM3ForCausalLM", (2048, 36, 16, 4), 11008, 128256)),
    "Seed-OSS-36B": (
        36_151_104_512,
        config("seed_oss", "SeedOssForCausalLM", (5120, 64, 80, 8), 27648, 155136, head_dim=128),
    ),
    "GLM-4-9B": (
        9_400_279_040,
        config("glm4", "Glm4ForCausalLM", (4096, 40, 32, 2), 13696, 151552, attention_bias=True),
    ),
    "GLM-4-32B": (32_566_081_536, config("glm4", "Glm4ForCausalLM", (6144, 61, 48, 2), 23040, 151552, head_dim=128)),
    "Granite-3.3-8B": (
        8_170_864_640,
        config("granite", "GraniteForCausalLM", (4096, 40, 32, 8), 12800, 49159, tie_word_embeddings=True),
    ),
    "Mistral-7B": (7_241_732_096, config("mistral", "MistralForCausalLM", (4096, 32, 32, 8), 14336, 32000)),
    "Ministral-8B": (
        8_019_808_256,
        config("mistral", "MistralForCausalLM", (4096, 36, 32, 8), 12288, 131072, head_dim=128),
    ),
    "DeepSeek-V2": (235_741_434_880, LATENT),
    "Qwen2.5-0.5B": (
        494_032_768,
        config("qwen2", "Qwen2ForCausalLM", (896, 24, 14, 2), 4864, 151936, tie_word_embeddings=True),
    ),
    "Qwen2.5-32B": (32_763_876_352, config("qwen2", "Qwen2ForCausalLM", (5120, 64, 40, 8), 27648, 152064)),
    "Llama-3.2-1B": (
        1_235_814_400,
        config("llama", "LlamaForCausalLM", (2048, 16, 32, 8), 8192, 128256, tie_word_embeddings=True),
    ),
    "Qwen3-Next-80B-A3B": (79_674_391_296, QWEN_NEXT),
    "Command-R-plus": (
        103_810_674_688,
        config("cohere", "CohereForCausalLM", (12288, 64, 96, 8), 33792, 256000, use_qk_norm=True),
    ),
    "Command-A": (111_057_580_032, config("cohere2", "Cohere2ForCausalLM", (12288, 64, 96, 8), 36864, 256000)),
    "EXAONE-4.0-32B": (
        32_003_216_384,
        config("exaone4", "Exaone4ForCausalLM", (5120, 64, 40, 8), 27392, 102400),
    ),
    "ERNIE-4.5-21B-A3B": (
        21_825_437_888,
        config(
            "ernie4_5_moe",
            "Ernie4_5_MoeForCausalLM",
            (2560, 28, 20, 4),
            12288,
            103424,
            moe_num_experts=64,
            moe_k=6,
            moe_intermediate_size=1536,
            moe_num_shared_experts=2,
        ),
    ),
}
