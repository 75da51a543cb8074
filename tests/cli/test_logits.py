"""`normtweak logits` in F32 against transformers, over families, shapes, configs and files."""
import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import cli_gguf
import cli_models
import cli_program

IDS = cli_models.ids(4, 48)
TOLERANCE = 1e-4  # of the largest logit: sums in another order differ by a few ulp times the depth

DEFAULT = {"rope_type": "default", "rope_theta": 500.0}
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
    "all biases, tied": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "another base": {"rope_parameters": DEFAULT},
    "linear scaling": {"rope_parameters": LINEAR},
    "llama3 scaling": {"rope_parameters": LLAMA3},
    "llama3 scaling, one key, biases, tied": {"rope_parameters": LLAMA3, "num_key_value_heads": 1, "head_dim": 8,
                                              "attention_bias": True, "tie_word_embeddings": True},
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


def add_tensors(folder, more):
    path = folder / "model.safetensors"
    save_file(load_file(path) | more, path, metadata={"format": "pt"})


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


@pytest.mark.parametrize("kind", ["type", "rope_type"])
@pytest.mark.parametrize("scaling", [DEFAULT, LINEAR, LLAMA3], ids=["default", "linear", "llama3"])
def test_old_spelling_of_the_config(scaling, kind, tmp_path):
    """Llama 2 has rope_scaling null, Llama 3.1 names the kind rope_type, what came before them type."""
    model = cli_models.llama(rope_parameters=scaling)
    expected = cli_models.logits(model, IDS)
    cli_models.save(model.half(), tmp_path)

    def respell(config):
        parameters = config.pop("rope_parameters")
        config["rope_theta"] = parameters.pop("rope_theta")
        named = {kind if key == "rope_type" else key: value for key, value in parameters.items()}
        config["rope_scaling"] = None if scaling is DEFAULT else named
        config["torch_dtype"] = config.pop("dtype")

    cli_models.edit_config(tmp_path, respell)
    compare(cli_program.logits(tmp_path, IDS, tmp_path), expected, tolerance=0.02)  # the weights lost bits
    compare(cli_program.logits(tmp_path, IDS, tmp_path), cli_models.logits(opened(tmp_path), IDS))


@pytest.mark.parametrize("make, tied", [(cli_models.llama, False), (cli_models.gpt2, True)])
def test_head_that_the_config_is_silent_about(make, tied, tmp_path):
    """Each family has its own default."""
    model = make(tie_word_embeddings=tied)
    cli_models.save(model, tmp_path)
    cli_models.edit_config(tmp_path, lambda config: config.pop("tie_word_embeddings", None))
    compare(cli_program.logits(tmp_path, IDS, tmp_path), cli_models.logits(model, IDS))


@pytest.mark.parametrize("make", [cli_models.llama, cli_models.gpt2])
def test_head_of_its_own_in_spite_of_the_config(make, tmp_path):
    """transformers 5 takes the file's head; a saved copy says so, for those that would take the embedding."""
    cli_models.save(make(tie_word_embeddings=True), tmp_path / "model")
    head = torch.randn(cli_models.VOCABULARY, 64, generator=torch.Generator().manual_seed(3))
    add_tensors(tmp_path / "model", {"lm_head.weight": head})
    expected = cli_models.logits(opened(tmp_path / "model"), IDS)
    compare(cli_program.logits(tmp_path / "model", IDS, tmp_path), expected)
    cli_program.run("quantize", tmp_path / "model", "-o", tmp_path / "saved", "--method", "rtn", "--bits", 8,
                    "--group-size", 32, "--tweak", "none", "--format", "hf", "--calibration", tmp_path / "ids.safetensors")
    saved = opened(tmp_path / "saved")
    assert saved.config.tie_word_embeddings is False and torch.equal(saved.lm_head.weight, head)


