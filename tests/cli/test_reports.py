"""What a run says of itself: its settings, its size, what was rejected, and options without effect."""
import json
import re
import signal
import subprocess

import pytest
from safetensors.torch import load_file

import cli_models
import cli_program

BITS, GROUP = 3, 16


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "model")
    cli_program.save_ids(folder / "calibration.safetensors", cli_models.ids(24, 32))
    (folder / "text.txt").write_text(cli_models.text(1200), encoding="utf-8")
    (folder / "rows.jsonl").write_text('{"text": "The old bridge carries water"}\n', encoding="utf-8")
    return folder


def quantize(home, to, *options):
    return ["quantize", home / "model", "-o", to, "--bits", BITS, "--group-size", GROUP, "--dtype", "f32", *options]


@pytest.fixture(scope="module")
def layerwise(home):
    """A run that moves the norms far too much, and is rejected."""
    options = ["--tweak", "layerwise", "--lr", 0.5, "--lr-scale", 2, "--loss", "mse", "--target", "float-stream",
               "--epochs", 2, "--batch", 3, "--rule", "*.down_proj=bits:4", "--damping", 0.02]
    return cli_program.report(*quantize(home, home / "rejected", *options), "--calibration",
                              home / "calibration.safetensors", to=home)


def test_settings_are_those_of_the_command(layerwise):
    tweak, plan = layerwise["settings"]["tweak"], layerwise["settings"]["quantize"]
    assert tweak == {"method": "layerwise", "lr": 0.5, "lr_scale": 2, "loss": "mse", "target": "float-stream",
                     "epochs": 2, "batch": 3, "final_norm": False}
    given = {"bits": BITS, "group_size": GROUP, "method": "gptq", "symmetric": False, "damping": 0.02,
             "rules": ["*.down_proj=bits:4"]}
    assert {key: plan[key] for key in given} == given
    assert plan["sweeps"] > 0 and plan["act_order"] and plan["search_grid"]  # GPTQ's own defaults


def test_a_rejected_state_keeps_its_figures(layerwise):
    """The guard's gain is the difference of the mean divergences, of rows of one length."""
    assert layerwise["guard"]["kept"] == "untouched" and layerwise["kld"]["tweaked"] == layerwise["kld"]["quantized"]
    rejected = layerwise["rejected"]
    assert rejected["kld"]["tweaked"] > layerwise["kld"]["quantized"]
    assert rejected["perplexity"]["tweaked"] > layerwise["perplexity"]["float"]
    gain = layerwise["kld"]["quantized"] - rejected["kld"]["tweaked"]
    assert abs(gain - layerwise["guard"]["gain"]) < 1e-6 * abs(gain) + 1e-9


