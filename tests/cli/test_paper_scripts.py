"""bench/quantizers.py and bench/paper: tables of a tiny model, what is kept between calls, and runs that fail."""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

import pytest

import cli_models
import cli_program

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))
import jobs  # noqa: E402  pylint: disable=wrong-import-position,wrong-import-order

SMALL = ["--samples", 16, "--tokens", 32, "--device", "cpu", "--at-once", 2]


@pytest.fixture(name="home", scope="module")
def shared_home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    cli_models.save_with_tokenizer(cli_models.llama(intermediate_size=128), folder / "model")
    (folder / "rows.txt").write_text(cli_models.text(200, seed=8), encoding="utf-8")
    (folder / "text.txt").write_text(cli_models.text(200, seed=9), encoding="utf-8")
    (folder / "lambada.jsonl").write_text('{"text": "The bridge is old and green"}\n' * 3, encoding="utf-8")
    return folder


def run(script, home, *options, program=cli_program.PROGRAM, texts=("rows", "text", "lambada")):
    """What a script printed to stdout and to stderr."""
    files = {"rows": "rows.txt", "text": "text.txt", "lambada": "lambada.jsonl"}
    reported = [word for name in texts for word in (f"--{name}", home / files[name])]
    command = [sys.executable, BENCH / script, home / "model", "--program", program, *SMALL, *reported,
               "--texts", home / "texts", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False,
                          env=cli_program.ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def table(printed):
    """Title → cell for each row."""
    lines = [line.strip("|").split("|") for line in printed.splitlines() if line.startswith("| ")]
    titles, *rows = [[cell.strip() for cell in line] for line in lines]
    assert rows and {len(row) for row in rows} == {len(titles)}
    return titles, rows


def number(cell):
    """A figure, or the mean of figures."""
    return float(cell.split(" ± ")[0])


# script → its options, the labels of its rows
SCRIPTS = {
    "lambada_2bit": ([], [["float", "", ""]] + [
        [width, *row] for width in ("W4", "W2 in groups of 64") for row in (
            ["GPTQ as published", "untouched"], ["GPTQ as published", "layer-wise"], ["GPTQ as published", "end to end"],
            ["this program's GPTQ", "untouched"], ["this program's GPTQ", "end to end"])]),
    "activations": ([], [["float", "", ""]] + [
        [width, quantizer, tweak] for width in ("W4A8", "W4", "W8A8") for quantizer in ("SmoothQuant", "RTN")
        for tweak in ("untouched", "layer-wise", "end to end")]),
    "iterations": (["--iterations", 1, 2], [["0 (untouched)"], ["1"], ["2"]]),
    "losses": (["--losses", "dist", "kl", "--rates", "1e-4"], [["untouched", ""], ["dist", "1e-4"], ["kl", "1e-4"]]),
    "calibration": ([], [["float", ""]] + [[text, tweak] for text in (
        "random tokens", "written, LLM-QAT", "written, by language", "real text") for tweak in ("untouched", "layer-wise")]),
    "follow_up": ([], [["float", ""]] + [[quantizer, tweak] for quantizer in ("RTN, 6 bits", "k-means, 4 bits")
                                         for tweak in ("untouched", "layer-wise", "end to end")]),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_tables_of_the_paper(script, home, tmp_path):
    """Each row is there, with figures of runs that did not fail; the float row has those of the float model."""
    options, labels = SCRIPTS[script]
    texts = ("rows",) if script == "follow_up" else ("rows", "text", "lambada")
    printed, _ = run(f"paper/{script}.py", home, "--seeds", 0, "--out", tmp_path, *options, texts=texts)
    titles, rows = table(printed)
    width = len(labels[0])
    assert [row[:width] for row in rows] == labels
    assert titles[width:width + 2] == ["rows.txt", "KLD"] and titles[-2:] == ["bits a weight", "note"]
    for row in rows:
        assert number(row[width]) > 1 and (number(row[width + 1]) == 0) == (row[0] == "float")
        assert row[-1] in ("", "the guard would have rejected it", "guard kept: untouched")
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert runs and all("report" in found for found in runs)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]  # no models are left


def test_all_iterations_are_saved(home, tmp_path):
    """Unguarded, a tweak shows what it does, however it fares on held-out text; --guarded, only what that confirms."""
    found = {}
    for name, guarded in (("all", []), ("guarded", ["--guarded"])):
        _, rows = table(run("paper/losses.py", home, "--seeds", 0, "--out", tmp_path / name, "--losses", "mse", "--rates",
                            "0.5", *guarded, texts=["rows"])[0])
        found[name] = rows
    untouched, tweaked = found["all"]
    assert number(tweaked[3]) > number(untouched[3]) and tweaked[-1] == "the guard would have rejected it"
    assert found["guarded"][1][2:4] == untouched[2:4] and found["guarded"][1][-1] == "guard kept: untouched"


def test_drift_of_blocks(home, tmp_path):
    printed, _ = run("paper/drift.py", home, "--seeds", 0, 1, "--out", tmp_path, texts=["text"])
    titles, rows = table(printed)
    assert [row[0] for row in rows] == ["0", "1"] and len(titles) == 1 + 4 * 3
    values = [json.loads((tmp_path / f"drift-none-4-{seed}.json").read_text())["figures"] for seed in (0, 1)]
    first = [next(figure["value"] for figure in figures if figure["metric"] == "block 0 mean_shift") for figures in values]
    assert rows[0][1] == f"{statistics.mean(first):.5f} ± {statistics.stdev(first):.5f}"


def test_quantizers_go_on_where_they_were(home, tmp_path):
    """Nothing starts after --seconds-left; what is done is not done again; a run that is missing is made up for."""
    arguments = ["quantizers.py", home, "--out", tmp_path, "--quantizers", "rtn", "learned", "kmeans", "--bits", 3,
                 "--tweak", "--steps 2 --lr 0.01"]
    printed, said = run(*arguments, "--seconds-left", -1)
    assert re.search(r"[78] of 8 runs are left", said)  # the text may be there, of another test
    assert all(row[-1] == "not run yet" for row in table(printed)[1])
    printed, said = run(*arguments)
    titles, rows = table(printed)
    assert [row[:3] for row in rows] == [["16", "float", ""], ["3", "learned codes", "with the floats"]] + [
        ["3", quantizer, tweak] for quantizer in ("RTN", "k-means") for tweak in ("untouched", "layer-wise", "end to end")]
    assert "are left" not in said
    # The program itself, called for one row.
    own = cli_program.report("quantize", home / "model", "-o", tmp_path / "own", "--method", "rtn", "--bits", 3, "--group-size",
                             64, "--tweak", "none", "--calibration", home / "texts" / "text-default-16x32-0.safetensors",
                             "--eval-rows", home / "rows.txt", "--eval-text", home / "text.txt", to=tmp_path)
    expected = [f"{text[key]['quantized']:.{digits}f}" for text in own["evaluations"]
                for key, digits in (("perplexity", 2), ("kld", 4))]
    assert rows[2][3:7] == expected and rows[2][titles.index("held-out KLD")] == f"{own['kld']['quantized']:.4f}"
    (tmp_path / "report.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*-*.json")}
    again, said = run(*arguments)
    assert again == printed and said == ""
    (tmp_path / "rtn-3-0-layerwise.json").unlink()
    again, said = run(*arguments)
    assert [cell[:9] for cell in table(again)[1]] == [cell[:9] for cell in rows]
    # The model is quantized once more, since it was removed behind the last run that read it.
    changed = {path.name for path in tmp_path.glob("*-*.json") if path.stat().st_mtime_ns != before[path.name]}
    assert changed == {"rtn-3-0.json", "rtn-3-0-layerwise.json"}
    refused = subprocess.run([sys.executable, BENCH / "quantizers.py", home / "model", "--out", tmp_path], check=False,
                             capture_output=True, text=True)
    assert refused.returncode == 1 and "results of other settings" in refused.stderr and "samples: 16 there" in refused.stderr


