"""What config.json says, in whatever spelling, against what transformers makes of it."""
import json

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

import cli_models
import cli_program
import family_models
from family_configs import FAMILIES, VOCABULARY

IDS = cli_models.ids(2, 48, vocabulary=VOCABULARY)
MAKE = {"llama": cli_models.llama, "gpt2": cli_models.gpt2}
OTHERS = ["chatglm", "starcoder2", "olmo3", "ernie4_5", "seed_oss", "gpt_neox"]  # the first config of each
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
DROP = "drop this key"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("config")
    for kind, make in MAKE.items():
        cli_models.save(make(), folder / kind)
    for kind in OTHERS:
        family_models.make(kind, next(iter(FAMILIES[kind].cases))).save_pretrained(folder / kind)
    return folder


@pytest.fixture
def changed(home, tmp_path):
    """Makes a copy of a model whose config differs."""
    def change_config(kind, change):
        config = json.loads((home / kind / "config.json").read_text()) | change
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "model.safetensors").symlink_to(home / kind / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value != DROP}))
        return folder
    return change_config


def theirs(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return cli_models.logits(model, IDS)


def ours(folder):
    return cli_program.logits(folder, IDS, folder)


def near(found, expected):
    return found.shape == expected.shape and (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def refusal(folder):
    """The one line by which `inspect` and `logits` refuse the model."""
    found = [cli_program.call("inspect", folder, "--quiet"),
             cli_program.call("logits", folder, "--tokens", cli_program.save_ids(folder / "ids", IDS), "-o",
                              folder / "logits", "--quiet")]
    assert [finished.returncode for finished in found] == [1, 1], found
    assert found[0].stderr == found[1].stderr and len(found[0].stderr.splitlines()) == 1
    assert len(found[0].stderr) < 300 + len(str(folder))
    return found[0].stderr


def notes(folder):
    return cli_program.report("inspect", folder, to=folder).get("notes", [])


# Keys whose value changes what transformers computes. Each row: family, change.
READ = [
    ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}),  # beside rope_parameters
    ("llama", {"rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 4.0}}),
    ("llama", {"rope_scaling": {"type": "default", "rope_type": "linear", "factor": 0.5}}),
    ("llama", {"rope_scaling": {"rope_theta": 5.0}}),
    ("llama", {"rope_scaling": LLAMA3}),  # the original context is the model's
    ("llama", {"rope_scaling": LLAMA3 | {"rope_theta": 700.0}, "original_max_position_embeddings": 32}),
    ("llama", {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 32},
               "original_max_position_embeddings": 64}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 300.0}, "rope_theta": 50.0}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0}, "rope_theta": 50.0, "rope_scaling": {}}),
    ("llama", {"rope_parameters": None, "rope_theta": 50.0}),
    ("llama", {"rope_parameters": DROP, "rope_theta": 50, "rope_scaling": None}),
    ("llama", {"rms_norm_eps": 1e-2}),
    ("llama", {"hidden_act": "gelu_python"}),
    ("gpt2", {"num_attention_heads": 8}),  # wins over n_head
    ("gpt2", {"n_head": DROP, "num_attention_heads": 2}),
    ("gpt2", {"layer_norm_epsilon": 1e-2}),
    ("gpt2", {"activation_function": "silu"}),
    ("chatglm", {"rope_ratio": 500}),
    ("chatglm", {"layernorm_epsilon": 1e-2}),
    ("chatglm", {"apply_residual_connection_post_layernorm": True}),
    ("starcoder2", {"norm_epsilon": 1e-2}),
    ("starcoder2", {"hidden_act": "relu"}),
    ("starcoder2", {"sliding_window": 8}),
    ("starcoder2", {"rope_parameters": DROP, "rope_theta": 50.0}),
    ("olmo3", {"rope_parameters": DROP, "rope_theta": 50.0}),  # of full attention alone
    ("olmo3", {"rope_parameters": DROP, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    ("olmo3", {"sliding_window": 4}),
    ("olmo3", {"layer_types": ["full_attention"] * 5}),
    ("olmo3", {"rms_norm_eps": 1e-2}),
    ("ernie4_5", {"rope_parameters": DROP, "rope_theta": 50.0}),
    ("ernie4_5", {"rms_norm_eps": 1e-2}),
    ("seed_oss", {"rms_norm_eps": 1e-2}),
    ("seed_oss", {"hidden_act": "gelu"}),
    ("seed_oss", {"rope_parameters": DROP, "rope_theta": 50.0}),
    ("gpt_neox", {"rope_parameters": DROP, "rotary_pct": 0.75, "partial_rotary_factor": 0.25}),  # the latter is not read
]
# Keys that change nothing, there and here.
NEUTRAL = [
    ("llama", {"rope_scaling": None, "rope_theta": 50.0}),  # rope_parameters has its own
    ("llama", {"rope_scaling": {"factor": 4.0}}),  # of the default kind
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0}, "rope_scaling": {"type": "default"}}),
    ("llama", {"partial_rotary_factor": 0.5}),
    ("llama", {"rope_interleaved": True}),
    ("llama", {"logit_scale": 2.0, "embedding_multiplier": 3.0, "qk_norm": True, "n_embd": 32}),
    ("llama", {"layer_types": ["full_attention"] * 2, "sliding_window": None}),
    ("llama", {"sliding_window": 4096}),
    ("llama", {"dtype": None, "torch_dtype": "float16"}),
    ("llama", {"dtype": "bfloat16", "torch_dtype": "float16"}),
    ("llama", {"dtype": "float64"}),
    ("llama", {"dtype": "auto"}),
    ("llama", {"dtype": None, "torch_dtype": "torch.float16"}),
    ("llama", {"pad_token_id": -1, "bos_token_id": 1000, "eos_token_id": [1, 10 ** 9]}),
    ("gpt2", {"n_embd": DROP, "hidden_size": 64, "n_head": DROP, "num_attention_heads": 4, "n_layer": DROP,
              "num_hidden_layers": 2, "n_positions": DROP, "max_position_embeddings": 128}),
    ("gpt2", {"n_ctx": 64, "n_inner": None, "reorder_and_upcast_attn": True}),
    ("gpt2", {"intermediate_size": 80, "rope_theta": 5.0, "num_key_value_heads": 2, "hidden_act": "relu",
              "head_dim": 8}),
    ("chatglm", {"apply_query_key_layer_scaling": False, "attention_softmax_in_fp32": False, "vocab_size": 99,
                 "bias_dropout_fusion": False, "fp32_residual_connection": True, "prefix_projection": True,
                 "attention_dropout": 0.5, "hidden_act": "relu", "rope_theta": 5.0, "seq_length": 4096}),
    ("chatglm", {"rmsnorm": True, "original_rope": True, "pre_seq_len": None, "quantization_bit": 0,
                 "interleaved_qkv": False, "num_hidden_layers": 2}),
    ("starcoder2", {"layer_norm_epsilon": 1e-2, "activation_function": "relu", "attention_softmax_in_fp32": False,
                    "scale_attention_softmax_in_fp32": False, "scale_attn_weights": False, "mlp_type": "x",
                    "norm_type": "y", "attention_dropout": 0.5, "residual_dropout": 0.5, "embedding_dropout": 0.5}),
    ("olmo3", {"attention_dropout": 0.5, "max_position_embeddings": 4096, "layer_types": None}),
    ("olmo3", {"rope_parameters": None}),
    ("ernie4_5", {"compression_ratio": 2.0, "use_rmsnorm": False, "max_position_embeddings": 4096}),
    ("seed_oss", {"pretraining_tp": 2, "attention_dropout": 0.5, "residual_dropout": 0.5}),
]
# Changes that are refused, though transformers computes something else, or nothing: and the words that name them.
REFUSED = [
    ("llama", {"rope_scaling": {"rope_type": "ntk", "factor": 4.0}}, "ntk"),
    ("llama", {"rope_scaling": "linear"}, "`rope_scaling` is \"linear\""),
    ("llama", {"rope_parameters": {"full_attention": {"rope_type": "linear"}}}, "`rope_parameters.full_attention`"),
    ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 0}}, "`rope_scaling.factor` is 0"),
    ("llama", {"rope_scaling": {"rope_type": "linear", "factor": -1.5}}, "`rope_scaling.factor` is -1.5"),
    ("llama", {"rope_scaling": {"rope_type": "linear", "factor": "4"}}, "`rope_scaling.factor` is \"4\""),
    ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}},
     "`rope_scaling.partial_rotary_factor` is 0.5"),
    ("llama", {"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}}, "`rope_scaling.low_freq_factor` is 4"),
    ("llama", {"rope_scaling": LLAMA3 | {"high_freq_factor": 0}}, "`rope_scaling.high_freq_factor` is 0"),
    ("llama", {"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 0}}, "original_max_position_embeddings"),
    ("llama", {"rope_parameters": {"rope_theta": 0}}, "`rope_parameters.rope_theta` is 0"),
    ("llama", {"rope_parameters": DROP, "rope_theta": -1e4}, "`rope_theta` is -10000"),
    ("llama", {"rms_norm_eps": 0.0}, "`rms_norm_eps` is 0"),
    ("llama", {"rms_norm_eps": -1e-6}, "`rms_norm_eps` is -1e-06"),
    ("gpt2", {"layer_norm_epsilon": 1e3}, "`layer_norm_epsilon` is 1000"),
    ("llama", {"is_causal": False}, "`is_causal` is false"),
    ("gpt2", {"is_causal": False}, "`is_causal` is false"),
    ("llama", {"layer_types": ["sliding_attention"] * 2, "sliding_window": 4}, "`layer_types`"),
    ("llama", {"sliding_window": 4}, "`sliding_window` is 4"),  # its caches drop what lies before the window
    ("llama", {"attention_chunk_size": 4}, "`attention_chunk_size` is 4"),
    ("llama", {"per_layer_config": {"0": {"intermediate_size": 48}}}, "`per_layer_config`"),
    ("gpt2", {"scale_attn_weights": False}, "`scale_attn_weights` is false"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "`scale_attn_by_inverse_layer_idx` is true"),
    ("llama", {"eos_token_id": [[1]]}, "`eos_token_id` holds [1]"),
    ("llama", {"bos_token_id": "a"}, "`bos_token_id` holds \"a\""),
    ("llama", {"dtype": "bf16"}, "`dtype` is \"bf16\""),
    ("llama", {"dtype": "torch.int8"}, "`dtype` is \"torch.int8\""),
    ("llama", {"dtype": None, "torch_dtype": "float8_e4m3fn"}, "`torch_dtype` is \"float8_e4m3fn\""),
    ("llama", {"intermediate_size": DROP}, "`intermediate_size` is missing"),
    ("chatglm", {"rmsnorm": False}, "`rmsnorm` is false"),
    ("chatglm", {"original_rope": False}, "`original_rope` is false"),
    ("chatglm", {"pre_seq_len": 128}, "`pre_seq_len` is 128"),
    ("chatglm", {"quantization_bit": 4}, "`quantization_bit` is 4"),
    ("chatglm", {"interleaved_qkv": True}, "`interleaved_qkv` is true"),
    ("chatglm", {"position_encoding_2d": True}, "`position_encoding_2d` is true"),
    ("chatglm", {"tie_word_embeddings": True}, "`tie_word_embeddings` is true"),
    ("chatglm", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "`rope_ratio` says how much"),
    ("chatglm", {"rope_ratio": 0}, "`rope_ratio` is 0"),
    ("chatglm", {"multi_query_attention": "yes"}, "`multi_query_attention` is \"yes\""),
    ("chatglm", {"multi_query_group_num": 2}, "`multi_query_group_num` is 2, which does not divide"),
    ("chatglm", {"num_layers": DROP}, "`num_layers` is missing"),
    # Against the tensors: the field and both shapes.
    ("chatglm", {"padded_vocab_size": 170}, "[170, 48] expected, the file has [160, 48]; `padded_vocab_size` is 170"),
    ("chatglm", {"kv_channels": 32}, "`kv_channels`"),
    ("chatglm", {"ffn_hidden_size": 96}, "2 * `ffn_hidden_size` is 192"),
    ("chatglm", {"multi_query_attention": False}, "`kv_channels` is 144, which is not so"),
    ("chatglm", {"add_bias_linear": True}, "`add_bias_linear`"),
    ("chatglm", {"post_layer_norm": False}, "final_layernorm.weight: no part of this chatglm model"),
    ("llama", {"vocab_size": 340}, "[340, 64] expected, the file has [320, 64]; `vocab_size` is 340"),
    ("llama", {"num_hidden_layers": 1}, "tensor model.layers.1.input_layernorm.weight: no part of this llama model"),
    ("llama", {"intermediate_size": 80}, "[80, 64] expected, the file has [96, 64]; `intermediate_size` is 80"),
    ("llama", {"num_key_value_heads": 4},
     "[64, 64] expected, the file has [32, 64]; `num_key_value_heads` * `head_dim` is 64"),
    ("llama", {"num_attention_heads": 8}, "`num_attention_heads` * `head_dim` is 128"),
    ("llama", {"hidden_size": 32}, "`hidden_size` is 32"),
    ("gpt2", {"hidden_size": 32}, "`hidden_size` is 32"),  # wins over n_embd
    ("gpt2", {"n_positions": 64}, "[64, 64] expected, the file has [128, 64]; `n_positions` is 64"),
    ("gpt2", {"n_inner": 80}, "`n_inner` is 80"),
    ("starcoder2", {"norm_epsilon": 0}, "`norm_epsilon` is 0"),
    ("starcoder2", {"hidden_act": "mish"}, "`hidden_act` is \"mish\""),
    ("starcoder2", {"use_bias": "yes"}, "`use_bias` is \"yes\""),
    ("starcoder2", {"sliding_window": "8"}, "`sliding_window` is \"8\""),
    ("starcoder2", {"intermediate_size": 96}, "`intermediate_size` is 96"),
    ("olmo3", {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}, "an object with `full_attention` and"),
    ("olmo3", {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
     "`rope_parameters.sliding_attention` is missing"),
    ("olmo3", {"layer_types": ["full_attention"]}, "`layer_types` is"),
    ("olmo3", {"sliding_window": None}, "`sliding_window` gives no window"),
    ("olmo3", {"attention_bias": True}, "`attention_bias` asks for it"),
    ("ernie4_5", {"head_dim": 7}, "`head_dim` is 7"),
    ("ernie4_5", {"use_bias": "no"}, "`use_bias` is \"no\""),
    ("ernie4_5", {"use_bias": True}, "`use_bias` asks for it"),
    ("ernie4_5", {"num_key_value_heads": 2}, "`num_key_value_heads` is 2, which does not divide"),
    ("seed_oss", {"attention_out_bias": 1}, "`attention_out_bias` is 1"),
    ("seed_oss", {"attention_out_bias": True}, "`attention_out_bias` asks for it"),
    ("seed_oss", {"mlp_bias": True}, "`mlp_bias` asks for it"),
]


def named(row):
    return f"{row[0]} {json.dumps(row[1])}"[:90]


@pytest.mark.parametrize("row", READ, ids=named)
def test_keys_that_are_read(row, home, changed):
    folder = changed(*row)
    expected = theirs(folder)
    assert not near(expected, theirs(home / row[0]))
    assert near(ours(folder), expected)


@pytest.mark.parametrize("row", NEUTRAL, ids=named)
def test_keys_without_effect(row, home, changed):
    folder = changed(*row)
    expected = theirs(folder)
    assert near(expected, theirs(home / row[0]))
    assert near(ours(folder), expected)


@pytest.mark.parametrize("row", REFUSED, ids=named)
def test_values_that_are_refused(row, changed):
    assert row[2] in refusal(changed(*row[:2]))


# All of transformers' own keys, and those of many checkpoints, with unusual values.
HARMLESS = {
    "chunk_size_feed_forward": 4, "output_hidden_states": True, "use_cache": False, "id2label": {"0": "a"},
    "label2id": {"a": 0}, "problem_type": "regression", "transformers_version": "4.0", "_name_or_path": "x/y",
    "auto_map": {"AutoConfig": "a.B"}, "torchscript": True, "use_bfloat16": True, "is_decoder": True,
    "initializer_range": 0.5, "task_specific_params": {"a": 1}, "temperature": 0.5, "top_k": 3, "max_length": 9,
    "gradient_checkpointing": True, "tokenizer_class": "X", "tie_encoder_decoder": True, "pad_token_id": 5,
}
OWN_HARMLESS = {
    "llama": {"pretraining_tp": 2, "attention_dropout": 0.5},
    "gpt2": {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5, "summary_type": "last", "n_ctx": 7,
             "summary_use_proj": False, "summary_activation": "tanh", "summary_first_dropout": 0.5,
             "summary_proj_to_labels": False, "reorder_and_upcast_attn": True},
}


@pytest.mark.parametrize("kind", MAKE)
def test_harmless_keys_are_known(kind, home, changed):
    """No note calls a key unknown that transformers writes."""
    own = {"llama": LlamaConfig, "gpt2": GPT2Config}[kind]().to_dict()
    assert "initializer_range" in own
    saved = json.loads((home / kind / "config.json").read_text())
    folder = changed(kind, own | saved | HARMLESS | OWN_HARMLESS[kind])
    expected = theirs(folder)
    assert near(expected, theirs(home / kind)) and near(ours(folder), expected)
    assert notes(folder) == []


@pytest.mark.parametrize("change, words", [
    ({"foo": 1}, "config.json: `foo` is not known to this program and has no effect here"),
    ({f"key{i}": i for i in range(8)}, "`key0`, `key1`, `key2`, `key3`, `key4` and 3 more are not known"),
    ({"a\nb": 1}, "`a\\nb` is not known"),
    ({"rope_scaling": {"type": "linear", "factor": 4.0}}, "`rope_parameters` beside it has no effect"),
    ({"rope_theta": 50.0}, "`rope_theta` beside it has no effect"),
    ({"torch_dtype": "float16"}, "`torch_dtype` beside it has no effect"),
    ({"rope_interleaved": True}, "`rope_interleaved` is true, which has no effect here; false is usual"),
    ({"partial_rotary_factor": 0.5}, "`partial_rotary_factor` is 0.5, which has no effect here"),
    ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "`rope_scaling.factor` is 0.5; below 1"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0, "beta_fast": 3}}, "`rope_scaling.beta_fast` has no effect"),
    ({"dtype": "float64"}, "float64; the model is computed"),
    ({"dtype": "auto"}, "`dtype` is \"auto\", which is read as the dtype of the weights; transformers 5 refuses it"),
    ({"dtype": None, "torch_dtype": "torch.half"}, "`torch_dtype` is \"torch.half\", which is read as float16"),
    ({"eos_token_id": 320}, "`eos_token_id` 320 lies outside the vocabulary of 320 tokens"),
    ({"bos_token_id": 10 ** 9}, "`bos_token_id` 1000000000 lies outside"),
])
def test_notes(change, words, changed):
    found = notes(changed("llama", change))
    assert any(words in line for line in found), found
    assert all(len(line.splitlines()) == 1 for line in found)


# Keys of published checkpoints that are not those of the config class.
PUBLISHED = {
    "chatglm": {"bias_dropout_fusion": True, "attention_dropout": 0.0, "classifier_dropout": None,
                "apply_query_key_layer_scaling": True, "attention_softmax_in_fp32": True, "original_rope": True,
                "fp32_residual_connection": False, "pre_seq_len": None, "prefix_projection": False, "rmsnorm": True,
                "quantization_bit": 0, "interleaved_qkv": False, "hidden_dropout": 0.0, "use_cache": True,
                "num_hidden_layers": 2, "vocab_size": VOCABULARY},
    "starcoder2": {"activation_function": "gelu", "attention_softmax_in_fp32": True, "layer_norm_epsilon": 1e-5,
                   "mlp_type": "default", "norm_type": "layer_norm", "scale_attention_softmax_in_fp32": True,
                   "scale_attn_weights": True},
    "olmo3": {},
    "ernie4_5": {"compression_ratio": 1.0, "use_rmsnorm": True},
    "seed_oss": {},
    "gpt_neox": {},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_keys_of_other_families_are_known(kind, home, changed):
    saved = json.loads((home / kind / "config.json").read_text())
    own = FAMILIES[kind].config().to_dict() | saved | PUBLISHED[kind]
    assert notes(changed(kind, own)) == []


@pytest.mark.parametrize("kind, change, words", [
    ("chatglm", {"rope_ratio": 50}, "chatglm2-6b-32k divides positions by it"),
    ("chatglm", {"vocab_size": 99}, "`vocab_size` is 99, which has no effect here; `padded_vocab_size` is usual"),
    ("starcoder2", {"norm_type": "rms"}, "`norm_type` is \"rms\", which has no effect here; \"layer_norm\" is usual"),
    ("starcoder2", {"mlp_type": "gated"}, "`mlp_type` is \"gated\", which has no effect here; \"default\" is usual"),
    ("olmo3", {"rope_parameters": DROP, "rope_theta": 50.0}, "the rotary base 50 is that of full attention alone"),
    ("ernie4_5", {"compression_ratio": 2.0}, "`compression_ratio` is 2.0, which has no effect here; 1 is usual"),
    ("gpt_neox", {"partial_rotary_factor": 0.25}, "`partial_rotary_factor` is not known to this program"),
])
def test_notes_of_other_families(kind, change, words, changed):
    found = notes(changed(kind, change))
    assert any(words in line for line in found) and all(len(line.splitlines()) == 1 for line in found), found


def test_ids_of_the_generation_config(changed, tmp_path):
    """Ids that cannot be used are noted; a generation needs them."""
    folder = changed("llama", {})
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 999]}')
    assert any("generation_config.json: `eos_token_id` 999 lies outside" in line for line in notes(folder))
    (folder / "generation_config.json").write_text('{"eos_token_id": "end"}')
    assert any("generation_config.json: `eos_token_id` holds \"end\"" in line for line in notes(folder))
    assert near(ours(folder), theirs(folder))
    refused = cli_program.call("generate", folder, "-o", tmp_path / "out", "--samples", 1, "--tokens", 8, "--strategy",
                               "llm-qat", "--quiet")
    assert refused.returncode == 1 and "`eos_token_id` holds" in refused.stderr


