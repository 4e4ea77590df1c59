"""Hugging Face configs: vision towers."""

from __future__ import annotations

import pytest
import yaml

from shardproof.instances import catalogue
from tests.oracles.published_configs import read

SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "image_size": 896,
    "patch_size": 14,
}
QWEN_TOWER = {
    "model_type": "qwen3_vl",
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "out_hidden_size": 4096,
    "patch_size": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [8, 16, 24],
}
PIXTRAL = {
    "model_type": "pixtral",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "patch_size": 14,
}
LLAMA_TOWER = {
    "model_type": "llama4_vision_model",
    "hidden_size": 1408,
    "intermediate_size": 5632,
    "num_hidden_layers": 34,
    "image_size": 336,
    "patch_size": 14,
    "projector_input_dim": 4096,
    "projector_output_dim": 4096,
    "vision_output_dim": 4096,
}


@pytest.mark.parametrize(
    ("name", "architecture", "tower", "total"),
    [
        ("gemma-3-4b", "Gemma3ForConditionalGeneration", SIGLIP, 4_300_079_472),
        ("qwen3-8b", "Qwen3VLForConditionalGeneration", QWEN_TOWER, 8_767_123_696),
        ("mistral-small-3.1-24b", "Mistral3ForConditionalGeneration", PIXTRAL, 24_011_361_280),
        ("llama-4-maverick", "Llama4ForConditionalGeneration", LLAMA_TOWER, 401_583_781_376),
    ],
)
def test_towers_complete_the_published_checkpoints(name, architecture, tower, total):
    text = yaml.safe_load((catalogue.FOLDER / "models" / f"{name}.yaml").read_text())["config"]
    model = read({"architectures": [architecture], "text_config": text, "vision_config": tower})
    assert model.parameters + model.extra_parameters == total
