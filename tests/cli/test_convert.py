"""A quantized model in another format: the same values, or refused with the reason."""
import json

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file

import cli_gguf
import cli_models
import cli_program
import family_models
import quantized_folders
from family_configs import FAMILIES
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
        ("packed-4-act-order", "compressed-tensors"), ("int8-rows", "compressed-tensors"),
        ("int8-rows-asymmetric", "compressed-tensors")]


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
    ("int8-rows", "gptq", "rounded"),
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


# ---------------------------------------------------------------- folders as GGUF files -----------------------------

TO_GGUF = [
    ("gptq-2", "Q4_0"), ("gptq-3", "Q4_0"), ("gptq-3-asymmetric-v1", "Q4_0"), ("gptq-4", "Q4_0"),
    ("gptq-4-asymmetric-v2", "Q5_0"), ("gptq-8", "Q8_0"), ("gptq-4-bf16", "Q4_0"), ("gptq-4-rows", "Q4_0"),
    ("gptq-4-shards", "Q4_0"), ("gptq-head", "Q4_0"), ("awq", "Q5_0"), ("auto-round-gptq-5", "Q5_0"),
    ("auto-round-extra", None), ("packed-4", "Q4_0"), ("packed-5", "Q8_0"), ("packed-6", "Q8_0"), ("packed-7", "Q8_0"),
    ("packed-8", "Q8_0"), ("gptq-dynamic", None), ("awq-some-float", None),
]


def to_gguf(folder, to):
    """The tensors of the file, by name."""
    figures = cli_program.report("convert", folder, "-o", to / "out.gguf", to=to)
    assert figures["format"] == "gguf" and figures["linears"] > 0
    assert abs(figures["output_bytes"] - (to / "out.gguf").stat().st_size) < 64
    return {tensor.name: tensor for tensor in gguf.GGUFReader(to / "out.gguf").tensors}


def check_values(tensors, expected):
    """expected: by the names of Hugging Face."""
    heads = {"q_proj": 4, "k_proj": 2}
    assert len(tensors) == len(expected)
    for name, values in expected.items():
        tensor = tensors[cli_gguf.gguf_name(name, "llama")]
        found = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        permuted = heads.get(name.split(".")[-2])
        assert torch.equal(cli_gguf.deinterleave(found, permuted) if permuted else found, values), name


@pytest.mark.parametrize("name, kind", TO_GGUF)
def test_a_folder_as_a_file(name, kind, variants, tmp_path):
    before = variants(name).before
    tensors = to_gguf(before, tmp_path)
    check_values(tensors, quantized_folders.dequantized(before, name))
    kinds = {tensor.tensor_type.name for tensor in tensors.values() if ".ffn_" in tensor.name or ".attn_q.w" in tensor.name}
    assert kind is None or kinds - {"F32"} == {kind}
    assert {tensor.tensor_type.name for tensor in tensors.values() if len(tensor.shape) == 1} == {"F32"}
    assert tensors["token_embd.weight"].tensor_type.name == ("F16" if VARIANTS[name].dtype == torch.float16 else "BF16")
    old, new = (cli_program.logits(path, IDS, tmp_path, "--dtype", "f32") for path in (before, tmp_path / "out.gguf"))
    assert old.std() > 0.1 and torch.equal(old, new)
    assert cli_program.report("inspect", tmp_path / "out.gguf", to=tmp_path)["sound"] is True


def test_a_file_cannot_say_that_inputs_are_rounded(variants, tmp_path):
    found = cli_program.call("convert", variants("int8-rows").before, "-o", tmp_path / "out.gguf")
    assert found.returncode == 1 and "rounded" in found.stderr.splitlines()[-1]
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize("bits, kind", [(4, "Q4_1"), (5, "Q5_1")])
def test_minima_that_are_values_of_f16(bits, kind, variants, tmp_path):
    """Scales of few digits, so that their products with zero-points have no more than F16 holds."""
    name = {4: "packed-4-asymmetric", 5: "packed-5"}[bits]
    before = tmp_path / "before"
    quantized_folders.write(before, name, variants(name).source)
    tensors = load_file(before / "model.safetensors")
    for part, scales in tensors.items():
        if part.endswith("weight_scale"):
            mantissa, exponent = torch.frexp(scales.float())
            scales.copy_(torch.ldexp((mantissa * 32).round() / 32, exponent))
    save_file(tensors, before / "model.safetensors", metadata={"format": "pt"})
    written = to_gguf(before, tmp_path)
    check_values(written, quantized_folders.dequantized(before, name))
    assert written["blk.0.ffn_down.weight"].tensor_type.name == kind
    reader = gguf.GGUFReader(tmp_path / "out.gguf")
    assert reader.fields["general.file_type"].contents() == gguf.LlamaFileType[f"MOSTLY_{kind}"]