def renamed(folder, rename):
    path = folder / "model.safetensors"
    stored = {rename(name): tensor for name, tensor in load_file(path).items()}
    path.unlink()
    save_file(stored, path, metadata={"format": "pt"})


def result_of(folder, to, *options):
    cli_program.run("quantize", folder, "-o", to, "--method", "rtn", "--bits", 8, "--group-size", 32, "--tweak", "none",
                    *options, "--calibration",
                    cli_program.save_ids(to.parent / "ids.safetensors", cli_models.ids(8, 32)))
    return to


EMBEDDING = {"llama": "model.embed_tokens.weight", "gpt2": "transformer.wte.weight"}
PREFIX = {"llama": "model.", "gpt2": "transformer."}


@pytest.mark.parametrize("kind", MAKE)
def test_a_tied_embedding_under_the_name_of_the_head(kind, tmp_path):
    """safetensors' save_model keeps one name of each shared tensor: the first in the alphabet."""
    model = MAKE[kind](tie_word_embeddings=True)
    folder = cli_models.save(model, tmp_path / "model")
    save_model(model, folder / "model.safetensors", metadata={"format": "pt"})
    assert EMBEDDING[kind] not in load_file(folder / "model.safetensors")
    expected = theirs(folder)
    assert near(cli_models.logits(model, IDS), expected) and near(ours(folder), expected)
    saved = result_of(folder, tmp_path / "saved", "--format", "hf")
    assert EMBEDDING[kind] in load_file(saved / "model.safetensors")
    assert near(ours(saved), theirs(saved))