def test_sizes_are_those_on_disk(layerwise, home):
    files = [path for path in (home / "rejected").rglob("*") if path.is_file()]
    assert layerwise["output"] == {"path": str(home / "rejected"), "bytes": sum(path.stat().st_size for path in files)}
    tensors = load_file(home / "model" / "model.safetensors").values()
    assert layerwise["float_bytes"] == sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_interrupted_steps_are_a_fact_of_the_report(home, tmp_path):
    command = [cli_program.PROGRAM, *map(str, quantize(
        home, tmp_path / "out", "--method", "rtn", "--epochs", 100000, "--calibration",
        home / "calibration.safetensors", "--json", tmp_path / "report.json"))]
    process = subprocess.Popen(command, env=cli_program.ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    assert cli_program.appears(tmp_path / "out.untouched")
    for line in process.stderr:
        if "tweak end to end" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["training"]["stopped"] == "interrupted" and report["steps"] < report["training"]["planned_steps"]


def test_completed_steps_say_so(home, tmp_path):
    report = cli_program.report(*quantize(home, tmp_path / "out", "--method", "rtn", "--steps", 3, "--lr", 0.001),
                                "--calibration", home / "calibration.safetensors", to=tmp_path)
    assert report["training"]["stopped"] == "completed" and report["steps"] == 3
    assert report["settings"]["tweak"]["steps"] == 3 and report["settings"]["tweak"]["lr"] == 0.001


def test_settings_of_rules_are_in_the_help():
    shown = re.sub(r"\s+", " ", cli_program.call("quantize", "--help").stdout)
    keys = re.search(r"a glob, or re:REGEX\): ([a-z, -]+); repeatable", shown).group(1).split(", ")
    refused = cli_program.call("quantize", "model", "-o", "out", "--rule", "*=colour:red").stderr
    assert all(key in refused for key in keys) and {"method", "bits", "group", "scale-type"} <= set(keys)


# command, options that have an effect, options that have none, and the words for it
IDLE = [
    ("eval", ["--lambada", "rows.jsonl"], ["--context", "64", "--max-tokens", "100"], "--lambada alone"),
    ("eval", ["--text", "text.txt"], ["--max-examples", "3"], "no --lambada"),
    ("generate", ["--strategy", "llm-qat"], ["--languages", "de"], "--strategy llm-qat"),
    ("generate", ["--strategy", "random-tokens"], ["--temperature", "2", "--top-k", "5"], "--strategy random-tokens"),
    ("generate", ["--text", "text.txt"], ["--top-p", "0.5"], "--text"),
    ("quantize", ["--tweak", "none"], ["--lr", "0.1", "--tune", "norms", "--loss", "mse"], "--tweak none"),
    ("quantize", ["--tweak", "none"], ["--context", "64", "--max-tokens", "9"], "no --eval-text or --eval-rows"),
    ("quantize", ["--tweak", "none"], ["--max-examples", "9"], "no --eval-lambada"),
    ("quantize", ["--tune", "norms", "--epochs", "1"], ["--lr-scales", "0.1"], "--tune norms"),
    ("quantize", ["--steps", "2"], ["--epochs", "3", "--budget", "5m"], "--steps"),
    ("quantize", ["--tweak", "none"], ["--samples", "5", "--tokens", "7"], "--calibration"),
]


@pytest.mark.parametrize("command, given, idle, words", IDLE)
def test_options_without_effect_are_noted(command, given, idle, words, home, tmp_path):
    files = [str(home / word) if (home / word).is_file() else word for word in given]
    shared = {"eval": [], "generate": ["-o", tmp_path / "out", "--samples", 4, "--tokens", 16],
              "quantize": ["-o", tmp_path / "out", "--method", "rtn", "--group-size", GROUP, "--calibration",
                           home / "calibration.safetensors"]}[command]
    finished = cli_program.call(command, home / "model", *shared, *files, *idle)
    assert finished.returncode == 0, finished.stderr
    for option in idle[::2]:
        assert f"{option}: has no effect with {words}\n" in finished.stderr


@pytest.mark.parametrize("how", ["the same file", "a link", "through generate"])
def test_texts_seen_in_training_are_noted(how, home, tmp_path):
    (tmp_path / "link.txt").symlink_to(home / "text.txt")
    source = ["--text", home / "text.txt", "--samples", 8, "--tokens", 32]
    reported = tmp_path / "link.txt" if how == "a link" else home / "text.txt"
    if how == "through generate":
        cli_program.run("generate", home / "model", "-o", tmp_path / "ids.safetensors", *source)
        source = ["--calibration", tmp_path / "ids.safetensors"]
    common = quantize(home, tmp_path / "out", "--method", "rtn", "--tweak", "none", *source)
    finished = cli_program.call(*common, "--eval-text", reported, "--context", 32)
    assert finished.returncode == 0, finished.stderr
    assert f"{reported}: is also the calibration text" in finished.stderr
    (tmp_path / "other.txt").write_text(cli_models.text(400, seed=5), encoding="utf-8")
    finished = cli_program.call(*common, "--eval-text", tmp_path / "other.txt", "--context", 32)
    assert "is also the calibration text" not in finished.stderr