NOT_IN_BLOCKS = [
    ("gptq-4-act-order", "act-order"), ("nf4", "nf4"), ("fp8-tiles", "fp8"), ("int8-tensor", "int8"),
    ("packed-8-rows-asymmetric", "Q8_0 from -128 to 127"),
]


@pytest.mark.parametrize("name, why", NOT_IN_BLOCKS)
def test_what_blocks_would_lose_is_refused(name, why, variants, tmp_path):
    found = cli_program.call("convert", variants(name).before, "-o", tmp_path / "out.gguf")
    assert found.returncode == 1 and why in found.stderr.splitlines()[-1]
    assert "model.layers.0.self_attn.q_proj" in found.stderr
    assert not (tmp_path / "out.gguf").exists()


def test_groups_that_are_no_blocks_are_refused(home, tmp_path):  # noqa: F811
    source = home / "float16"
    cli_program.run("quantize", source, "-o", tmp_path / "small", "--method", "rtn", "--group-size", 16, "--tweak", "none",
                    "--calibration", home / "text")
    found = cli_program.call("convert", tmp_path / "small", "-o", tmp_path / "out.gguf")
    assert found.returncode == 1 and "groups of 16 columns" in found.stderr


def test_a_file_stays_a_file(tmp_path):
    cli_gguf.write(tmp_path / "in.gguf", cli_models.llama(intermediate_size=128), "llama", gguf.GGMLQuantizationType.Q4_0)
    found = cli_program.call("convert", tmp_path / "in.gguf", "-o", tmp_path / "out.gguf")
    assert found.returncode == 1 and "is a GGUF file already" in found.stderr


@pytest.mark.parametrize("arguments, words", [(["-o", "out"], "--format: needed"),
                                              (["-o", "out", "--format", "gguf"], "by the ending .gguf")])
def test_the_name_of_the_output_is_the_formats(arguments, words, variants, tmp_path):
    found = cli_program.call("convert", variants("gptq-4").before, *arguments)
    assert found.returncode == 2 and words in found.stderr


# Norms shifted and embeddings tied; rows q | k | v in groups; experts in one tensor; weights stored [in, out]. All
# columns are whole blocks.
GATED = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
FAMILIES_TO_GGUF = {
    "qwen2": GATED, "gemma": GATED | {"head_dim": 16}, "mixtral": GATED, "gpt2": {"n_embd": 64, "n_head": 4},
    "falcon": {"hidden_size": 64, "num_attention_heads": 8, "num_kv_heads": 2, "new_decoder_architecture": True},
}


@pytest.mark.parametrize("family", FAMILIES_TO_GGUF)
def test_families(family, tmp_path):
    facts = FAMILIES[family]
    config = facts.config(**facts.base | FAMILIES_TO_GGUF[family])
    family_models.make(family, None, config).save_pretrained(tmp_path / "model")
    calibration = cli_program.save_ids(tmp_path / "ids.safetensors", family_models.ids(8, 16, seed=3))
    form = "compressed-tensors" if family == "gpt2" else "gptq"
    cli_program.run("quantize", tmp_path / "model", "-o", tmp_path / "folder", "--format", form, "--method", "rtn",
                    "--symmetric", "--group-size", 32, "--tweak", "none", "--calibration", calibration)
    written = to_gguf(tmp_path / "folder", tmp_path)
    assert "Q4_0" in {tensor.tensor_type.name for tensor in written.values()}
    old, new = (cli_program.logits(path, family_models.IDS, tmp_path, "--dtype", "f32")
                for path in (tmp_path / "folder", tmp_path / "out.gguf"))
    assert old.std() > 0.1 and torch.equal(old, new)


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


@pytest.mark.parametrize("family, dtype, told", [
    ("llama", "f32", "a model of float32 in bfloat16"), ("llama", "f16", None), ("llama", "bf16", None),
    ("gemma3", "f16", "a gemma3_text of float16 in bfloat16"), ("gemma3", "bf16", None)])
def test_another_dtype_that_the_server_computes_in_is_said(family, dtype, told, tmp_path):
    family_models.make(family, next(iter(family_models.FAMILIES[family].cases))).save_pretrained(tmp_path / "model")
    calibration = cli_program.save_ids(tmp_path / "ids.safetensors", family_models.ids(8, 16, seed=3))
    found = cli_program.call("quantize", tmp_path / "model", "-o", tmp_path / "out", "--for", "vllm", "--store-dtype", dtype,
                             "--method", "rtn", "--group-size", 0, "--tweak", "none", "--calibration", calibration)
    assert found.returncode == 0, found.stderr
    assert (told is None and "vLLM computes" not in found.stderr) or f"vLLM computes {told}" in found.stderr