def test_shards(tmp_path):
    check(cli_models.llama(), tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2


def test_gpt2_without_prefix(tmp_path):
    """As in the first checkpoints of GPT-2, which hold the causal masks, too."""
    model = cli_models.gpt2()
    cli_models.save(model, tmp_path)
    mask = torch.tril(torch.ones(1, 1, cli_models.CONTEXT, cli_models.CONTEXT))
    cli_models.take_prefix_off(tmp_path, {"h.0.attn.bias": mask, "h.1.attn.masked_bias": torch.tensor(-1e4)})
    compare(cli_program.logits(tmp_path, IDS, tmp_path), cli_models.logits(model, IDS))


def test_tensors_that_follow_from_the_config_may_be_there(tmp_path):
    """So may those that are no part of the passes."""
    model = cli_models.llama()
    cli_models.save(model, tmp_path)
    add_tensors(tmp_path, {"model.layers.1.self_attn.rotary_emb.inv_freq": model.model.rotary_emb.inv_freq.clone(),
                           "score.weight": torch.ones(2, 64)})
    compare(cli_program.logits(tmp_path, IDS, tmp_path), cli_models.logits(model, IDS))


@pytest.mark.parametrize("name", ["model.layers.1.self_attn.q_norm.weight", "model.layers.2.input_layernorm.weight",
                                  "model.layers.0.input_layernorm.bias", "model.norm.bias",
                                  "model.layers.0.mlp.up_proj.weight_scale"])
def test_tensors_that_nothing_reads_are_refused(name, tmp_path):
    """A pass without them would be that of another model."""
    cli_models.save(cli_models.llama(), tmp_path)
    add_tensors(tmp_path, {name: torch.ones(64)})
    refused = cli_program.call("logits", tmp_path, "--tokens", cli_program.save_ids(tmp_path / "ids", IDS), "-o",
                               tmp_path / "logits", "--quiet")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert f"model.safetensors: tensor {name}: no part of this llama model" in refused.stderr


def test_bf16_products(tmp_path):
    """--dtype bf16 is close, and is not F32."""
    model = cli_models.llama()
    cli_models.save(model, tmp_path)
    expected = cli_models.logits(model, IDS)
    found = cli_program.logits(tmp_path, IDS, tmp_path, "--dtype", "bf16")
    compare(found, expected, tolerance=0.05)  # 8 bits of mantissa through two blocks
    assert (found - expected).abs().max() > 1e-4 * expected.abs().max()


def check_gguf(kind, block_type, tmp_path, **changes):
    model = cli_models.llama(**changes) if kind == "llama" else cli_models.gpt2(**changes)
    path = tmp_path / "model.gguf"
    cli_gguf.write(path, model, kind, gguf.GGMLQuantizationType[block_type])
    compare(cli_program.logits(path, IDS, tmp_path), cli_models.logits(model, IDS))


@pytest.mark.parametrize("block_type", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_gguf(kind, block_type, tmp_path):
    check_gguf(kind, block_type, tmp_path)


@pytest.mark.parametrize("case", ["one key", "tied", "attention biases", "MLP biases", "all biases, tied",
                                  "another base"])
def test_gguf_llama(case, tmp_path):
    check_gguf("llama", "F16", tmp_path, **LLAMA[case])


def test_gguf_with_untied_head(tmp_path):
    check_gguf("gpt2", "F16", tmp_path, tie_word_embeddings=False)


SCALINGS = {
    "linear": LINEAR,
    "llama3": LLAMA3,
    "llama3 with the usual context": LLAMA3 | {"original_max_position_embeddings": 8192},
    "llama3, one frequency is divided in part": LLAMA3 | {"original_max_position_embeddings": 40, "factor": 32.0},
}


@pytest.mark.parametrize("scaling", SCALINGS)
def test_gguf_with_scaling(scaling, tmp_path):
    check_gguf("llama", "F16", tmp_path, rope_parameters=SCALINGS[scaling])


def test_gguf_with_scaling_of_whole_frequencies(tmp_path):
    check_gguf("llama", "F16", tmp_path, rope_parameters=LLAMA3, num_attention_heads=8)
