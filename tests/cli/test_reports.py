"""What a run says of itself: its settings, its size, what was rejected, and options without effect."""
import json
import re
import signal
import subprocess

import numpy
import pytest
import torch
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


@pytest.mark.parametrize("tweak", [["--tweak", "layerwise", "--lr", 0.5, "--loss", "mse"], ["--steps", 2, "--lr", 30]])
def test_unguarded_the_rejected_state_is_saved(tweak, home, tmp_path):
    """Its figures are then those of the saved model, and no one takes them for confirmed."""
    guarded, unguarded = (cli_program.report(
        *quantize(home, tmp_path / "out", *tweak, *more), "--calibration", home / "calibration.safetensors", to=home)
        for more in ([], ["--unguarded"]))
    assert guarded["guard"]["kept"] == "untouched" and "rejected" not in unguarded
    assert unguarded["guard"]["kept"] == guarded["rejected"]["state"] and not unguarded["guard"]["accepted"]
    assert unguarded["kld"]["tweaked"] == guarded["rejected"]["kld"]["tweaked"] > unguarded["kld"]["quantized"]
    assert unguarded["guard"]["gain"] == guarded["guard"]["gain"] < 0
    assert unguarded["settings"]["tweak"] == guarded["settings"]["tweak"] | {"unguarded": True}
    assert unguarded["guard"]["reason"].endswith("saved without the guard's consent (--unguarded)")
    # Nor is it hidden that the rows that choose were against it.
    reasons = [run["guard"]["reason"].startswith("no candidate was better") for run in (guarded, unguarded)]
    assert reasons == ["--steps" in tweak] * 2


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
    assert {"method", "bits", "group", "scale-type"} <= set(keys)
    unknown = "is not a setting; the help of `quantize` lists them with --rule"
    for key, refused in [("colour", True), *((key, False) for key in keys)]:
        said = cli_program.call("quantize", "model", "-o", "out", "--rule", f"*={key}:~").stderr
        assert (unknown in said) == refused, said


