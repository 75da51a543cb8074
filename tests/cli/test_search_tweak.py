"""`normtweak search --reference`: every trial is a run of `tweak` of one quantized model."""
import json
import shutil
import signal
import subprocess

import pytest

import cli_models
import cli_program

GRID = ["--grid", "lr=1e-3,1e-2,5e-2", "--grid", "tune=norms;scales"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "model")
    cli_program.save_ids(folder / "ids.safetensors", cli_models.ids(8, 24))
    cli_program.run("quantize", folder / "model", "-o", folder / "quantized", "--method", "rtn", "--bits", 3,
                    "--group-size", 16, "--tweak", "none", "--calibration", folder / "ids.safetensors")
    cli_program.run("quantize", folder / "model", "-o", folder / "quantized.gguf", "--method", "rtn", "--format", "gguf",
                    "--gguf-type", "Q4_0", "--tweak", "none", "--calibration", folder / "ids.safetensors")
    return folder


def command(home, folder, *options, quantized="quantized"):
    return ["search", home / quantized, "--reference", home / "model", "-o", folder, *options]


def table(folder):
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def searched(home):
    figures = cli_program.report(*command(home, home / "found", *GRID, "--epochs", 4, "--samples", 8, "--tokens", 24,
                                          "--keep", 2), to=home)
    return home / "found", figures


def test_trials_score_as_runs_do(home, searched, tmp_path):
    folder, figures = searched
    rows = table(folder)
    assert [row["flags"] for row in rows] == [{"lr": lr, "tune": tune} for lr in ("1e-3", "1e-2", "5e-2")
                                              for tune in ("norms", "scales")]
    scores = {}
    for row in rows:
        flags = [word for name, value in row["flags"].items() for word in (f"--{name}", value)]
        found = cli_program.report("tweak", home / "quantized", "--reference", home / "model", "-o",
                                   tmp_path / f"{row['trial']}", "--epochs", 4, *flags, "--calibration",
                                   folder / "text.safetensors", to=tmp_path)
        assert row["score"] == row["kld"]["tweaked"] == found["kld"]["tweaked"]
        assert row["kept"] == found["guard"]["kept"] and row.get("rejected") == found.get("rejected")
        scores[row["trial"]] = row["score"]
    ranked = [trial["trial"] for trial in figures["trials"]]
    assert [scores[trial] for trial in ranked] == sorted(scores.values()) and len(set(scores.values())) > 2
    assert {path.name for path in folder.glob("trial-*")} == {f"trial-{trial:03}" for trial in ranked[:2]}
    for trial in ranked[:2]:
        assert cli_program.file_bytes(folder / f"trial-{trial:03}") == cli_program.file_bytes(tmp_path / f"{trial}")


def test_models_are_loaded_once(home, tmp_path):
    """Not where trials need other memory."""
    options = ["--calibration", home / "ids.safetensors", "--tweak", "layerwise"]
    finished = cli_program.call(*command(home, tmp_path / "dir", *options, "--grid", "lr=1e-4,1e-3", "--grid",
                                         "lr-scale=0,1"))
    assert finished.returncode == 0, finished
    seconds = [cli_program.report("tweak", home / "quantized", "--reference", home / "model", "-o", tmp_path / "one",
                                  "--method", "layerwise", "--lr", row["flags"]["lr"], "--lr-scale",
                                  row["flags"]["lr-scale"], "--calibration", home / "ids.safetensors",
                                  to=tmp_path)["kld"]["tweaked"] for row in table(tmp_path / "dir")]
    assert seconds == [row["kld"]["tweaked"] for row in table(tmp_path / "dir")]
    loaded = finished.stderr.count(f"trial-001: ")  # who opens the result is said once it is loaded
    assert loaded == 1 and "trial-002: " not in finished.stderr


def test_it_goes_on_where_it_was(home, searched, tmp_path):
    folder, figures = tmp_path / "dir", searched[1]
    words = [*map(str, command(home, folder, *GRID)), "--epochs", "4", "--samples", "8", "--tokens", "24", "--keep", "1"]
    process = subprocess.Popen([cli_program.PROGRAM, *words, "--quiet"], env=cli_program.ENVIRONMENT)
    assert cli_program.appears(folder / "trials.jsonl")
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = (folder / "trials.jsonl").read_text()
    again = cli_program.call(*words)
    assert again.returncode == 0 and f"goes on after {before.count(chr(10))} " in again.stderr
    assert (folder / "trials.jsonl").read_text().startswith(before)
    key = lambda row: (row["flags"]["lr"], row["flags"]["tune"])
    assert {key(row): row["score"] for row in table(folder)} == {key(row): row["score"] for row in figures["trials"]}
    # A search over `quantize` of the same folder is another one.
    other = cli_program.call("search", home / "model", "-o", folder, *GRID, "--epochs", 4, "--samples", 8, "--tokens", 24)
    assert other.returncode == 1 and "other settings" in other.stderr
    # So is one over other codes of the same shapes.
    shutil.copytree(home / "quantized", tmp_path / "others")
    weights = tmp_path / "others" / "model.safetensors"
    weights.touch()
    words[1] = str(tmp_path / "others")
    others = cli_program.call(*words)
    assert others.returncode == 1 and "other settings" in others.stderr


def test_a_file_of_blocks(home, tmp_path):
    figures = cli_program.report(*command(home, tmp_path / "dir", "--calibration", home / "ids.safetensors", "--grid",
                                          "lr=1e-3,1e-2", "--steps", 4, quantized="quantized.gguf"), to=tmp_path)
    best = figures["trials"][0]
    assert best["output"].endswith(f"trial-{best['trial']:03}.gguf")
    assert len(list((tmp_path / "dir").glob("trial-*.gguf"))) == 1


@pytest.mark.parametrize("options, words", [
    (["--grid", "bits=2,3"], ["--grid bits=2,3", "no setting that a grid varies", "lr-scales"]),
    (["--grid", "lr=1e-3", "--bits", 3], ["--bits: has no effect with --reference"]),
    (["--grid", "lr=1e-3", "--preset", "norm-tweaking"], ["--preset: has no effect with --reference"]),
    (["--grid", "lr=1e-3", "--learn-codes"], ["--learn-codes: has no effect with --reference"]),
    (["--grid", "lr=1e-3", "--tweak", "none"], ["--tweak", "none"]),
    (["--grid", "lr=1e-3,-1"], ["lr -1", "too small"]),
    (["--grid", "loss=mse"], ["--loss: has no effect with --tweak end-to-end"]),
    (["--grid", "tune=zeros"], ["tune zeros"]),
])
def test_refused_before_any_work(options, words, home, tmp_path):
    finished = cli_program.call(*command(home, tmp_path / "dir", "--calibration", home / "ids.safetensors", *options))
    assert finished.returncode in (1, 2) and all(word in finished.stderr for word in words), finished
    assert finished.stderr.count("\n") == 1 and not (tmp_path / "dir").exists()


@pytest.mark.parametrize("quantized, reference, words", [
    ("model", "model", ["is --reference itself"]),
    ("quantized", "quantized", ["--reference needs the float model"]),
])
def test_models_that_do_not_fit(quantized, reference, words, home, tmp_path):
    finished = cli_program.call("search", home / quantized, "--reference", home / reference, "-o", tmp_path / "dir",
                                "--calibration", home / "ids.safetensors", "--grid", "lr=1e-3")
    assert finished.returncode in (1, 2) and all(word in finished.stderr for word in words), finished
    assert not (tmp_path / "dir").exists()
