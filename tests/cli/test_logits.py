"""`normtweak logits` in F32 against transformers, over families, shapes, configs and files."""
import pathlib

import gguf
import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import cli_models
import cli_program

IDS = cli_models.ids(3, 48)
TOLERANCE = 1e-4  # of the largest logit: sums in another order differ by a few ulp times the depth

LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32, "rope_theta": 5000.0}

LLAMA = {
    "grouped queries": {},
    "a key for every query": {"num_key_value_heads": 4},
    "one key": {"num_key_value_heads": 1, "hidden_size": 48, "num_hidden_layers": 4},
    "head size of its own": {"head_dim": 24},
    "tied": {"tie_word_embeddings": True},
    "attention biases": {"attention_bias": True},
    "MLP biases": {"mlp_bias": True, "rms_norm_eps": 1e-3},
    "linear scaling": {"rope_parameters": LINEAR},
    "llama3 scaling": {"rope_parameters": LLAMA3},
}
GPT2 = {
    "plain": {},
    "wide and deep": {"n_embd": 96, "n_head": 6, "n_layer": 4},
    "n_inner": {"n_inner": 80},
    "exact gelu": {"activation_function": "gelu"},
    "relu": {"activation_function": "relu"},
    "tanh gelu": {"activation_function": "gelu_pytorch_tanh", "layer_norm_epsilon": 1e-3},
    "untied": {"tie_word_embeddings": False},
}


def compare(found, expected, tolerance=TOLERANCE):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()
    assert expected.std() > 0.1


def check(model, folder, **options):
    cli_models.save(model, folder, **options)
    compare(cli_program.logits(folder, IDS, folder), cli_models.logits(opened(folder), IDS))


def opened(folder):
    """In F32 from the file on: a model that was F16 once keeps rounded rotary frequencies."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize("case", LLAMA)
def test_llama(case, tmp_path):
    check(cli_models.llama(**LLAMA[case]), tmp_path)


@pytest.mark.parametrize("case", GPT2)
def test_gpt2(case, tmp_path):
    check(cli_models.gpt2(**GPT2[case]), tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("make", [cli_models.llama, cli_models.gpt2])
def test_16_bit_checkpoints(make, dtype, tmp_path):
    """Products are still made in F32."""
    check(make().to(dtype), tmp_path)


@pytest.mark.parametrize("scaling", [LINEAR, LLAMA3], ids=["linear", "llama3"])
def test_old_spelling_of_the_config(scaling, tmp_path):
    model = cli_models.llama(rope_parameters=scaling)
    expected = cli_models.logits(model, IDS)
    cli_models.save(model.half(), tmp_path)

    def respell(config):
        parameters = config.pop("rope_parameters")
        config["rope_theta"] = parameters.pop("rope_theta")
        config["rope_scaling"] = {"type" if key == "rope_type" else key: value for key, value in parameters.items()}
        config["torch_dtype"] = config.pop("dtype")

    cli_models.edit_config(tmp_path, respell)
    compare(cli_program.logits(tmp_path, IDS, tmp_path), expected, tolerance=0.02)  # the weights lost bits
    compare(cli_program.logits(tmp_path, IDS, tmp_path), cli_models.logits(opened(tmp_path), IDS))


def test_shards(tmp_path):
    check(cli_models.llama(), tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2


def test_gpt2_without_prefix(tmp_path):
    """As in the first checkpoints of GPT-2, which hold the causal masks, too."""
    model = cli_models.gpt2()
    cli_models.save(model, tmp_path)
    path = tmp_path / "model.safetensors"
    stored = {name.removeprefix("transformer."): tensor for name, tensor in load_file(path).items()}
    stored["h.0.attn.bias"] = torch.tril(torch.ones(1, 1, cli_models.CONTEXT, cli_models.CONTEXT))
    save_file(stored, path)
    compare(cli_program.logits(tmp_path, IDS, tmp_path), cli_models.logits(model, IDS))


def test_bf16_products(tmp_path):
    """--dtype bf16 is close, and is not F32."""
    model = cli_models.llama()
    cli_models.save(model, tmp_path)
    expected = cli_models.logits(model, IDS)
    found = cli_program.logits(tmp_path, IDS, tmp_path, "--dtype", "bf16")
    compare(found, expected, tolerance=0.05)  # 8 bits of mantissa through two blocks
    assert (found - expected).abs().max() > 1e-4 * expected.abs().max()


NAMES = {
    "llama": {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
              "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
              "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
              "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"},
    "gpt2": {"transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
             "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
             "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
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
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def deinterleave(weight, heads):
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def add_metadata(writer, config, kind):
    writer.add_context_length(cli_models.CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if kind == "llama":
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    else:
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)


def write_gguf(path: pathlib.Path, model, kind, block_type):
    """Writes `model`, and gives it the weights that the blocks stand for."""
    writer = gguf.GGUFWriter(path, kind)
    add_metadata(writer, model.config, kind)
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


@pytest.mark.parametrize("block_type", ["F32", "F16", "Q8_0", "Q4_0", "Q4_1"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_gguf(kind, block_type, tmp_path):
    model = cli_models.llama() if kind == "llama" else cli_models.gpt2()
    path = tmp_path / "model.gguf"
    write_gguf(path, model, kind, gguf.GGMLQuantizationType[block_type])
    compare(cli_program.logits(path, IDS, tmp_path), cli_models.logits(model, IDS))
