"""Linears whose inputs are rounded as well: quantized, saved, read, scored and tweaked with the rounding in the passes."""
import json

import pytest
import torch
from transformers import AutoModelForCausalLM

import cli_models
import cli_program
import rounded_activations
from rounded_activations import agree

IDS = cli_models.ids(8, 12, seed=8)
TOLERANCE = 1e-4  # of the largest logit

# bits, group size, more options
PLANS = {
    "W8A8": (8, 0, ["--symmetric", "--activation-bits", 8]),
    "W8A8-asymmetric": (8, 0, ["--activation-bits", 8, "--activation-asymmetric"]),
    "W8A8-static": (8, 0, ["--symmetric", "--activation-bits", 8, "--activation-scale", "tensor"]),
    "W8A8-static-asymmetric": (8, 32, ["--activation-bits", 8, "--activation-scale", "tensor",
                                       "--activation-asymmetric"]),
    "W4A8": (4, 32, ["--symmetric", "--activation-bits", 8]),
    # Asymmetric: in a symmetric dynamic range the largest value, if negative, lies right between two codes (-7.5), so
    # that the last bit of a sum decides, and at 4 bits it moves whole logits.
    "W4A4": (4, 32, ["--symmetric", "--activation-bits", 4, "--activation-asymmetric"]),
    "W4A4-static": (4, 32, ["--symmetric", "--activation-bits", 4, "--activation-scale", "tensor"]),
    "W8A8-smoothquant": (8, 0, ["--symmetric", "--activation-bits", 8, "--transform", "smoothquant"]),
    "W8A8-gptq": (8, 0, ["--symmetric", "--activation-bits", 8, "--method", "gptq"]),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("activations")
    model = cli_models.llama(intermediate_size=128)
    with torch.no_grad():  # channels that stand out, as those of large models do
        model.model.layers[0].input_layernorm.weight[3] = 6
        model.model.layers[1].post_attention_layernorm.weight[7] = -5
    cli_models.save_with_tokenizer(model, folder / "llama")
    cli_program.save_ids(folder / "calibration.safetensors", cli_models.ids(16, 32))
    return folder


def quantize(home, name, out, *more):
    bits, group, options = PLANS[name]
    method = [] if "--method" in options else ["--method", "rtn"]
    return cli_program.call("quantize", home / "llama", "-o", out, *method, "--bits", bits, "--group-size", group,
                            *options, "--calibration", home / "calibration.safetensors", *more)


@pytest.fixture(scope="module")
def saved(home):
    """Name → folder, each made once."""
    def find(name):
        if not (home / name).exists():
            finished = quantize(home, name, home / name, "--tweak", "none")
            assert finished.returncode == 0, finished.stderr
        return home / name
    return find


def dequantized(folder):
    """The weights multiplied out, from the bytes or the words of the file."""
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
    tensors = cli_program.tensors(folder)
    bits = next(iter(quantization(folder)["config_groups"].values()))["weights"]["num_bits"]
    values = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        if part not in ("weight", "weight_packed") or f"{module}.weight_scale" not in tensors:
            if not part.startswith(("weight_", "input_")):
                values[name] = tensor.float()
            continue
        if part == "weight_packed":
            tensor = unpack_from_int32(tensor, bits, tensors[f"{module}.weight_shape"])
        scale = tensors[f"{module}.weight_scale"].float()
        zero = tensors.get(f"{module}.weight_zero_point", torch.zeros_like(scale)).float()
        spread = tensor.shape[1] // scale.shape[1]
        values[f"{module}.weight"] = ((tensor.float() - zero.repeat_interleave(spread, 1))
                                      * scale.repeat_interleave(spread, 1))
    return values


def quantization(folder):
    return json.loads((folder / "config.json").read_text())["quantization_config"]


def restated(folder, rounds=True):
    model = cli_models.llama(intermediate_size=128)
    model.load_state_dict(dequantized(folder))
    if rounds:
        rounded_activations.attach(model, folder, rounded_activations.of_config(folder))
    return cli_models.logits(model, IDS)


# ---------------------------------------------------------------- saving and reading ---------------------------------

@pytest.mark.parametrize("name", PLANS)
def test_logits_are_those_of_a_restatement(name, saved, tmp_path):
    found = cli_program.logits(saved(name), IDS, tmp_path, "--dtype", "f32")
    expected = restated(saved(name))
    assert agree(found, expected, TOLERANCE)
    assert not agree(found, restated(saved(name), rounds=False), TOLERANCE)  # rounding is seen


@pytest.mark.parametrize("name", PLANS)
def test_transformers_runs_it(name, saved, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(saved(name), dtype=torch.float32)
    assert agree(cli_models.logits(model, IDS), restated(saved(name)), TOLERANCE)
    readers = cli_program.report("inspect", saved(name), to=tmp_path)["readers"]
    assert {"program": "transformers", "opens": True} in [
        {key: reader[key] for key in ("program", "opens")} for reader in readers]


def test_what_a_file_holds(saved):
    static, dynamic = quantization(saved("W8A8-static-asymmetric")), quantization(saved("W4A8"))
    assert (static["format"], dynamic["format"]) == ("int-quantized", "pack-quantized")
    assert dynamic["config_groups"]["group_0"]["input_activations"] == {
        "num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "group_size": None, "dynamic": True}
    assert "dequantize" not in static
    tensors = cli_program.tensors(saved("W8A8-static-asymmetric"))
    module = "model.layers.1.mlp.down_proj"
    assert tensors[f"{module}.weight"].dtype == tensors[f"{module}.input_zero_point"].dtype == torch.int8
    assert tensors[f"{module}.input_scale"].shape == tensors[f"{module}.input_zero_point"].shape == (1,)
    shared = [tensors[f"model.layers.0.self_attn.{part}_proj.input_scale"] for part in "qkv"]
    assert shared[0] == shared[1] == shared[2]
    assert not [name for name in cli_program.tensors(saved("W8A8")) if "input" in name and "layernorm" not in name]


def test_static_ranges_are_those_of_the_text(home, saved):
    """Of the first linears, which nothing quantized comes before."""
    model = AutoModelForCausalLM.from_pretrained(home / "llama", dtype=torch.float32)
    seen = []
    model.model.layers[0].self_attn.q_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    cli_models.logits(model, cli_models.ids(16, 32))
    low, high = seen[0].min(), seen[0].max()
    tensors = cli_program.tensors(saved("W8A8-static"))
    found = tensors["model.layers.0.self_attn.q_proj.input_scale"].float()
    # Part of the rows is held out.
    assert 0.5 < found / (torch.maximum(-low, high) / 127.5) < 1.01


def test_inspect_names_it(saved, tmp_path):
    kinds = {row["kind"] for row in cli_program.report("inspect", saved("W8A8-static-asymmetric"), to=tmp_path)["linears"]}
    assert any("inputs 8 bits, static, asymmetric" in kind for kind in kinds)
    kinds = {row["kind"] for row in cli_program.report("inspect", saved("W4A4"), to=tmp_path)["linears"]}
    assert any("inputs 4 bits, dynamic per token, asymmetric" in kind for kind in kinds)


def test_static_ranges_and_rules(home, tmp_path):
    finished = quantize(home, "W8A8", tmp_path / "out", "--tweak", "none", "--rule", "*.down_proj=activation-bits:16",
                        "--rule", "*.o_proj=activation-scale:tensor")
    assert finished.returncode == 0, finished.stderr
    tensors = cli_program.tensors(tmp_path / "out")
    modules = {name.rpartition(".")[0].rpartition(".")[2] for name in tensors if name.endswith("input_scale")}
    assert modules == {"o_proj"}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    found = cli_program.logits(tmp_path / "out", IDS, tmp_path, "--dtype", "f32")
    assert agree(found, cli_models.logits(model, IDS), 5e-3)


# ---------------------------------------------------------------- tweaking -------------------------------------------

TWEAK = ["--dtype", "f32", "--steps", 24, "--batch", 2, "--lr", 0.01]


def changed(before, after):
    old, new = cli_program.tensors(before), cli_program.tensors(after)
    assert old.keys() == new.keys()
    return {name for name in old if not torch.equal(old[name], new[name])}


@pytest.mark.parametrize("name", ["W4A4", "W4A4-static", "W8A8-static-asymmetric"])
def test_a_tweak_changes_norms_and_scales_alone(name, home, saved, tmp_path):
    figures = cli_program.report("tweak", saved(name), "--reference", home / "llama", "-o", tmp_path / "out",
                                 "--calibration", home / "calibration.safetensors", "--tune", "norms,scales", *TWEAK,
                                 to=tmp_path)
    assert "accepted" in figures["guard"]
    if name == "W4A4":
        assert figures["guard"]["accepted"] and figures["kld"]["tweaked"] < figures["kld"]["quantized"]
        assert changed(saved(name), tmp_path / "out")
    assert all(part.endswith(("norm.weight", "weight_scale")) for part in changed(saved(name), tmp_path / "out"))
    assert (saved(name) / "config.json").read_bytes() == (tmp_path / "out" / "config.json").read_bytes()
    found = cli_program.logits(tmp_path / "out", IDS, tmp_path, "--dtype", "f32")
    assert agree(found, restated(tmp_path / "out"), TOLERANCE)


@pytest.mark.parametrize("method", ["end-to-end", "layerwise"])
def test_quantize_tweaks_with_rounded_inputs(method, home, tmp_path):
    more = TWEAK if method == "end-to-end" else ["--dtype", "f32"]
    finished = quantize(home, "W4A4", tmp_path / "out", "--tweak", method, *more, "--json", tmp_path / "report.json")
    assert finished.returncode == 0, finished.stderr
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["kld"]["quantized"] > 0 and "accepted" in figures["guard"]
    assert figures["settings"]["quantize"]["activation_bits"] == 4
    found = cli_program.logits(tmp_path / "out", IDS, tmp_path, "--dtype", "f32")
    assert agree(found, restated(tmp_path / "out"), TOLERANCE)


# ---------------------------------------------------------------- what is refused ------------------------------------

REFUSED = {
    "gptq": (["--activation-bits", 8, "--format", "gptq"], "cannot say"),
    "hf": (["--activation-bits", 8, "--format", "hf"], "--format hf cannot say"),
    "bits": (["--activation-bits", 6], "6 not in"),
    "scale alone": (["--activation-scale", "tensor"], "--activation-scale: has no effect without --activation-bits"),
    "rule alone": (["--rule", "*.down_proj=activation-asymmetric"], "has no effect without --activation-bits"),
    "one input": (["--activation-bits", 8, "--rule", "*.q_proj=activation-bits:4"], "read the same input"),
    "rule value": (["--rule", "*.down_proj=activation-bits:5"], "5 bits: use 4, 8 or 16"),
    "vllm": (["--activation-bits", 8, "--for", "vllm"], "--group-size 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name, home, tmp_path):
    options, why = REFUSED[name]
    found = cli_program.call("quantize", home / "llama", "-o", tmp_path / "out", "--method", "rtn", "--bits", 8,
                             "--calibration", home / "calibration.safetensors", "--tweak", "none", *options)
    assert found.returncode in (1, 2) and why in found.stderr, found.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_refuses(home, tmp_path):
    found = cli_program.call("quantize", home / "llama", "-o", tmp_path / "out.gguf", "--format", "gguf",
                             "--gguf-type", "Q8_0", "--method", "rtn", "--activation-bits", 8, "--calibration", home / "calibration.safetensors")
    assert found.returncode == 1 and "--format gguf cannot say" in found.stderr


def test_a_missing_range_is_named(saved, tmp_path):
    import shutil
    shutil.copytree(saved("W8A8-static"), tmp_path / "bad")
    tensor = "model.layers.1.mlp.up_proj.input_scale"
    cli_program.change_tensors(tmp_path / "bad", lambda name, value: -value if name == tensor else value)
    found = cli_program.call("logits", tmp_path / "bad", "--tokens",
                             cli_program.save_ids(tmp_path / "ids.safetensors", IDS), "-o", tmp_path / "logits")
    assert found.returncode == 1 and tensor in found.stderr and "greater than 0" in found.stderr