def test_a_run_that_fails_is_a_row(home, tmp_path):
    printed, said = run("quantizers.py", home, "--out", tmp_path, "--quantizers", "rtn", "kmeans", "--bits", 3,
                        "--group-size", 7, "--tweak", "--steps 2 --lr 0.01", "--seeds", 0, 1, texts=["rows"])
    _, rows = table(printed)
    noted = {tuple(row[1:3]): row[-1] for row in rows}
    assert noted["RTN", "untouched"].count("group size 7 does not divide") == 1 and "exit status 1" in said
    assert "not without rtn-3-0" in noted["RTN", "layer-wise"]
    figures = {tuple(row[1:3]): row for row in rows}["k-means", "end to end"]
    assert re.fullmatch(r"\d+\.\d\d ± \d+\.\d\d", figures[3])
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert len([found for found in runs if "failure" in found]) == 6


def runs_of_a_program(folder, *options):
    """Runs of a program that takes as many seconds as its first argument says, and reports when it ran and where."""
    program = folder / "program"
    program.write_text(f"""#!{sys.executable}
import json, os, pathlib, sys, time
begun = time.time()
time.sleep(float(sys.argv[1]))
if "-o" in sys.argv: pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).touch()
json.dump({{"begun": begun, "ended": time.time(), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
           "threads": os.environ["OMP_NUM_THREADS"]}}, open(sys.argv[sys.argv.index("--json") + 1], "w"))
""")
    program.chmod(0o755)
    return jobs.Runs(jobs.parser("", 16, 32, "x").parse_args([
        "model", "--program", str(program), "--out", str(folder / "out"), *options]))


def test_runs_share_processors_and_gpus(tmp_path, monkeypatch):
    """Side by side, with the threads shared out and a GPU each in turn."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    runs = runs_of_a_program(tmp_path, "--at-once", "4", "--gpus", "2")
    names = [runs.add(f"run-{index}", 0.5, output=f"run-{index}.out") for index in range(4)]
    last = runs.add("last", 0, needs=names, output="last.out")
    runs.run()
    reports = [runs.report(name) for name in names]
    assert sorted(report["gpu"] for report in reports) == ["0", "0", "1", "1"]
    assert {report["threads"] for report in reports} == {str(max(1, os.cpu_count() // 4))}
    assert max(report["begun"] for report in reports) < min(report["ended"] for report in reports)
    assert runs.report(last)["begun"] > max(report["ended"] for report in reports)
    assert not list((tmp_path / "out").glob("*.out"))


def test_runs_that_take_too_long_are_ended(tmp_path, capsys):
    """And done by the next call, as are those that start behind them."""
    for seconds, done in ((60, False), (0, True)):
        runs = runs_of_a_program(tmp_path, "--end-after", "2")
        first, second = runs.add("first", 0), runs.add("second", seconds, output="second.out")
        third = runs.add("third", 0, needs=[second])
        runs.run()
        assert runs.report(first) and [runs.report(name) is not None for name in (second, third)] == [done, done]
        if not done:
            assert (runs.why_not(second), runs.why_not(third)) == (jobs.ENDED, "not run yet")
            assert "2 of 3 runs are left" in capsys.readouterr().err
