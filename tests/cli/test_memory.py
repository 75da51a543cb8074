"""--memory: the same results where the float blocks are read from the file one by one."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file

import cli_models
import cli_program

# Sizes of the model below, in F32: 8 blocks of 123 kB, and 164 kB outside them.
NEED = "2.2MB"
NEED_TO_TWEAK = "2.5MB"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    cli_models.save_with_tokenizer(cli_models.llama(num_hidden_layers=8), folder / "model")
    (folder / "text.txt").write_text(cli_models.text(600))
    cli_program.save_ids(folder / "calibration.safetensors", cli_models.ids(8, 32))
    return folder


def notes(*arguments):
    finished = cli_program.call(*arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stderr


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_quantize_and_tweak(home, dtype):
    quantize = ["quantize", home / "model", "--method", "rtn", "--bits", 3, "--group-size", 16, "--tweak", "none",
                "--calibration", home / "calibration.safetensors", "--dtype", dtype]
    whole, parts = home / f"whole-{dtype}", home / f"parts-{dtype}"
    assert "memory:" not in notes(*quantize, "-o", whole)
    assert "memory: float blocks read from the file" in notes(*quantize, "-o", parts, "--memory", NEED)
    assert cli_program.file_bytes(parts) == cli_program.file_bytes(whole)

    tweak = ["tweak", whole, "--reference", home / "model", "--dtype", dtype, "--method", "layerwise", "--calibration",
             home / "calibration.safetensors"]
    full = cli_program.report(*tweak, "-o", home / f"tweaked-{dtype}", to=home)
    little = cli_program.report(*tweak, "-o", home / f"tweaked-parts-{dtype}", "--memory", NEED_TO_TWEAK, to=home)
    for key in ("quantized", "tweaked"):
        assert little["kld"][key] == pytest.approx(full["kld"][key], rel=1e-4)  # rows are summed in other parts


@pytest.mark.parametrize("command", ["quantize", "tweak"])
def test_text_is_written_with_the_blocks_on_the_device(home, tmp_path, command):
    rtn = ["quantize", home / "model", "--method", "rtn", "--bits", 3, "--group-size", 16, "--tweak", "none"]
    given = ["--calibration", home / "calibration.safetensors"]
    written = ["--samples", 8, "--tokens", 24, "--generate-batch", 4, "--strategy", "llm-qat"]
    run, need = [*rtn, "--dtype", "f32"], NEED
    if command == "tweak":
        notes(*rtn, *given, "-o", tmp_path / "base")
        run = ["tweak", tmp_path / "base", "--reference", home / "model", "--dtype", "f32", "--method", "layerwise"]
        need = NEED_TO_TWEAK
    brought = "while the text is written, all float blocks are on the device"
    whole = cli_program.report(*run, *written, "-o", tmp_path / "whole", to=tmp_path)
    little = notes(*run, *written, "-o", tmp_path / "little", "--memory", need, "--json", tmp_path / "little.json")
    assert "float blocks read from the file" in little and brought in little
    # Of the float model on the rows that confirm: another text would have another.
    perplexity = json.loads((tmp_path / "little.json").read_text())["perplexity"]["float"]
    assert perplexity == pytest.approx(whole["perplexity"]["float"], rel=1e-5)
    assert brought not in notes(*run, *given, "-o", tmp_path / "given", "--memory", need)


def test_run_models(home, tmp_path):
    ids = cli_models.ids(3, 20)
    expected = cli_program.logits(home / "model", ids, tmp_path)
    assert torch.equal(cli_program.logits(home / "model", ids, tmp_path, "--memory", "1MB"), expected)

    evaluate = ["eval", home / "model", "--text", home / "text.txt", "--context", 32]
    whole = cli_program.report(*evaluate, to=tmp_path)["perplexity"]
    assert cli_program.report(*evaluate, "--memory", "1MB", to=tmp_path)["perplexity"]["value"] == pytest.approx(
        whole["value"], rel=1e-6)

    generate = ["generate", home / "model", "--samples", 2, "--tokens", 12, "--generate-batch", 2, "--strategy", "llm-qat",
                "--dtype", "f32"]
    notes(*generate, "-o", tmp_path / "whole.safetensors")
    assert "brought one by one" in notes(*generate, "-o", tmp_path / "parts.safetensors", "--memory", "1MB")
    whole, parts = (load_file(tmp_path / f"{name}.safetensors")["input_ids"] for name in ("whole", "parts"))
    assert torch.equal(parts, whole)


def test_too_little_and_not_a_size(home, tmp_path):
    run = ["quantize", home / "model", "-o", tmp_path / "out", "--group-size", 16, "--calibration",
           home / "calibration.safetensors", "--memory"]
    finished = cli_program.call(*run, "900KB")
    assert finished.returncode == 1
    assert "even one block at a time" in finished.stderr and "a larger --memory" in finished.stderr
    assert not (tmp_path / "out").exists()
    would_do = re.search(r"needs about ([\d.]+ [KM]iB) of memory", finished.stderr).group(1).replace(" ", "")
    notes(*run, would_do)
    finished = cli_program.call("logits", home / "model", "--tokens", "x", "-o", "y", "--memory", "much")
    assert finished.returncode == 2 and "much: not a size of memory" in finished.stderr
