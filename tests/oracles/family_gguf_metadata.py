"""The metadata of a GGUF file, as llama.cpp's converter writes it for each family: also what it leaves out."""
import math

import gguf


def head_size(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def rotated(config):
    """Elements of a head with rotary positions; of the width and not of head_dim."""
    return int(config.rope_parameters["partial_rotary_factor"]
               * (config.hidden_size // config.num_attention_heads))


def sizes(writer, config, context, intermediate):
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(context)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(intermediate)
    writer.add_head_count(config.num_attention_heads)


def scaling(writer, rule):
    if rule["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rule["factor"])
    elif rule["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rule["factor"])
        writer.add_rope_scaling_orig_ctx_len(rule["original_max_position_embeddings"])


def common(writer, config):
    """What every architecture gets that has no rules of its own."""
    sizes(writer, config, config.max_position_embeddings, config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    rule = config.rope_parameters.get("full_attention", config.rope_parameters)
    scaling(writer, rule)
    writer.add_rope_freq_base(rule["rope_theta"])
    if "sliding_attention" in config.rope_parameters:
        writer.add_rope_freq_base_swa(config.rope_parameters["sliding_attention"]["rope_theta"])
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    else:
        writer.add_layer_norm_eps(config.layer_norm_eps)
    if hasattr(config, "num_experts_per_tok"):
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if getattr(config, "head_dim", None) is not None:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)


def gpt2(writer, config):
    sizes(writer, config, config.n_positions, 4 * config.n_embd)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def bloom(writer, config):
    # A config without seq_length gets the width for its context.
    sizes(writer, config, getattr(config, "seq_length", config.hidden_size), 4 * config.hidden_size)
    writer.add_head_count_kv(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def llama(writer, config):
    common(writer, config)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(head_size(config))


def olmo3(writer, config):
    common(writer, config)
    writer.add_sliding_window(config.sliding_window)
    writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config.layer_types])


def granite(writer, config):
    llama(writer, config)
    writer.add_attention_scale(config.attention_multiplier)
    writer.add_embedding_scale(config.embedding_multiplier)
    writer.add_residual_scale(config.residual_multiplier)
    writer.add_logit_scale(config.logits_scaling)


def chatglm(writer, config):
    sizes(writer, config, config.seq_length, config.ffn_hidden_size)
    writer.add_head_count_kv(config.multi_query_group_num)
    writer.add_layer_norm_rms_eps(config.layernorm_epsilon)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads // 2)
    writer.add_rope_freq_base(10000 * config.rope_ratio)


def glm(writer, config):
    # The context, the epsilon and the base are not those of the config.
    sizes(writer, config, config.hidden_size, config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(rotated(config))
    writer.add_rope_freq_base(10000)


def glm4(writer, config):
    common(writer, config)
    writer.add_rope_dimension_count(int(head_size(config) * config.rope_parameters["partial_rotary_factor"]))


def gpt_neox(writer, config):
    sizes(writer, config, config.max_position_embeddings, config.intermediate_size)
    writer.add_rope_dimension_count(rotated(config))
    writer.add_parallel_residual(config.use_parallel_residual)
    writer.add_layer_norm_eps(config.layer_norm_eps)


def gemma(writer, config):
    sizes(writer, config, config.max_position_embeddings, config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)


def gemma2(writer, config):
    gemma(writer, config)
    writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    writer.add_final_logit_softcapping(config.final_logit_softcapping)
    writer.add_sliding_window(config.sliding_window)


def gemma3(writer, config):
    common(writer, config)
    if config.final_logit_softcapping:
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    writer.add_sliding_window(config.sliding_window)


def phi(writer, config):
    sizes(writer, config, config.max_position_embeddings, 4 * config.hidden_size)
    writer.add_head_count_kv(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_rope_dimension_count(rotated(config))


def phi3(writer, config):
    rule = config.rope_parameters
    original = rule.get("original_max_position_embeddings", config.original_max_position_embeddings)
    sizes(writer, config, config.max_position_embeddings, config.intermediate_size)
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(rotated(config))
    writer.add_rope_freq_base(rule["rope_theta"])
    writer.add_sliding_window(config.sliding_window or 0)
    if "long_factor" in rule:
        factor = config.max_position_embeddings / original
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(factor) / math.log(original)))


def falcon(writer, config):
    sizes(writer, config, 2048, 4 * config.hidden_size)
    writer.add_tensor_data_layout("jploski")
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def stablelm(writer, config):
    sizes(writer, config, config.max_position_embeddings, config.intermediate_size)
    writer.add_rope_dimension_count(rotated(config))
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_parallel_residual(config.use_parallel_residual)
    writer.add_layer_norm_eps(config.layer_norm_eps)


def starcoder2(writer, config):
    sizes(writer, config, config.max_position_embeddings, config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    scaling(writer, config.rope_parameters)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_eps(config.norm_epsilon)


def cohere(writer, config):
    common(writer, config)
    writer.add_logit_scale(config.logit_scale)
    writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)


def mpt(writer, config):
    sizes(writer, config, config.max_seq_len, 4 * config.d_model)
    writer.add_layer_norm_eps(1e-5)
    if config.attn_config.clip_qkv is not None:
        writer.add_clamp_kqv(config.attn_config.clip_qkv)
    writer.add_max_alibi_bias(config.attn_config.alibi_bias_max)


def qwen3_moe(writer, config):
    common(writer, config)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
