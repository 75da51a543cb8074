"""Tiny multimodal models, made by transformers: a language model of a family, a tower for images, and what joins them."""
from transformers import (Gemma3Config, Gemma3ForConditionalGeneration, Idefics3Config,
                          Idefics3ForConditionalGeneration, LlavaConfig, LlavaForConditionalGeneration, Mistral3Config,
                          Mistral3ForConditionalGeneration, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration,
                          Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen3VLConfig,
                          Qwen3VLForConditionalGeneration, SmolVLMConfig, SmolVLMForConditionalGeneration)

import torch

VOCABULARY = 96
IDS = torch.randint(2, VOCABULARY - 8, (3, 24), generator=torch.Generator().manual_seed(5))
IMAGE = {"image_token_id": 95, "video_token_id": 94, "vision_start_token_id": 93, "vision_end_token_id": 92}

TEXT = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.15,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
         "image_size": 16, "patch_size": 8}
QWEN_TOWER = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
SECTIONS = {"rope_type": "default", "rope_theta": 5000.0, "mrope_section": [2, 3, 3]}


def text(**changes):
    return {**TEXT, "head_dim": 16, **changes}


MODELS = {
    "gemma3": (Gemma3ForConditionalGeneration, lambda: Gemma3Config(
        text_config=text(query_pre_attn_scalar=16, sliding_window=8, num_hidden_layers=3, layer_types=[
            "sliding_attention", "full_attention", "sliding_attention"]),
        vision_config=TOWER, mm_tokens_per_image=4, image_token_index=95)),
    "mistral3": (Mistral3ForConditionalGeneration, lambda: Mistral3Config(
        text_config=text(model_type="mistral", sliding_window=None), image_token_index=95, tie_word_embeddings=False,
        vision_config={**TOWER, "model_type": "pixtral", "head_dim": 16})),
    "llava": (LlavaForConditionalGeneration, lambda: LlavaConfig(
        text_config=text(model_type="llama"), image_token_index=95,
        vision_config={**TOWER, "model_type": "clip_vision_model", "projection_dim": 32})),
    "llava of qwen2, tied": (LlavaForConditionalGeneration, lambda: LlavaConfig(
        text_config={**TEXT, "model_type": "qwen2"}, image_token_index=95, tie_word_embeddings=True,
        vision_config={**TOWER, "model_type": "siglip_vision_model"})),
    "qwen2_vl": (Qwen2VLForConditionalGeneration, lambda: Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": SECTIONS}, **IMAGE,
        vision_config={"depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2})),
    "qwen2_5_vl": (Qwen2_5_VLForConditionalGeneration, lambda: Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": SECTIONS}, **IMAGE, tie_word_embeddings=True,
        vision_config={**QWEN_TOWER, "fullatt_block_indexes": [0]})),
    "qwen3_vl": (Qwen3VLForConditionalGeneration, lambda: Qwen3VLConfig(
        text_config=text(rope_parameters={**SECTIONS, "mrope_interleaved": True}), **IMAGE,
        vision_config={**QWEN_TOWER, "deepstack_visual_indexes": [0], "num_position_embeddings": 16})),
    "smolvlm": (SmolVLMForConditionalGeneration, lambda: SmolVLMConfig(
        text_config=text(model_type="llama"), vision_config=TOWER, image_token_id=95, scale_factor=2)),
    "idefics3": (Idefics3ForConditionalGeneration, lambda: Idefics3Config(
        text_config=text(model_type="llama"), vision_config=TOWER, image_token_id=95, scale_factor=2)),
}


def make(case):
    torch.manual_seed(0)
    model_class, config = MODELS[case]
    model = model_class(config())
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:  # norms and biases other than 1 and 0, which would hide mistakes
            parameter.data = (0.0 if name.endswith("bias") else 1.0) + 0.2 * torch.randn(
                parameter.shape, generator=generator)
    return model.eval()


def opened(folder, case):
    return MODELS[case][0].from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def logits(model, ids=IDS):
    return model(input_ids=ids).logits.float()