@pytest.mark.parametrize("rename", [lambda name, prefix: name.removeprefix(prefix),
                                    lambda name, prefix: prefix + name], ids=["left out", "twice"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", MAKE)
def test_prefix_of_the_family(kind, tied, rename, tmp_path):
    """transformers loads these as well; results have the usual names."""
    folder = cli_models.save(MAKE[kind](tie_word_embeddings=tied), tmp_path / "model")
    renamed(folder, lambda name: rename(name, PREFIX[kind]))
    assert near(ours(folder), theirs(folder))
    saved = result_of(folder, tmp_path / "saved", *(["--symmetric"] if kind == "llama" else ["--format", "hf"]))
    assert all(name.startswith((PREFIX[kind], "lm_head")) for name in load_file(saved / "model.safetensors"))
    assert near(ours(saved), theirs(saved))


@pytest.mark.parametrize("rename, words", [
    (lambda name: "_orig_mod." + name, "`_orig_mod`"),
    (lambda name: "module." + name, "`module`"),
    (lambda name: "base_model.model." + name, "`base_model.model`"),
    (lambda name: "language_model." + name, "`language_model`"),
    (lambda name: name.replace("model.", "model._fsdp_wrapped_module."), "`_fsdp_wrapped_module`"),
    (lambda name: name.replace("mlp.", "_orig_mod.mlp."), "`_orig_mod`"),
    (lambda name: name.replace("q_proj.", "q_proj.base_layer."), "adapter (LoRA) that is not merged"),
    (lambda name: name.replace("norm.weight", "norm.gamma"), "model.layers.0.input_layernorm.gamma: no part of"),
])
def test_names_of_wrappers(rename, words, home, changed):
    """transformers would begin with random weights."""
    folder = changed("llama", {})
    renamed(folder, rename)
    assert not near(theirs(folder), theirs(home / "llama"))
    assert words in refusal(folder)


def test_an_adapter_beside_the_weights(changed):
    folder = changed("llama", {})
    renamed(folder, lambda name: name)
    stored = load_file(folder / "model.safetensors")
    save_file(stored | {"model.layers.0.self_attn.q_proj.lora_A.default.weight": torch.ones(4, 64)},
              folder / "model.safetensors", metadata={"format": "pt"})
    assert "lora_A.default.weight: belongs to an adapter" in refusal(folder)


def test_two_tensors_for_one_part(changed):
    folder = changed("llama", {})
    renamed(folder, lambda name: name)
    stored = load_file(folder / "model.safetensors")
    save_file(stored | {"norm.weight": torch.ones(64)}, folder / "model.safetensors", metadata={"format": "pt"})
    assert "tensor norm.weight: the file has model.norm.weight as well" in refusal(folder)


@pytest.mark.parametrize("dtype", ["float64", None])
def test_f64_weights(dtype, tmp_path):
    """Computed in F32; what is made from them is stored so."""
    folder = cli_models.save(cli_models.llama().double(), tmp_path / "model")
    cli_models.edit_config(folder, lambda config: config.update(dtype=dtype))
    assert near(ours(folder), theirs(folder))
    assert any("float64; the model is computed" in line for line in notes(folder))
    saved = result_of(folder, tmp_path / "saved", "--format", "hf")
    assert {tensor.dtype for tensor in load_file(saved / "model.safetensors").values()} == {torch.float32}
    assert json.loads((saved / "config.json").read_text())["dtype"] == "float32"
    assert near(ours(saved), theirs(saved))
