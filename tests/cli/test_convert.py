"""A quantized model in another format: the same values, or refused with the reason."""
import json

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file

import cli_gguf
import cli_models
import cli_program
import quantized_folders
from quantized_folders import VARIANTS
from quantized_linears import Packed
from test_quantized_folders import IDS, home, model, same_bytes, variants  # noqa: F401: fixtures

CONVERSIONS = [
    ("gptq-4", "compressed-tensors"), ("gptq-4", "awq"), ("gptq-2-asymmetric-v2", "compressed-tensors"),
    ("gptq-3-asymmetric-v1", "compressed-tensors"), ("gptq-8", "compressed-tensors"), ("gptq-4-bf16", "awq"),
    ("gptq-4-act-order", "compressed-tensors"), ("gptq-3-asymmetric-act-order", "compressed-tensors"),
    ("gptq-dynamic", "compressed-tensors"), ("gptq-head", "compressed-tensors"), ("gptq-side-file", "awq"),
    ("gptq-4-shards", "compressed-tensors"), ("awq", "gptq"), ("awq-rows", "compressed-tensors"),
    ("awq-some-float", "gptq"), ("auto-round-gptq-4", "gptq"), ("auto-round-awq", "awq"),
    ("auto-round-extra", "gptq"), ("packed-4", "gptq"), ("packed-4-asymmetric", "awq"), ("packed-3", "gptq"),
    ("packed-4-act-order", "gptq"), ("packed-6-whole", "compressed-tensors"), ("packed-preset", "gptq"),
]
SAME = [("gptq-2", "gptq"), ("gptq-3-asymmetric-v2", "gptq"), ("gptq-4", "gptq"), ("gptq-8", "gptq"),
        ("gptq-4-act-order", "gptq"), ("gptq-4-rows", "gptq"), ("awq", "awq"),
        ("awq-rows", "awq"), *[(f"packed-{bits}", "compressed-tensors") for bits in range(2, 9)],
        ("packed-4-asymmetric", "compressed-tensors"), ("packed-8-rows-asymmetric", "compressed-tensors"),
        ("packed-4-act-order", "compressed-tensors")]


def converted(folder, form, to):
    figures = cli_program.report("convert", folder, "-o", to / form, "--format", form, to=to)
    assert figures["linears"] > 0 and figures["output_bytes"] > 0 and figures["format"] == form
    return to / form


@pytest.mark.parametrize("name, form", CONVERSIONS)
def test_values_stay(name, form, variants, tmp_path):
    before = variants(name).before
    after = converted(before, form, tmp_path)
    method = json.loads((after / "config.json").read_text())["quantization_config"]["quant_method"]
    assert method == form
    assert cli_program.report("inspect", after, to=tmp_path)["sound"] is True
    old, new = (cli_program.logits(folder, IDS, tmp_path, "--dtype", "f32") for folder in (before, after))
    assert old.std() > 0.1 and torch.equal(old, new)


@pytest.mark.parametrize("name, form", SAME)
def test_the_same_format_gives_the_same_tensors(name, form, variants, tmp_path):
    before = variants(name).before
    old, new = (quantized_folders.stored_tensors(folder) for folder in (before, converted(before, form, tmp_path)))
    assert old.keys() == new.keys()
    assert not [tensor for tensor in old if not same_bytes(old[tensor], new[tensor])]


def test_scattered_groups_are_those_of_the_library(variants, tmp_path):
    before = variants("gptq-4-act-order").before
    after = converted(before, "compressed-tensors", tmp_path)
    arguments = json.loads((after / "config.json").read_text())["quantization_config"]["config_groups"]
    assert arguments["group_0"]["weights"]["actorder"] == "group"
    expected = quantized_folders.dequantized(before, "gptq-4-act-order")
    stored = quantized_folders.stored_tensors(after)
    modules = [tensor.removesuffix(".weight_packed") for tensor in stored if tensor.endswith(".weight_packed")]
    assert len(modules) == 14
    for module in modules:
        parts = {part.removeprefix(f"{module}."): value for part, value in stored.items()
                 if part.startswith(f"{module}.")}
        assert torch.equal(torch.from_numpy(Packed(4, ordered=True).decode(parts)).float(), expected[f"{module}.weight"])


