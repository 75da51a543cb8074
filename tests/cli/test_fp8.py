"""`quantize --method fp8` and `fp8-tensor`: FP8 weights with a scale per channel or one for all, with FP8 inputs or float
ones, as others open them."""
import json
import pathlib

import pytest
import torch
from compressed_tensors.quantization import QuantizationConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import cli_models
import cli_program
import rounded_activations
from rounded_activations import agree

IDS = cli_models.ids(8, 12, seed=8)
TOLERANCE = 1e-4  # of the largest logit
MOST = 448        # the largest value of E4M3
STATIC = ["--activation-bits", 8, "--activation-scale", "tensor"]
OPTIONS = {"W8A8": ["fp8", "--activation-bits", 8], "W8A8-static": ["fp8", *STATIC], "W8A16": ["fp8"],
           "tensor-W8A8-static": ["fp8-tensor", *STATIC], "tensor-W8A16": ["fp8-tensor"]}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fp8")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "llama")
    cli_program.save_ids(folder / "calibration.safetensors", cli_models.ids(16, 32))
    for name, options in OPTIONS.items():
        cli_program.run("quantize", folder / "llama", "-o", folder / name, "--tweak", "none", "--calibration",
                        folder / "calibration.safetensors", "--method", *options)
    return folder


def tensors_of(folder):
    return {name: tensor for file in sorted(pathlib.Path(folder).glob("*.safetensors"))
            for name, tensor in load_file(file).items()}


def restated(folder):
    """The weights multiplied out, and the inputs rounded as the config says."""
    tensors, model = tensors_of(folder), cli_models.llama()
    values = {name: tensor.float() for name, tensor in tensors.items() if "_scale" not in name}
    for name, tensor in tensors.items():
        if name.endswith(".weight_scale"):
            values[name.removesuffix("_scale")] *= tensor.float()
    model.load_state_dict(values)
    if rounded_activations.of_config(folder)("model.layers.0.mlp.up_proj"):
        rounded_activations.attach(model, folder, rounded_activations.of_config(folder))
    return cli_models.logits(model, IDS)


@pytest.mark.parametrize("name", ["W8A8", "tensor-W8A16"])
def test_weights_are_rounded_to_nearest(name, home):
    tensors, floats = tensors_of(home / name), tensors_of(home / "llama")
    linears = [name.removesuffix("_scale") for name in tensors if name.endswith(".weight_scale")]
    assert len(linears) == 14
    for linear in linears:
        weight, scale = floats[linear].float(), tensors[f"{linear}_scale"]
        largest = weight.abs().max().reshape(1) if "tensor" in name else weight.abs().amax(1, keepdim=True)
        expected = (largest / torch.tensor(float(MOST))).to(scale.dtype)
        assert scale.equal(expected) and scale.shape == largest.shape
        values = (weight / expected.float()).clamp(-MOST, MOST).to(torch.float8_e4m3fn)
        assert tensors[linear].dtype == torch.float8_e4m3fn and tensors[linear].float().equal(values.float())


def test_the_config_is_that_of_compressed_tensors(home):
    inputs = {"W8A8": True, "W8A8-static": False, "W8A16": None, "tensor-W8A8-static": False, "tensor-W8A16": None}
    for name, dynamic in inputs.items():
        config = json.loads((home / name / "config.json").read_text())["quantization_config"]
        assert config["format"] == "float-quantized"
        (group,) = QuantizationConfig.model_validate(config).config_groups.values()
        assert (group.weights.num_bits, group.weights.type, group.weights.strategy) == (
            8, "float", "tensor" if "tensor" in name else "channel")
        if dynamic is None:
            assert group.input_activations is None
        else:
            assert group.input_activations.type == "float" and group.input_activations.dynamic == dynamic


@pytest.mark.parametrize("name", OPTIONS)
def test_logits_are_those_of_a_restatement_and_of_transformers(name, home, tmp_path):
    expected = restated(home / name)
    assert agree(cli_program.logits(home / name, IDS, tmp_path, "--dtype", "f32"), expected, TOLERANCE)
    model = AutoModelForCausalLM.from_pretrained(home / name, dtype=torch.float32)
    assert agree(cli_models.logits(model, IDS), expected, TOLERANCE)
    report = cli_program.report("inspect", home / name, to=tmp_path)
    assert {"transformers": True, "vLLM": True} == {reader["program"]: reader["opens"] for reader in report["readers"]
                                                    if reader["program"] != "normtweak"}


