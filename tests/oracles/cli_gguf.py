"""Tiny models as GGUF files, named and ordered as llama.cpp's converter does."""
import json

import gguf
import numpy
import torch

NAMES = {
    "llama": {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
              "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
              "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
              "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"},
    "gpt2": {"transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
             "lm_head": "output", "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv",
             "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
}


def gguf_name(name, kind):
    """model.layers.3.mlp.up_proj.weight → blk.3.ffn_up.weight"""
    module, _, part = name.rpartition(".")
    pieces = module.split(".")
    block = next((i for i, piece in enumerate(pieces) if piece.isdigit()), None)
    if block is None:
        return f"{NAMES[kind][module]}.{part}"
    return f"blk.{pieces[block]}.{NAMES[kind]['.'.join(pieces[block + 1:])]}.{part}"


def interleave(weight, heads):
    """The order of rows that llama.cpp's converter gives to query and key: `permute` of convert_hf_to_gguf.py."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, half, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def deinterleave(weight, heads):
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def add_metadata(writer, config, kind):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if kind == "llama":
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
        if config.rope_parameters["rope_type"] == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(config.rope_parameters["factor"])
    else:
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)


def add_word_pieces(writer):
    """A vocabulary of a kind that is not supported: BERT's."""
    writer.add_tokenizer_model("bert")
    writer.add_token_list([f"▁a{i}" for i in range(320)])
    writer.add_token_types([1] * 320)


def add_sentencepiece(writer):
    """A vocabulary of the kind that LLaMA's first models have: bytes, letters, and words of the training text."""
    words = ["▁", *"abcdehilnorstuvy", "he", "th", "the", "▁the", "▁t", "▁r", "iv", "er", "▁river", "river", "st", "on", "es"]
    more = [f"▁a{i}" for i in range(320 - 259 - len(words))]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words, *more]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(rank) for rank in range(len(tokens) - 259)])
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)


def add_byte_level(tokenizer):
    """Adds a tokenizer of the kind that cli_models.save_tokenizer() trains: a vocabulary of byte-level BPE."""
    def add(writer):
        model = json.loads(tokenizer.to_str())["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].get)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types([3, 3, *[1] * (len(tokens) - 2)])
        writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
    return add


def add_rotary_factors(writer, model):
    """What the llama3 rule divides each frequency by; the converter writes them in place of the rule."""
    scaled = model.model.rotary_emb.inv_freq.double()
    head_size = model.config.hidden_size // model.config.num_attention_heads
    plain = model.config.rope_parameters["rope_theta"] ** -(torch.arange(0, head_size, 2).double() / head_size)
    factors = (plain / scaled).float()
    if model.config.rope_parameters["original_max_position_embeddings"] == 8192:
        factors = factors.bfloat16().float()  # as some converters leave them
    writer.add_tensor("rope_freqs.weight", factors.numpy())


def write(path, model, kind, block_type, more=lambda writer: None):
    """Writes `model`, and gives it the weights that the blocks stand for. more: adds to the file."""
    writer = gguf.GGUFWriter(path, kind)
    add_metadata(writer, model.config, kind)
    if kind == "llama" and model.config.rope_parameters["rope_type"] == "llama3":
        add_rotary_factors(writer, model)
    more(writer)
    heads = {"q_proj": model.config.num_attention_heads,
             "k_proj": getattr(model.config, "num_key_value_heads", None)}
    state = model.state_dict()
    for name, tensor in state.items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        values = tensor.float().numpy()
        transposed = kind == "gpt2" and values.ndim == 2 and ".c_" in name
        rotary = next((count for part, count in heads.items() if part in name), None)
        values = values.T.copy() if transposed else values
        values = interleave(values, rotary) if rotary else values
        if values.ndim == 1:
            writer.add_tensor(gguf_name(name, kind), values)
            continue
        blocks = gguf.quants.quantize(values, block_type)
        writer.add_tensor(gguf_name(name, kind), blocks, raw_dtype=block_type)
        read = gguf.quants.dequantize(blocks, block_type)
        read = deinterleave(read, rotary) if rotary else read
        state[name] = torch.from_numpy(numpy.ascontiguousarray(read.T if transposed else read)).float()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight")
    model.load_state_dict(state, strict=False)
