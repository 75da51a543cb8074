"""Who opens what `normtweak quantize` saves: announced before the work, stated by `inspect`, and true of transformers."""
import json

import gguf
import numpy
import pytest
import torch
from transformers import (AutoModel, AutoModelForCausalLM, CompressedTensorsConfig, CodeGenConfig,
                          CodeGenForCausalLM)

import cli_models
import cli_program

IDS = cli_models.ids(2, 40, seed=9)
ARGUMENT = "quantization_config=CompressedTensorsConfig(dequantize=True)"

# bits, group size, more options
PLANS = {
    "8-g32": (8, 32, []),
    "6-g32-symmetric": (6, 32, ["--symmetric"]),
    "4-g32": (4, 32, []),
    "4-g32-symmetric": (4, 32, ["--symmetric"]),
    "4-channel": (4, 0, []),
    "4-some-float": (4, 32, ["--rule", "*.down_proj=skip"]),
    "3-g16": (3, 16, []),
    "3-g16-symmetric": (3, 16, ["--symmetric"]),
    "2-g16": (2, 16, []),
    "2-channel-symmetric": (2, 0, ["--symmetric"]),
    "4-and-8": (4, 32, ["--rule", "*.down_proj=bits:8"]),
    "4-and-3": (4, 32, ["--rule", "*.down_proj=bits:3"]),
    "4-in-two-groups": (4, 32, ["--rule", "*.down_proj=group:16"]),
    "4-partly-symmetric": (4, 32, ["--rule", "*.down_proj=symmetric"]),
    "4-and-8-symmetric": (4, 32, ["--symmetric", "--rule", "*.down_proj=bits:8"]),
    "4-and-3-symmetric": (4, 32, ["--symmetric", "--rule", "*.q_proj=bits:3"]),
    "4-g32-float-zeros": (4, 32, ["--float-zeros"]),
    "4-partly-float-zeros": (4, 32, ["--rule", "*.down_proj=float-zeros"]),
    "4-g32-export": (4, 32, ["--format", "hf"]),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "llama")
    cli_program.save_ids(folder / "calibration.safetensors", cli_models.ids(8, 32))
    return folder


def logits_in_transformers(folder, **how):
    """None if it refuses the folder."""
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **how)
    except (ValueError, RuntimeError):
        return None
    return cli_models.logits(model, IDS)


def hidden_in_transformers(folder):
    """The last hidden states; None if it refuses the folder or starts weights at random."""
    try:
        model, notes = AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except (ValueError, RuntimeError):
        return None
    assert not notes["missing_keys"], notes
    with torch.no_grad():
        return model(IDS).last_hidden_state


def agree(found, expected):
    """The package multiplies in the type of the scales, F16 here, when it dequantizes while loading."""
    return (found - expected).abs().max() <= 5e-3 * expected.abs().max()


@pytest.mark.parametrize("name", PLANS)
def test_what_is_announced_holds(name, home, tmp_path):
    bits, group, more = PLANS[name]
    folder = tmp_path / "out"
    run = cli_program.call("quantize", home / "llama", "-o", folder, "--method", "rtn", "--bits", bits, "--group-size",
                           group, *more, "--tweak", "none", "--calibration", home / "calibration.safetensors", "--json",
                           tmp_path / "report.json")
    assert run.returncode == 0, run.stderr
    readers = json.loads((tmp_path / "report.json").read_text())["readers"]
    quick = cli_program.report("inspect", folder, "--quick", to=tmp_path)
    assert quick["readers"] == readers
    before, after = [text.count("opens in ") for text in (run.stderr, run.stdout)]
    assert before == 1 and after == 1
    transformers_opens = next(row["opens"] for row in readers if row["program"] == "transformers")
    assert ("--format hf" in run.stderr) == (not transformers_opens)

    stated = {row["program"]: row for row in readers}
    expected = cli_program.logits(folder, IDS, tmp_path)
    as_stated = {"quantization_config": CompressedTensorsConfig(dequantize=True)} \
        if ARGUMENT in stated["transformers"]["note"] else {}
    found = logits_in_transformers(folder, **as_stated)
    assert (found is not None) == stated["transformers"]["opens"], stated
    assert found is None or agree(found, expected)
    # Nor does the other way of loading give anything else than the right logits or a refusal.
    other = {} if as_stated else {"quantization_config": CompressedTensorsConfig(dequantize=True)}
    found = None if name == "4-g32-export" else logits_in_transformers(folder, **other)
    assert found is None or agree(found, expected)
    # Nor does the base model alone, whose names lack the prefix.
    base = hidden_in_transformers(folder)
    assert base is None or agree(base @ cli_program.tensors(folder)["lm_head.weight"].float().T, expected)


def test_no_default_needs_an_argument(home, tmp_path):
    """What most people load with: transformers, and vLLM at 4 bits."""
    found = cli_program.report("quantize", home / "llama", "-o", tmp_path / "out", "--method", "rtn", "--tweak", "none",
                               "--calibration", home / "calibration.safetensors", to=tmp_path)
    assert all(row["opens"] and ARGUMENT not in row["note"] for row in found["readers"])


def test_checkpoints_of_others_may_need_one(home, tmp_path):
    """A tweak leaves their config as it is."""
    folder, text = tmp_path / "out", home / "calibration.safetensors"
    cli_program.run("quantize", home / "llama", "-o", folder, "--method", "rtn", "--group-size", 32, "--tweak", "none",
                    "--calibration", text)
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]["dequantize"]
    (folder / "config.json").write_text(json.dumps(config))
    assert logits_in_transformers(folder) is None
    found = cli_program.report("inspect", folder, "--quick", to=tmp_path)["readers"]
    assert ARGUMENT in next(row["note"] for row in found if row["program"] == "transformers")
    cli_program.run("tweak", folder, "--reference", home / "llama", "-o", tmp_path / "tweaked", "--calibration", text,
                    "--method", "layerwise", "--lr", "1e-30")
    assert (tmp_path / "tweaked" / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_the_next_best_is_named(home, tmp_path):
    """Where a format or a model is not supported."""
    for format, advice in (("exl2", "compressed-tensors"), ("mlx", "known are hf")):
        run = cli_program.call("quantize", home / "llama", "-o", tmp_path / "out", "--format", format)
        assert run.returncode == 2 and advice in run.stderr and len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_inspect_lists_tensors_of_other_families(kind, tmp_path):
    if kind == "folder":
        config = CodeGenConfig(vocab_size=100, n_embd=32, n_inner=64, n_layer=1, n_head=4, n_positions=32, rotary_dim=4)
        path = tmp_path / "codegen"
        CodeGenForCausalLM(config).save_pretrained(path)
        expected = {name: list(tensor.shape) for name, tensor in cli_program.tensors(path).items()}
    else:
        path = tmp_path / "model.gguf"
        writer = gguf.GGUFWriter(path, "codeshell")
        writer.add_tensor("output_norm.weight", numpy.ones(32, numpy.float32))
        for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file,
                     writer.close):
            step()
        expected = {"output_norm.weight": [32]}
    run = cli_program.call("inspect", path, "--json", tmp_path / "report.json")
    assert run.returncode == 1 and "is not supported" in run.stderr
    assert "normtweak inspect" in cli_program.call("generate", path, "-o", tmp_path / "text.safetensors").stderr
    for name, shape in expected.items():
        assert f"  {name} F32 {shape}" in run.stdout
    assert json.loads((tmp_path / "report.json").read_text())["tensors"] == len(expected)