@pytest.mark.parametrize("name", ["W8A8", "W8A16", "tensor-W8A16"])
def test_a_tweak_changes_norms_and_scales_alone(name, home, tmp_path):
    figures = cli_program.report("tweak", home / name, "--reference", home / "llama", "-o", tmp_path / "out",
                                 "--calibration", home / "calibration.safetensors", "--dtype", "f32", "--steps", 24,
                                 "--batch", 2, "--lr", 1e-3, "--tune", "norms,scales", to=tmp_path)
    assert figures["settings"]["tweak"]["tune"] == ["norms", "scales"]
    before, after = tensors_of(home / name), tensors_of(tmp_path / "out")
    assert before.keys() == after.keys()
    changed = {part for part in before if not before[part].float().equal(after[part].float())}
    assert all(part.endswith(("norm.weight", "weight_scale")) for part in changed)
    assert agree(cli_program.logits(tmp_path / "out", IDS, tmp_path, "--dtype", "f32"), restated(tmp_path / "out"),
                 TOLERANCE)


@pytest.mark.parametrize("method, without_tweak", [("fp8", "W8A16"), ("fp8-tensor", "tensor-W8A16")])
def test_the_tweaked_state_of_a_run(method, without_tweak, home, tmp_path):
    """From coarser weights beside them there is something to gain, also for the FP8 scales."""
    figures = cli_program.report("quantize", home / "llama", "-o", tmp_path / "out", "--method", method, "--dtype", "f32",
                                 "--rule", "*.mlp.*=method:rtn,bits:2,group:16", "--calibration",
                                 home / "calibration.safetensors", "--steps", 24, "--batch", 2, "--lr", 1e-3, to=tmp_path)
    assert figures["guard"]["accepted"] and figures["kld"]["tweaked"] < figures["kld"]["quantized"]
    tensors = tensors_of(tmp_path / "out")
    kinds = {tensors[f"model.layers.0.{name}"].dtype for name in ("self_attn.q_proj.weight", "mlp.up_proj.weight_packed")}
    assert kinds == {torch.float8_e4m3fn, torch.int32}
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert config["format"] == "mixed-precision"
    assert {"float-quantized", "pack-quantized"} < {group["format"] for group in config["config_groups"].values()}
    untouched = tensors_of(home / without_tweak)
    moved = [name for name in untouched if "self_attn" in name and name.endswith("weight_scale")
             and not untouched[name].equal(tensors[name])]
    assert moved


def test_what_a_report_says(home, tmp_path):
    figures = cli_program.report("quantize", home / "llama", "-o", tmp_path / "out", "--method", "fp8", "--tweak",
                                 "none", "--calibration", home / "calibration.safetensors", to=tmp_path)
    bits = [8 + 16 / columns for columns in (64, 64, 64, 64, 64, 64, 128)]
    assert figures["bits"] == 8 and 8 < figures["bits_per_weight"] <= max(bits)
    assert cli_program.file_bytes(tmp_path / "out") == cli_program.file_bytes(home / "W8A16")


REFUSED = {
    "bits": (["--bits", 4], "--bits: has no effect with --method fp8"),
    "groups": (["--symmetric"], "--symmetric: has no effect with --method fp8"),
    "4 bits of inputs": (["--activation-bits", 4], "inputs of fp8 linears"),
    "asymmetric inputs": (["--activation-bits", 8, "--activation-asymmetric"], "FP8 has no zero-points"),
    "gptq": (["--format", "gptq"], "fp8"),
    "gguf": (["--format", "gguf", "--gguf-type", "Q4_K_M"], "fp8 does not quantize to block types"),
    "codes": (["--learn-codes"], "--learn-codes: learns affine codes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_does_not_go_with_is_refused(case, home, tmp_path):
    options, said = REFUSED[case]
    out = tmp_path / ("out.gguf" if case == "gguf" else "out")
    finished = cli_program.call("quantize", home / "llama", "-o", out, "--calibration",
                                home / "calibration.safetensors", "--method", "fp8", *options)
    assert finished.returncode in (1, 2) and said in finished.stderr, finished
    assert finished.stderr.count("\n") == 1 and not out.exists()