REFUSED = [
    ("gptq-3", "awq", "4 bits"), ("gptq-4-act-order", "awq", "act-order"), ("nf4", "gptq", "nf4"),
    ("fp8-tiles", "compressed-tensors", "fp8"), ("float8-rows", "gptq", "fp8"), ("int8-tensor", "gptq", "int8"),
    ("packed-5", "gptq", "5"), ("auto-round-gptq-7-asymmetric", "awq", "7"), ("gptq-4", "hf", "codes"),
]


@pytest.mark.parametrize("name, form, why", REFUSED)
def test_what_would_lose_is_refused(name, form, why, variants, tmp_path):
    found = cli_program.call("convert", variants(name).before, "-o", tmp_path / "out", "--format", form)
    assert found.returncode == 1 and why in found.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_scales_that_the_dtype_lacks_are_refused(variants, tmp_path):
    """2^-30 is a value of BF16, and none of F16."""
    before = tmp_path / "before"
    quantized_folders.write(before, "packed-4", variants("packed-4").source)
    tensors = load_file(before / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight_scale"].view(-1)[0] = 2.0 ** -30
    save_file(tensors, before / "model.safetensors", metadata={"format": "pt"})
    found = cli_program.call("convert", before, "-o", tmp_path / "out", "--format", "gptq")
    assert found.returncode == 1 and "model.layers.1.mlp.up_proj" in found.stderr and "F16" in found.stderr


def test_a_float_model_has_nothing_to_convert(variants, tmp_path):
    found = cli_program.call("convert", variants("gptq-4").source, "-o", tmp_path / "out", "--format", "gptq")
    assert found.returncode == 1 and "no linear is quantized" in found.stderr


@pytest.mark.parametrize("kind, bits", [("Q4_0", 4), ("Q5_0", 5), ("Q8_0", 8)])
def test_blocks_with_one_scale(kind, bits, tmp_path):
    cli_gguf.write(tmp_path / "blocks.gguf", cli_models.llama(intermediate_size=128), "llama", gguf.GGMLQuantizationType[kind])
    after = converted(tmp_path / "blocks.gguf", "compressed-tensors", tmp_path)
    weights = json.loads((after / "config.json").read_text())["quantization_config"]["config_groups"]["group_0"]
    assert (weights["weights"]["num_bits"], weights["weights"]["group_size"]) == (bits, 32)
    old, new = (cli_program.logits(path, IDS, tmp_path, "--dtype", "f32") for path in (tmp_path / "blocks.gguf", after))
    assert old.std() > 0.1 and torch.equal(old, new)


def test_blocks_with_a_minimum_are_refused(tmp_path):
    cli_gguf.write(tmp_path / "blocks.gguf", cli_models.llama(intermediate_size=128), "llama", gguf.GGMLQuantizationType.Q4_1)
    found = cli_program.call("convert", tmp_path / "blocks.gguf", "-o", tmp_path / "out", "--format", "gptq")
    assert found.returncode == 1 and "Q4_1" in found.stderr and "more than one scale" in found.stderr


# ---------------------------------------------------------------- who is to serve it ---------------------------------

@pytest.mark.parametrize("given, program, advice", [
    (["--bits", 3], "vllm", "--bits 4"), (["--format", "gptq"], "vllm", "--symmetric"),
    (["--group-size", 16], "vllm", "--group-size"), (["--float-zeros"], "vllm", "--symmetric"),
    (["--method", "kmeans"], "transformers", "--format hf")])
def test_settings_that_the_server_lacks_are_refused(given, program, advice, variants, tmp_path):
    found = cli_program.call("quantize", variants("gptq-4").source, "-o", tmp_path / "out", "--for", program, *given)
    assert found.returncode == 1 and advice in found.stderr.split("it does with")[1]
    assert not (tmp_path / "out").exists()


def test_settings_that_the_server_opens_run(variants, tmp_path):
    cli_program.run("quantize", variants("gptq-4").source, "-o", tmp_path / "out", "--for", "vllm", "--format", "gptq",
                    "--symmetric", "--method", "rtn", "--tweak", "none", "--group-size", 32, "--samples", 4, "--tokens", 8)
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert (config["quant_method"], config["sym"], config["group_size"]) == ("gptq", True, 32)