# command, options that have an effect, options that have none, and the words for it
IDLE = [
    ("eval", ["--lambada", "rows.jsonl"], ["--context", "64", "--max-tokens", "100"], "no --text or --rows"),
    ("eval", ["--text", "text.txt"], ["--max-examples", "3"], "no --lambada or --task"),
    ("generate", ["--strategy", "llm-qat"], ["--languages", "de"], "--strategy llm-qat"),
    ("generate", ["--strategy", "random-tokens"], ["--temperature", "2", "--top-k", "5"], "--strategy random-tokens"),
    ("generate", ["--text", "text.txt"], ["--top-p", "0.5"], "--text"),
    ("quantize", ["--tweak", "none"], ["--lr", "0.1", "--tune", "norms", "--loss", "mse"], "--tweak none"),
    ("quantize", ["--tweak", "none"], ["--context", "64", "--max-tokens", "9"], "no --eval-text or --eval-rows"),
    ("quantize", ["--tweak", "none"], ["--max-examples", "9"], "no --eval-lambada"),
    ("quantize", ["--tune", "norms", "--epochs", "1"], ["--lr-scales", "0.1"], "--tune norms"),
    ("quantize", ["--steps", "2"], ["--epochs", "3", "--budget", "5m"], "--steps"),
    ("quantize", ["--tweak", "none"], ["--strategy", "llm-qat", "--top-p", "0.5"], "--calibration"),
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


def seen_by_numpy(calibration, evaluated, run=32):
    """Rows that have an aligned run of ids which the other text, windows joined, holds anywhere."""
    evaluated = evaluated.reshape(-1)
    runs = {evaluated[i:i + run].tobytes() for i in range(len(evaluated) - run + 1)}
    return sum(any(row[i:i + run].tobytes() in runs for i in range(0, len(row) - run + 1, run)) for row in calibration)


# How the evaluated text comes from the calibration text; a part of the options.
COPIES = {
    "the same file": lambda text: text,
    "a copy": lambda text: text,
    "a prefix": lambda text: text[:len(text) // 3],
    "an end": lambda text: text[len(text) // 2:],
    "within another": lambda text: cli_models.text(300, seed=11) + "\n" + text[:3000] + "\n" + cli_models.text(90, seed=12),
    "another text": lambda text: cli_models.text(900, seed=5),
}


@pytest.mark.parametrize("through", ["--text", "--calibration"])
@pytest.mark.parametrize("how", COPIES)
def test_texts_seen_in_training_are_noted(how, through, home, tmp_path):
    """Tokens are compared, not files. The tokens are those of the package `tokenizers`."""
    reported = home / "text.txt" if how == "the same file" else tmp_path / "reported.txt"
    if how != "the same file":
        reported.write_text(COPIES[how]((home / "text.txt").read_text(encoding="utf-8")), encoding="utf-8")
    rows, tokens, context = 8, 64, 32
    source = ["--text", home / "text.txt", "--samples", rows, "--tokens", tokens]
    tokenizer = cli_models.load_tokenizer(home / "model")
    ids = numpy.array(tokenizer.encode((home / "text.txt").read_text(encoding="utf-8")).ids)
    calibration = ids[:rows * tokens].reshape(rows, tokens)
    if through == "--text":  # the rows that the program cuts, from all of the text
        cli_program.run("generate", home / "model", "-o", tmp_path / "cut.safetensors", *source)
        calibration = load_file(tmp_path / "cut.safetensors")["input_ids"].numpy()
    else:  # as any other program may have made it
        source = ["--calibration", cli_program.save_ids(tmp_path / "ids.safetensors", torch.tensor(calibration))]
    evaluated = numpy.array(tokenizer.encode(reported.read_text(encoding="utf-8")).ids)
    expected = seen_by_numpy(calibration, evaluated[:len(evaluated) // context * context])
    assert (expected == 0) == (how == "another text" or (how == "an end" and through == "--calibration"))
    finished = cli_program.call(*quantize(home, tmp_path / "out", "--method", "rtn", "--tweak", "none", *source),
                                "--eval-text", reported, "--context", context)
    assert finished.returncode == 0, finished.stderr
    if expected:
        assert f"{reported.name}: holds {expected} of the {rows} rows of the calibration text" in finished.stderr
    else:
        assert "of the calibration text" not in finished.stderr


def test_rows_that_repeat_are_noted(home, tmp_path):
    """The rows that confirm are the last: 2 of 8."""
    ids = cli_models.ids(8, 32)
    for rows, noted in ((ids, False), (torch.cat([ids[:7], ids[:1]]), True)):
        calibration = cli_program.save_ids(tmp_path / "ids.safetensors", rows)
        finished = cli_program.call(*quantize(home, tmp_path / "out", "--method", "rtn", "--tweak", "none"),
                                    "--calibration", calibration)
        assert finished.returncode == 0
        assert ("the rows that train hold 1 of the 2 rows that confirm" in finished.stderr) == noted


@pytest.mark.parametrize("rows", [4, 5, 40])
@pytest.mark.parametrize("rate", [30, 1e6])
def test_the_best_candidate_that_lost_is_reported(rate, rows, home, tmp_path):
    """Where none is chosen, the best by the report's own list is judged on the held-out rows."""
    calibration = cli_program.save_ids(tmp_path / "ids.safetensors", cli_models.ids(rows, 32))
    found = cli_program.report(*quantize(home, tmp_path / "out", "--method", "rtn", "--steps", 2, "--lr", rate),
                               "--calibration", calibration, to=tmp_path)
    guard, rejected = found["guard"], found["rejected"]
    scores = {row["name"]: row["kld"] for row in guard["candidates"]}
    untouched = scores.pop("untouched")
    assert guard["kept"] == "untouched" and not guard["accepted"]
    changed = {name: score for name, score in scores.items() if score != untouched and score is not None}
    assert rejected["state"] == min(changed, key=changed.get)
    assert rejected["kld"]["tweaked"] > found["kld"]["quantized"] == found["kld"]["tweaked"]
    assert guard["gain"] == pytest.approx(found["kld"]["quantized"] - rejected["kld"]["tweaked"], rel=1e-5)
    chose = max(1, rows // 16)
    assert f"over {chose} row{'' if chose == 1 else 's'}; with the best of them ({rejected['state']})" in guard["reason"]
    assert "more rows" in guard["reason"] or "held-out rows" in guard["reason"]
    assert len(guard["reason"]) < 300
