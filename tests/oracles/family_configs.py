"""Tiny configs of every family, which vary what the family's config can vary and what programs get wrong."""
import dataclasses

import transformers

import chatglm

VOCABULARY = 160
BEGIN, END = 0, 1
CONTEXT = 64
WINDOW = 8  # keys that a query sees: fewer than a row of the tests has


@dataclasses.dataclass(frozen=True)
class Family:
    """base: keys of all configs; cases: name → what it changes. attention: transformers' code for it."""
    model: type
    config: type
    base: dict
    cases: dict
    attention: str = "eager"


TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": None}
# Large enough that logits differ by more than rounding; three heads of 16.
COMMON = TOKENS | {"initializer_range": 0.15, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3,
                   "max_position_embeddings": CONTEXT}
GATED = COMMON | {"intermediate_size": 80, "num_key_value_heads": 1}
SIX_HEADS = {"num_attention_heads": 6, "num_key_value_heads": 2}

LINEAR = {"rope_type": "linear", "factor": 2.5, "rope_theta": 5000.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 5000.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32, "rope_theta": 5000.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 5000.0}
YARN_IN_FULL = YARN | {"beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.3}
YARN_MSCALE = YARN | {"mscale": 0.7, "mscale_all_dim": 1.2, "truncate": False}


def longrope(frequencies, **more):
    return {"rope_type": "longrope", "rope_theta": 5000.0, "short_factor": [1 + 0.1 * i for i in range(frequencies)],
            "long_factor": [1.5 + 0.7 * i for i in range(frequencies)]} | more


def base_and_scaled(partial, **more):
    """Rotary parameters of families whose heads are rotated in part."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 3000.0, "partial_rotary_factor": partial} | more}


def family(name, base, cases, attention="eager"):
    return Family(getattr(transformers, f"{name}ForCausalLM"), getattr(transformers, f"{name}Config"), base, cases,
                  attention)


FAMILIES = {
    "gpt2": Family(transformers.GPT2LMHeadModel, transformers.GPT2Config, TOKENS | {
        "initializer_range": 0.15, "n_embd": 48, "n_layer": 2, "n_head": 3, "n_positions": CONTEXT}, {
            "tied": {},
            "untied, exact gelu": {"tie_word_embeddings": False, "n_inner": 112, "activation_function": "gelu"},
            "relu": {"activation_function": "relu", "layer_norm_epsilon": 1e-3},
        }),
    "opt": family("OPT", TOKENS | {
        "init_std": 0.15, "hidden_size": 48, "ffn_dim": 112, "num_hidden_layers": 2, "num_attention_heads": 3,
        "max_position_embeddings": CONTEXT}, {
            "norm before": {},
            "norm after, projected embedding": {"do_layer_norm_before": False, "word_embed_proj_dim": 32,
                                                "init_std": 0.3},
            "projected embedding": {"word_embed_proj_dim": 32},
            "no biases, gelu, untied": {"enable_bias": False, "activation_function": "gelu",
                                        "tie_word_embeddings": False},
            "no final norm": {"_remove_final_layer_norm": True},
        }),
    "bloom": family("Bloom", TOKENS | {
        "initializer_range": 0.15, "hidden_size": 48, "n_layer": 2, "n_head": 3}, {
            "three heads": {},
            "six heads, residual from the norm": {"n_head": 6, "apply_residual_connection_post_layernorm": True},
            "four heads, untied": {"n_head": 4, "hidden_size": 64, "tie_word_embeddings": False},
        }),
    "llama": family("Llama", GATED, {
        "one key": {},
        "own head size, all biases, tied": {"head_dim": 32, "attention_bias": True, "mlp_bias": True,
                                            "tie_word_embeddings": True},
        "two keys, linear": SIX_HEADS | {"rope_parameters": LINEAR},
        "llama3": {"rope_parameters": LLAMA3},
        "dynamic": {"rope_parameters": DYNAMIC},
        "yarn": {"rope_parameters": YARN},
        "yarn in full": {"rope_parameters": YARN_IN_FULL},
        "yarn with mscale": {"rope_parameters": YARN_MSCALE},
        "longrope": {"rope_parameters": longrope(8, original_max_position_embeddings=16, factor=4.0)},
    }),
    "mistral": family("Mistral", GATED, {
        "window": {"sliding_window": WINDOW},
        "no window, own head size": {"sliding_window": None, "head_dim": 32, "num_key_value_heads": 3},
        "tied, yarn": {"sliding_window": None, "tie_word_embeddings": True, "rope_parameters": YARN} | SIX_HEADS,
    }),
    "smollm3": family("SmolLM3", GATED | {"num_hidden_layers": 5}, {
        "every fourth without positions": {},
        "list of layers, window": SIX_HEADS | {"num_hidden_layers": 3, "no_rope_layers": [0, 1, 0],
                                               "use_sliding_window": True, "sliding_window": WINDOW},
        "biases, untied, yarn": {"num_hidden_layers": 2, "no_rope_layer_interval": 2, "attention_bias": True,
                                 "mlp_bias": True, "tie_word_embeddings": False, "rope_parameters": YARN},
    }),
    "chatglm": Family(chatglm.ChatGLMForConditionalGeneration, chatglm.ChatGLMConfig, {
        "padded_vocab_size": VOCABULARY, "bos_token_id": BEGIN, "eos_token_id": END, "initializer_range": 0.15,
        "num_layers": 2, "hidden_size": 48, "num_attention_heads": 3, "kv_channels": 16, "ffn_hidden_size": 80,
        "seq_length": CONTEXT, "add_qkv_bias": True, "multi_query_attention": True}, {
            "one key": {},
            "two keys, longer base, own head size": {"num_attention_heads": 6, "multi_query_group_num": 2,
                                                     "kv_channels": 32, "rope_ratio": 50, "layernorm_epsilon": 1e-3},
            "a key for each query, all biases": {"multi_query_attention": False, "add_bias_linear": True,
                                                 "add_qkv_bias": False},
            "no biases, residual from the norm, no final norm": {
                "add_qkv_bias": False, "apply_residual_connection_post_layernorm": True, "post_layer_norm": False},
        }),
    # The converter to GGUF writes this epsilon and this base whatever the config says.
    "glm": family("Glm", GATED | {"head_dim": 16, "rms_norm_eps": 1e-5}, {
        "half rotary": {},
        "no biases, tied, own head size": {"attention_bias": False, "tie_word_embeddings": True, "head_dim": 32}
        | base_and_scaled(0.25),
        "two keys, linear": SIX_HEADS | {"head_dim": 8, "rms_norm_eps": 1e-3} | base_and_scaled(
            1.0, rope_type="linear", factor=2.5),
    }),
    "glm4": family("Glm4", GATED | {"head_dim": 16}, {
        "half rotary": {},
        "no biases, tied, own head size": {"attention_bias": False, "tie_word_embeddings": True, "head_dim": 32}
        | base_and_scaled(0.25),
        "two keys, yarn": SIX_HEADS | {"head_dim": 8, "rms_norm_eps": 1e-3} | base_and_scaled(1.0, **YARN),
    }),
    "gpt_neox": family("GPTNeoX", COMMON | {"intermediate_size": 112}, {
        "parallel": {},
        "one after the other": {"use_parallel_residual": False, "hidden_act": "gelu_new"} | base_and_scaled(1.0),
        "no attention biases, tied, linear": {"attention_bias": False, "tie_word_embeddings": True,
                                              "num_attention_heads": 6} | base_and_scaled(
                                                  0.5, rope_type="linear", factor=2.5),
    }),
    "gptj": family("GPTJ", TOKENS | {
        "initializer_range": 0.15, "n_embd": 48, "n_layer": 2, "n_head": 3, "n_positions": CONTEXT, "rotary_dim": 4}, {
            "rotary in part": {},
            "whole heads, n_inner, exact gelu": {"rotary_dim": 16, "n_inner": 112, "activation_function": "gelu"},
            "tied": {"tie_word_embeddings": True, "rotary_dim": 6, "n_head": 6},
        }),
    "qwen2": family("Qwen2", GATED, {
        "one key": {},
        "window from the second layer": {"num_hidden_layers": 3, "use_sliding_window": True,
                                         "sliding_window": WINDOW, "max_window_layers": 1},
        "list of layers": {"layer_types": ["sliding_attention", "full_attention"], "use_sliding_window": True,
                           "sliding_window": WINDOW} | SIX_HEADS,
        "tied, yarn": {"tie_word_embeddings": True, "rope_parameters": YARN},
    }),
    "qwen3": family("Qwen3", GATED | {"head_dim": 32}, {
        "own head size": {},
        "window, biases": {"num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": WINDOW,
                           "max_window_layers": 1, "attention_bias": True},
        "tied, yarn": {"tie_word_embeddings": True, "rope_parameters": YARN, "head_dim": 16} | SIX_HEADS,
    }),
    "gemma": family("Gemma", GATED | {"head_dim": 32}, {
        "one key": {},
        "untied, biases": {"tie_word_embeddings": False, "attention_bias": True, "head_dim": 16} | SIX_HEADS,
        "another base": {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}},
        "gelu that means tanh": {"hidden_act": "gelu"},
    }),
    "gemma2": family("Gemma2", GATED | {
        "num_hidden_layers": 3, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": WINDOW,
        "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}, {
            "caps": {},
            "own scale, list of layers": {"query_pre_attn_scalar": 11, "attention_bias": True} | SIX_HEADS | {
                "layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
            "no caps, untied": {"attn_logit_softcapping": None, "final_logit_softcapping": None,
                                "tie_word_embeddings": False},
        }),
    "gemma3": Family(transformers.Gemma3ForCausalLM, transformers.Gemma3TextConfig, GATED | {
        "num_hidden_layers": 7, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": WINDOW}, {
            "every sixth sees all": {},
            "own scale, list of layers, both bases": {
                "num_hidden_layers": 3, "query_pre_attn_scalar": 11, "attention_bias": True,
                "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
                "rope_parameters": {"full_attention": LINEAR,
                                    "sliding_attention": {"rope_type": "default", "rope_theta": 300.0}}} | SIX_HEADS,
            "cap, untied": {"num_hidden_layers": 2, "final_logit_softcapping": 3.0, "tie_word_embeddings": False},
        }),
    "phi": family("Phi", COMMON | {"intermediate_size": 192}, {
        "half rotary": {},
        "norms of queries and keys": {"qk_layernorm": True, "intermediate_size": 112} | SIX_HEADS,
        "exact gelu, tied, linear": {"hidden_act": "gelu", "tie_word_embeddings": True} | base_and_scaled(
            0.25, rope_type="linear", factor=2.5),
    }),
    "phi3": family("Phi3", GATED | {"original_max_position_embeddings": CONTEXT}, {
        "plain": {},
        "beyond the original context": {"original_max_position_embeddings": 16, "rope_parameters": longrope(8)},
        "within the original context": {
            "max_position_embeddings": 4 * CONTEXT, "tie_word_embeddings": True,
            "rope_parameters": longrope(6, partial_rotary_factor=0.75)},
        "window, two keys": SIX_HEADS | {"sliding_window": WINDOW},
        "attention factor": {"original_max_position_embeddings": 16,
                             "rope_parameters": longrope(8, attention_factor=1.25)},
    }),
    # eager attention adds the positions' bias twice, in transformers 5.23
    "falcon": family("Falcon", COMMON | {"num_kv_heads": 1}, {
        "one key": {},
        "groups, two norms": {"new_decoder_architecture": True, "num_attention_heads": 6, "num_kv_heads": 2},
        "groups, one norm": {"new_decoder_architecture": True, "num_attention_heads": 6, "num_kv_heads": 3,
                             "num_ln_in_parallel_attn": 1, "tie_word_embeddings": False},
        "alibi, one after the other, biases": {"alibi": True, "multi_query": False, "parallel_attn": False,
                                               "bias": True, "num_kv_heads": None, "ffn_hidden_size": 112},
        "one key, one after the other, linear": {"parallel_attn": False, "rope_parameters": LINEAR},
    }, attention="sdpa"),
    "stablelm": family("StableLm", GATED, {
        "quarter rotary": {"num_key_value_heads": 3},
        "parallel, norms of queries and keys": {"qk_layernorm": True, "use_parallel_residual": True},
        "biases, tied": {"use_qkv_bias": True, "tie_word_embeddings": True} | SIX_HEADS | base_and_scaled(0.5),
    }),
    "starcoder2": family("Starcoder2", GATED, {
        "one key": {},
        "window, exact gelu": {"sliding_window": WINDOW, "hidden_act": "gelu", "norm_epsilon": 1e-3},
        "no biases, untied, own head size, yarn": {"use_bias": False, "tie_word_embeddings": False, "head_dim": 32,
                                                   "rope_parameters": YARN},
        "two keys, untied, linear": SIX_HEADS | {"tie_word_embeddings": False, "rope_parameters": LINEAR},
    }),
    "olmo2": family("Olmo2", GATED, {
        "one key": {},
        "biases, own head size, tied, yarn": {"attention_bias": True, "head_dim": 32, "tie_word_embeddings": True,
                                              "rope_parameters": YARN},
        "two keys": SIX_HEADS | {"rms_norm_eps": 1e-3},
    }),
    "olmo3": family("Olmo3", GATED | {"num_hidden_layers": 5, "sliding_window": WINDOW}, {
        "every fourth sees all": {},
        "list of layers, both bases": {
            "num_hidden_layers": 3, "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
            "rope_parameters": {"full_attention": LINEAR,
                                "sliding_attention": {"rope_type": "default", "rope_theta": 300.0}}} | SIX_HEADS,
        "biases, own head size, tied, yarn": SIX_HEADS | {
            "attention_bias": True, "head_dim": 32, "tie_word_embeddings": True,
            "rms_norm_eps": 1e-3, "rope_parameters": {"full_attention": YARN, "sliding_attention": {
                "rope_type": "default", "rope_theta": 500000.0}}},
    }),
    "ernie4_5": family("Ernie4_5", GATED | {"head_dim": 16}, {
        "one key": {},
        "biases, untied, own head size": {"use_bias": True, "tie_word_embeddings": False, "head_dim": 32},
        "two keys, yarn": SIX_HEADS | {"head_dim": 8, "rms_norm_eps": 1e-3, "rope_parameters": YARN},
    }),
    "seed_oss": family("SeedOss", GATED | {"head_dim": 16}, {
        "biases of query, key and value": {},
        "all biases, own head size, tied": {"attention_out_bias": True, "mlp_bias": True, "head_dim": 32,
                                            "tie_word_embeddings": True},
        "no biases, two keys, yarn": SIX_HEADS | {"attention_bias": False, "head_dim": 8, "rms_norm_eps": 1e-3,
                                                  "rope_parameters": YARN},
    }),
    "granite": family("Granite", GATED, {
        "multipliers": {"embedding_multiplier": 3.0, "residual_multiplier": 0.4, "attention_multiplier": 0.11,
                        "logits_scaling": 1.7},
        "multipliers that are one, biases": {"attention_bias": True, "mlp_bias": True},
        "tied, two keys, linear": {"tie_word_embeddings": True, "attention_multiplier": 0.4, "logits_scaling": 0.6,
                                   "rope_parameters": LINEAR} | SIX_HEADS,
    }),
    "cohere": family("Cohere", GATED | {"logit_scale": 0.7}, {
        "one key": {},
        "norms of queries and keys, biases, untied": {"use_qk_norm": True, "attention_bias": True,
                                                      "tie_word_embeddings": False} | SIX_HEADS,
        "norms of queries and keys": {"use_qk_norm": True, "logit_scale": 1.5},
    }),
    "mpt": family("Mpt", TOKENS | {
        "initializer_range": 0.15, "d_model": 48, "n_heads": 3, "n_layers": 2, "max_seq_len": CONTEXT}, {
            "three heads, clipped": {"attn_config": {"clip_qkv": 1.0}},
            "four heads, clipped": {"d_model": 64, "n_heads": 4, "attn_config": {"clip_qkv": 0.8}},
            "six heads, scaled, untied": {"n_heads": 6, "tie_word_embeddings": False,
                                          "attn_config": {"softmax_scale": 0.5}},
        }),
    "mixtral": family("Mixtral", GATED | {"num_local_experts": 4, "num_experts_per_tok": 2}, {
        "two of four": {},
        "three of five, window, tied": {"num_local_experts": 5, "num_experts_per_tok": 3, "sliding_window": WINDOW,
                                        "tie_word_embeddings": True, "head_dim": 32},
    }),
    "qwen3_moe": family("Qwen3Moe", GATED | {
        "moe_intermediate_size": 32, "num_experts": 6, "num_experts_per_tok": 2, "norm_topk_prob": True,
        "head_dim": 32}, {
            "two of six": {},
            "not renormalised, some dense": {"num_hidden_layers": 5, "norm_topk_prob": False,
                                             "decoder_sparse_step": 2, "mlp_only_layers": [3]},
            "window, biases, tied": {"use_sliding_window": True, "sliding_window": WINDOW, "attention_bias": True,
                                     "tie_word_embeddings": True, "head_dim": 8} | SIX_HEADS,
        }),
}
