"""`normtweak search`: every trial is a run of `quantize`, and its table survives."""
import json
import signal
import subprocess

import pytest

import cli_models
import cli_program

SETTINGS = ["--method", "rtn", "--bits", 3, "--group-size", 16, "--epochs", 4]
GRID = ["--grid", "lr=1e-3,1e-2,5e-2", "--grid", "tune=norms;scales"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "model")
    cli_program.save_ids(folder / "ids.safetensors", cli_models.ids(8, 24))
    (folder / "text.txt").write_text(cli_models.text(400, seed=8), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def searched(home):
    """A search with all of its trials done, and what it reported."""
    figures = cli_program.report("search", home / "model", "-o", home / "found", *SETTINGS, *GRID, "--samples", 8,
                                 "--tokens", 24, "--keep", 2, to=home)
    return home / "found", figures


def table(folder):
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def test_trials_score_as_runs_do(home, searched, tmp_path):
    """Though the model is quantized once for all of them, as they differ in the tweak alone."""
    folder, figures = searched
    rows = table(folder)
    assert [row["flags"] for row in rows] == [{"lr": lr, "tune": tune} for lr in ("1e-3", "1e-2", "5e-2")
                                              for tune in ("norms", "scales")]
    scores, tweaked = {}, {}
    for row in rows:
        found = cli_program.report("quantize", home / "model", "-o", tmp_path / f"{row['trial']}", *SETTINGS, "--lr",
                                   row["flags"]["lr"], "--tune", row["flags"]["tune"], "--calibration",
                                   folder / "text.safetensors", to=tmp_path)
        scores[row["trial"]] = found["kld"]["tweaked"]
        tweaked[row["trial"]] = found.get("rejected", found)["kld"]["tweaked"]
        assert row["score"] == row["kld"]["tweaked"] == found["kld"]["tweaked"] and row["seconds"] > 0
        assert row["kept"] == found["guard"]["kept"] and row.get("rejected") == found.get("rejected")
    ranked = [trial["trial"] for trial in figures["trials"]]
    assert ranked == sorted(scores, key=lambda trial: (scores[trial], tweaked[trial])) and len(set(scores.values())) > 2
    # The best ones are there, byte for byte, and the others are not.
    assert {path.name for path in folder.glob("trial-*")} == {f"trial-{trial:03}" for trial in ranked[:2]}
    assert [trial.get("output") for trial in figures["trials"]] == [
        str(folder / f"trial-{trial:03}") if place < 2 else None for place, trial in enumerate(ranked)]
    for trial in ranked[:2]:
        assert cli_program.file_bytes(folder / f"trial-{trial:03}") == cli_program.file_bytes(tmp_path / f"{trial}")


def test_trials_that_only_tweak_otherwise_share_the_quantization(home, tmp_path):
    """Not with a tweak that quantizes as it goes, nor with one that was quantized otherwise. The scores are those of runs
    of their own."""
    command = ["search", home / "model", "-o", tmp_path / "dir", "--method", "gptq", "--group-size", 16, "--calibration",
               home / "ids.safetensors", "--steps", 2, "--grid", "bits=2,3", "--grid", "lr=1e-3,3e-2"]
    finished = cli_program.call(*command)
    assert finished.returncode == 0, finished
    assert finished.stderr.count("starts from what the trial before quantized") == 2
    for row in table(tmp_path / "dir"):
        found = cli_program.report("quantize", home / "model", "-o", tmp_path / "one", "--method", "gptq", "--group-size",
                                   16, "--calibration", home / "ids.safetensors", "--steps", 2, "--bits",
                                   row["flags"]["bits"], "--lr", row["flags"]["lr"], to=tmp_path)
        assert (row["kld"], row["perplexity"], row.get("rejected")) == (
            found["kld"], found["perplexity"], found.get("rejected"))
    layerwise = cli_program.call("search", home / "model", "-o", tmp_path / "blocks", "--method", "rtn", "--group-size",
                                 16, "--calibration", home / "ids.safetensors", "--tweak", "layerwise", "--grid",
                                 "lr=1e-4,1e-3")
    assert layerwise.returncode == 0 and "starts from" not in layerwise.stderr


def test_no_rate_is_no_tweak(home, tmp_path):
    for name, tweak in (("none", ["none"]), ("no rate", ["layerwise", "--lr", 0])):
        cli_program.run("quantize", home / "model", "-o", tmp_path / name, "--method", "rtn", "--bits", 2, "--calibration",
                        home / "ids.safetensors", "--tweak", *tweak)
    assert cli_program.file_bytes(tmp_path / "none") == cli_program.file_bytes(tmp_path / "no rate")


def test_ties_are_ranked_by_the_tweaked_state(home, tmp_path):
    """Where no trial beats the untouched model, the one whose tweak came closest to it is the first."""
    figures = cli_program.report("search", home / "model", "-o", tmp_path / "dir", "--method", "rtn", "--bits", 3,
                                 "--group-size", 16, "--tweak", "layerwise", "--calibration", home / "ids.safetensors",
                                 "--grid", "lr=3e-1,1e-1,2e-1", to=tmp_path)
    rejected = [trial["rejected"]["kld"]["tweaked"] for trial in figures["trials"]]
    assert len({trial["score"] for trial in figures["trials"]}) == 1 and rejected == sorted(rejected)
    assert len(set(rejected)) == 3


def test_a_search_goes_on_where_it_was(home, searched, tmp_path):
    """Killed, with a line half written; what is done is not done again."""
    folder, figures = tmp_path / "dir", searched[1]
    command = [cli_program.PROGRAM, "search", home / "model", "-o", folder, *map(str, [*SETTINGS, *GRID, "--keep", 1]),
               "--samples", "8", "--tokens", "24", "--quiet"]
    process = subprocess.Popen(command, env=cli_program.ENVIRONMENT)
    assert cli_program.appears(folder / "trials.jsonl")
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = (folder / "trials.jsonl").read_text()
    done = before.count("\n")
    assert 1 <= done < 6
    with open(folder / "trials.jsonl", "a") as file:
        file.write('{"trial": 99, "fl')
    again = cli_program.call(*command[1:-1])
    assert again.returncode == 0 and "the last line is unfinished" in again.stderr and f"goes on after {done} " in again.stderr
    assert (folder / "trials.jsonl").read_text().startswith(before)
    key = lambda row: (row["flags"]["lr"], row["flags"]["tune"])
    assert {key(row): row["score"] for row in table(folder)} == {key(row): row["score"] for row in figures["trials"]}
    assert len(table(folder)) == 6 and len(list(folder.glob("trial-*"))) == 1
    assert again.stdout.splitlines()[0].split() == ["trial", "KLD", "bits", "seconds", "kept", "settings"]
    assert len(again.stdout.splitlines()) == 7


def test_other_settings_are_refused(home, searched, tmp_path):
    folder = searched[0]
    before = cli_program.file_bytes(folder)
    for change, words in ((["--bits", 4], ["--bits", "3", "4"]), (["--symmetric"], ["--symmetric"])):
        settings = [*SETTINGS]
        if change[0] == "--bits":
            settings[3] = 4
        else:
            settings += change
        finished = cli_program.call("search", home / "model", "-o", folder, *settings, *GRID, "--samples", 8, "--tokens", 24)
        assert finished.returncode == 1 and all(word in finished.stderr for word in ["other settings", *words]), finished
    assert cli_program.file_bytes(folder) == before


def test_adaptive(home, tmp_path):
    """Of a grid with a clear best, its neighbours lead there without trying all."""
    figures = cli_program.report("search", home / "model", "-o", tmp_path / "dir", "--method", "rtn", "--group-size", 16, "--tweak",
                                 "none", "--calibration", home / "ids.safetensors", "--grid", "bits=2,3,4,6,8",
                                 "--adaptive", 4, to=tmp_path)
    assert [row["flags"]["bits"] for row in table(tmp_path / "dir")] == ["4", "3", "6", "8"]
    assert figures["trials"][0]["flags"] == {"bits": "8"} and "output" in figures["trials"][0]


def test_values_with_commas(home, tmp_path):
    """Between semicolons, the value of an option is what the option would be given."""
    settings = ["--method", "rtn", "--group-size", 16, "--tweak", "none", "--calibration", home / "ids.safetensors"]
    rules = ["*=bits:2,group:8", "*.down_proj=bits:2,symmetric"]
    cli_program.run("search", home / "model", "-o", tmp_path / "dir", *settings, "--grid", f"rule={';'.join(rules)}")
    rows = table(tmp_path / "dir")
    assert [row["flags"] for row in rows] == [{"rule": rule} for rule in rules]
    for row in rows:
        found = cli_program.report("quantize", home / "model", "-o", tmp_path / "one", *settings, "--rule",
                                   row["flags"]["rule"], to=tmp_path)
        assert (row["score"], row["bits_per_weight"]) == (found["kld"]["tweaked"], found["bits_per_weight"])


def test_memory_is_planned_for_all_trials_that_share_it(home, tmp_path):
    """The first trial alone has room, and the second, which learns all codes, has not: neither is begun."""
    settings = ["--method", "rtn", "--bits", 3, "--group-size", 16, "--tune", "norms", "--learn-codes", "--steps", 1,
                "--dtype", "f32", "--device", "cpu", "--memory", "1700KB", "--calibration", home / "ids.safetensors"]
    few, every = (cli_program.call("quantize", home / "model", "-o", tmp_path / "one", *settings, "--codes-of", codes)
                  for codes in ("*.q_proj", "*"))
    message = "even one block at a time"
    assert few.returncode == 0 and every.returncode == 1 and message in every.stderr, (few, every)
    both = cli_program.call("search", home / "model", "-o", tmp_path / "dir", *settings, "--grid", "codes-of=*.q_proj;*")
    assert both.returncode == 1 and message in both.stderr and not (tmp_path / "dir" / "trials.jsonl").exists(), both


def test_scored_by_a_reported_text(home, tmp_path):
    figures = cli_program.report("search", home / "model", "-o", tmp_path / "dir", "--method", "rtn", "--group-size", 16, "--tweak",
                                 "none", "--calibration", home / "ids.safetensors", "--grid", "bits=2,4", "--eval-text",
                                 home / "text.txt", "--score-reported", to=tmp_path)
    assert figures["score"]["reported_text"]
    for trial in figures["trials"]:
        assert trial["score"] == trial["evaluations"][0]["kld"]["tweaked"] != trial["kld"]["tweaked"]


@pytest.mark.parametrize("options, words", [
    ([], ["--grid"]),
    (["--grid", "lr="], ["--grid lr=", "empty"]),
    (["--grid", "lr"], ["--grid lr", "empty"]),
    (["--grid", "rate=1"], ["--grid rate=1", "lr-scale"]),
    (["--grid", "samples=8"], ["samples", "no setting that a grid varies"]),
    (["--grid", "lr=1,,2"], ["lr=1,,2", "empty"]),
    (["--grid", "lr=1,1"], ["twice"]),
    (["--grid", "lr=1e-3", "--grid", "lr=1e-4"], ["lr has a grid already"]),
    (["--grid", "lr=1e-3", "--lr", "1e-3"], ["--lr is given as well"]),
    (["--grid", "lr=1e-3,-1"], ["lr -1", "too small"]),
    (["--grid", "bits=4,5"], ["bits 5", "2,3,4,6,8"]),
    (["--grid", "group-size=16,48"], ["group-size 48", "does not divide"]),
    (["--grid", "method=gptq,rtn", "--sweeps", 1], ["method rtn", "--sweeps: has no effect"]),
    (["--grid", "loss=mse"], ["--loss: has no effect with --tweak end-to-end"]),
    (["--grid", "lr=1e-3", "--score-reported"], ["--score-reported", "--eval-text"]),
    (["--grid", "tune=norms,scales"], ["--grid tune=norms,scales", "'tune=norms;scales'", "--tune 'norms,scales'"]),
    (["--grid", "rule=*=bits:2,group:8"], ["--grid rule=*=bits:2,group:8", "--rule '*=bits:2,group:8'"]),
    (["--grid", "tune=norms;scales;"], ["a value is empty"]),
])
def test_refused_before_any_work(options, words, home, tmp_path):
    finished = cli_program.call("search", home / "model", "-o", tmp_path / "dir", "--calibration",
                                home / "ids.safetensors", *options)
    assert finished.returncode in (1, 2) and all(word in finished.stderr for word in words), finished
    assert finished.stderr.count("\n") == 1 and not (tmp_path / "dir").exists()


def test_a_folder_of_other_files_is_refused(home, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    finished = cli_program.call("search", home / "model", "-o", tmp_path, "--calibration", home / "ids.safetensors",
                                "--grid", "lr=1e-3")
    assert finished.returncode == 1 and "other files" in finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
