"""Several processes, started by torchrun: the same result as one, and one clear line when one of them fails."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

import cli_models
import cli_program

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node"]


def start(processes, *arguments, environment=None, program=cli_program.PROGRAM):
    return subprocess.Popen([*TORCHRUN, str(processes), str(program), *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=cli_program.ENVIRONMENT | (environment or {}))


def call(processes, *arguments, **options):
    """Exit status, and the lines that normtweak itself wrote to stderr."""
    process = start(processes, *arguments, **options)
    out, err = process.communicate(timeout=300)
    return process.returncode, [line for line in err.splitlines() if line.startswith("normtweak: ")], out


def run(processes, *arguments):
    status, lines, out = call(processes, *arguments, "--quiet")
    assert (status, lines, out) == (0, [], "")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "model")
    cli_program.save_ids(folder / "ids.safetensors", cli_models.ids(19, 64))
    mask = (torch.arange(64) < torch.arange(4, 61, 3)[:, None]).long()  # rows of 4 to 58 tokens
    cli_program.save_ids(folder / "masked.safetensors", cli_models.ids(19, 64), attention_mask=mask)
    return folder


@pytest.mark.parametrize("processes, batch", [(2, 3), (3, 4), (2, 20)])
def test_generate(processes, batch, home, tmp_path):
    """With the batches given, the text does not depend on how many processes write it. The last has nothing to do."""
    options = ["--samples", 14, "--tokens", 24, "--dtype", "f32", "--generate-batch", batch]
    cli_program.run("generate", home / "model", "-o", tmp_path / "one.safetensors", *options)
    run(processes, "generate", home / "model", "-o", tmp_path / "several.safetensors", *options)
    one, several = (load_file(tmp_path / f"{name}.safetensors")["input_ids"] for name in ("one", "several"))
    assert torch.equal(one, several)
    assert len({tuple(row) for row in several.tolist()}) == 14


def test_generate_shares_evenly(home, tmp_path):
    """Where no batch is given it is an even share of the rows."""
    options = ["--samples", 7, "--tokens", 16, "--dtype", "f32"]
    run(2, "generate", home / "model", "-o", tmp_path / "several.safetensors", *options)
    cli_program.run("generate", home / "model", "-o", tmp_path / "one.safetensors", *options, "--generate-batch", 4)
    one, several = (load_file(tmp_path / f"{name}.safetensors")["input_ids"] for name in ("one", "several"))
    assert torch.equal(one, several)


def quantize(home, method, text="ids", tweak="none"):
    groups = [] if method == "kmeans" else ["--group-size", 32]
    return ["quantize", home / "model", "--method", method, "--bits", 4, *groups, "--dtype", "f32", "--calibration",
            home / f"{text}.safetensors", "--tweak", tweak]


@pytest.mark.parametrize("transform, more", [("awq", []), ("smoothquant", ["--smooth-alpha", "search"])])
def test_transforms_see_the_rows_of_all(transform, more, home, tmp_path):
    """Norms are saved as divided, up to the order of the sums."""
    command = [*quantize(home, "rtn", "masked"), "--transform", transform, *more, "--format", "hf"]
    cli_program.run(*command, "-o", tmp_path / "one")
    run(2, *command, "-o", tmp_path / "several")
    one, several = (cli_program.tensors(tmp_path / name) for name in ("one", "several"))
    for name in one:
        if "layernorm" in name:
            torch.testing.assert_close(several[name], one[name], rtol=1e-4, atol=0)


@pytest.mark.parametrize("method, text, drift, least", [
    ("rtn", "ids", 0, 1), ("gptq", "ids", 0, 0.999), ("gptq", "masked", 0, 0.999), ("kmeans", "ids", 0, 0.999),
    ("gptq", "ids", 0.5, 0.99), ("gptq", "masked", 0.5, 0.95)])
def test_quantize(method, text, drift, least, home, tmp_path):
    """Two processes see the rows of one. Sums in another order may turn a code that lies on an edge. A correction of
    drift moves all weights by what the sums differ in, and these texts hold little more tokens than a weight has columns.
    """
    arguments = quantize(home, method, text) + (["--drift-correction", drift] if method == "gptq" else [])
    one = cli_program.report(*arguments, "-o", tmp_path / "one", to=tmp_path)
    run(2, *arguments, "-o", tmp_path / "two", "--json", tmp_path / "two.json")
    found, expected = cli_program.tensors(tmp_path / "two"), cli_program.tensors(tmp_path / "one")
    assert found.keys() == expected.keys()
    same = total = 0
    for name, tensor in expected.items():
        same += (found[name] == tensor).sum().item()
        total += tensor.numel()
    assert same >= least * total
    two = cli_program.json.loads((tmp_path / "two.json").read_text())
    assert two["processes"] == 2 and "processes" not in one
    assert two["kld"]["quantized"] == pytest.approx(one["kld"]["quantized"], rel=1e-2 if drift else 1e-3)


def test_hessians_need_every_row(home, tmp_path):
    """GPTQ on half of the rows is something else: what the test above compares is not blind to it."""
    ids = cli_models.ids(19, 64)
    cli_program.save_ids(tmp_path / "half.safetensors", ids[:10])
    for name, text in (("all", home / "ids.safetensors"), ("half", tmp_path / "half.safetensors")):
        arguments = quantize(home, "gptq")
        arguments[arguments.index("--calibration") + 1] = text
        cli_program.run(*arguments, "-o", tmp_path / name)
    found, expected = cli_program.tensors(tmp_path / "half"), cli_program.tensors(tmp_path / "all")
    assert sum((found[name] == tensor).sum().item() for name, tensor in expected.items()) < 0.999 * sum(
        tensor.numel() for tensor in expected.values())


def test_layerwise_runs_on_the_first(home, tmp_path):
    arguments = quantize(home, "rtn", tweak="layerwise")
    cli_program.run(*arguments, "-o", tmp_path / "one")
    run(2, *arguments, "-o", tmp_path / "two")
    assert cli_program.tensors(tmp_path / "one").keys() == cli_program.tensors(tmp_path / "two").keys()
    for name, tensor in cli_program.tensors(tmp_path / "one").items():
        assert torch.equal(tensor, cli_program.tensors(tmp_path / "two")[name]), name


@pytest.mark.parametrize("arguments, status, words", [
    (["eval", "model", "--text", "ids.safetensors"], 1, "without torchrun"),
    (["inspect", "model"], 1, "without torchrun"),
    (["quantize", "missing", "-o", "out"], 1, "missing"),
    (["quantize", "model", "-o", "out", "--bits", "5"], 2, "--bits"),
    (["quantize", "model", "-o", "out", "--calibration", "few.safetensors", "--method", "rtn",
      "--group-size", "32"], 1, "3 processes"),
])
def test_what_all_refuse_is_said_once(arguments, status, words, home):
    cli_program.save_ids(home / "few.safetensors", cli_models.ids(4, 32))
    named = [str(home / word) if word in ("model", "missing", "out") or "." in word else word for word in arguments]
    returned, lines, out = call(3, *named)
    assert returned != 0 and out == ""
    assert len(lines) == 1 and words in lines[0] and "of 3: " in lines[0]
    assert not (home / "out").exists()


SCRIPT = """#!/bin/sh
# Rank 1 alone gets other arguments, or ends.
if [ "$RANK" = 1 ]; then {rank_1}; fi
exec "{program}" "$@"
"""


def spoilt_program(folder, rank_1):
    path = pathlib.Path(folder) / "spoilt"
    path.write_text(SCRIPT.format(rank_1=rank_1, program=cli_program.PROGRAM))
    path.chmod(0o755)
    return path


def test_one_that_fails_ends_all(home, tmp_path):
    """Rank 1 finds a NaN; rank 0 waits for it in the first exchange."""
    model = cli_models.llama()
    model.model.layers[1].mlp.up_proj.weight.data[3, 5] = torch.nan
    cli_models.save(model, tmp_path / "nan")
    cli_program.save_earlier_result(tmp_path / "out")
    old = cli_program.file_bytes(tmp_path / "out")
    program = spoilt_program(tmp_path, f'shift 2; set -- quantize "{tmp_path}/nan" "$@"')
    status, lines, _ = call(2, *quantize(home, "gptq"), "-o", tmp_path / "out", program=program)
    assert status != 0
    assert len(lines) == 1 and lines[0].startswith("normtweak: rank 1 of 2: ") and "NaN" in lines[0]
    assert cli_program.file_bytes(tmp_path / "out") == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nan", "out", "spoilt"]


WRITTEN = ["--strategy", "llm-qat", "--samples", 19, "--tokens", 64, "--generate-batch", 4, "--fresh-text"]


@pytest.mark.parametrize("text", ["ids", "masked", "written anew"])
def test_end_to_end(text, home, tmp_path):
    """Three processes share the rows of each step of one; the last ones of a pass are fewer rows than processes."""
    source = WRITTEN if text == "written anew" else ["--calibration", home / f"{text}.safetensors"]
    cli_program.run(*quantize(home, "rtn"), "-o", tmp_path / "rtn")
    arguments = ["tweak", tmp_path / "rtn", "--reference", home / "model", *source, "--dtype", "f32", "--lr", 0.01,
                 "--epochs", 3, "--batch", 4]
    one = cli_program.report(*arguments, "-o", tmp_path / "one", to=tmp_path)
    run(3, *arguments, "-o", tmp_path / "three", "--json", tmp_path / "three.json")
    three = json.loads((tmp_path / "three.json").read_text())
    assert one["steps"] == three["steps"] > 0
    assert one["guard"]["kept"] == three["guard"]["kept"] != "untouched"
    for mine, theirs in zip(one["guard"]["candidates"], three["guard"]["candidates"]):
        assert mine["name"] == theirs["name"] and theirs["kld"] == pytest.approx(mine["kld"], rel=1e-3)
    found, expected, before = (cli_program.tensors(tmp_path / name) for name in ("three", "one", "rtn"))
    changed = [name for name in expected if not torch.equal(expected[name], before[name])]
    assert any("scale" in name for name in changed) and any("norm" in name for name in changed)
    for name in changed:  # a sum in another order moves a value by far less than the steps did
        moved = (expected[name].float() - before[name].float()).abs().max()
        assert (found[name].float() - expected[name].float()).abs().mean() < 0.02 * moved, name


def test_progress_is_that_of_the_process_that_shows_it(home, tmp_path):
    """The float model's rows are shared: 8 of 16 to tweak with are the first one's, and the one to choose by is not."""
    cli_program.run(*quantize(home, "rtn"), "-o", tmp_path / "rtn")
    process = start(2, "tweak", tmp_path / "rtn", "--reference", home / "model", "--calibration",
                    home / "ids.safetensors", "--dtype", "f32", "--lr", 0.01, "--steps", 1, "-o", tmp_path / "tweaked")
    _, shown = process.communicate(timeout=300)
    assert process.returncode == 0, shown
    done, announced = re.search(r"float model +(\d+)/(\d+) tokens", shown).groups()
    assert done == announced == str(8 * 64)


def test_one_that_never_comes_ends_all(home, tmp_path):
    """Torchrun ends the other, which is waiting by then."""
    program = spoilt_program(tmp_path, "sleep 15; exit 3")
    status, lines, _ = call(2, *quantize(home, "rtn"), "-o", tmp_path / "out", program=program)
    assert status != 0 and not (tmp_path / "out").exists()
    assert len(lines) == 1 and "no word of rank 1 of 2" in lines[0]


def test_one_that_hangs_ends_all(home, tmp_path):
    """It lives, so torchrun sees nothing wrong; the other one's patience ends."""
    program = spoilt_program(tmp_path, "sleep 60")
    begin = time.monotonic()
    status, lines, _ = call(2, *quantize(home, "rtn"), "-o", tmp_path / "out", program=program,
                            environment={"NORMTWEAK_TIMEOUT": "5"})
    assert time.monotonic() - begin < 50
    assert status != 0 and not (tmp_path / "out").exists()
    assert len(lines) == 1 and "no word of rank 1 of 2" in lines[0]


def rank_of(process):
    environment = pathlib.Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return next((int(line[5:]) for line in environment if line.startswith(b"RANK=")), None)


def workers_of(torchrun):
    """Rank → process, once both are there."""
    workers = {}
    deadline = time.monotonic() + 60
    while len(workers) < 2 and time.monotonic() < deadline:
        children = pathlib.Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
        workers = {rank_of(child): int(child) for child in children if rank_of(child) is not None}
        time.sleep(0.2)
    return workers


def kill(victim, workers, torchrun):
    """All end, with one line that says who is missing."""
    os.kill(workers[victim], signal.SIGKILL)
    _, err = torchrun.communicate(timeout=60)
    lines = [line for line in err.splitlines() if line.startswith("normtweak: ")]
    assert torchrun.returncode != 0
    assert len(lines) == 1 and f"no word of rank {victim} of 2" in lines[0]
    for worker in workers.values():
        assert not pathlib.Path(f"/proc/{worker}").exists()


@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_ends_all(victim, home, tmp_path):
    """In the middle of writing text that would take minutes."""
    cli_program.save_earlier_result(tmp_path / "out")
    old = cli_program.file_bytes(tmp_path / "out")
    torchrun = start(2, "quantize", home / "model", "-o", tmp_path / "out", "--samples", 4000, "--tokens", 128,
                     "--generate-batch", 1, "--group-size", 32, "--quiet")
    workers = workers_of(torchrun)
    time.sleep(3)
    kill(victim, workers, torchrun)
    assert cli_program.file_bytes(tmp_path / "out") == old


@pytest.mark.parametrize("victim", [0, 1])
def test_what_was_quantized_outlives_one_that_is_killed(victim, home, tmp_path):
    """In the middle of a tweak that would take minutes."""
    torchrun = start(2, *quantize(home, "rtn", tweak="end-to-end"), "-o", tmp_path / "out", "--steps", 100000, "--lr", 1e-3,
                     "--quiet")
    workers = workers_of(torchrun)
    assert cli_program.appears(tmp_path / "out.untouched" / "config.json")
    kill(victim, workers, torchrun)
    assert not (tmp_path / "out").exists()
    cli_program.run("inspect", tmp_path / "out.untouched")


def start_alone(rank, port, home, out):
    """One of two processes, without torchrun; the other never comes."""
    environment = {"WORLD_SIZE": "2", "RANK": str(rank), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    return subprocess.Popen([cli_program.PROGRAM, *map(str, quantize(home, "rtn")), "-o", out], stderr=subprocess.PIPE,
                            text=True, env=cli_program.ENVIRONMENT | environment)


def free_port():
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return taken.getsockname()[1]


def takes_sigterm(thread):
    blocked = re.search(r"^SigBlk:\s*(\w+)", (thread / "status").read_text(), re.MULTILINE)
    return not int(blocked[1], 16) >> (signal.SIGTERM - 1) & 1


def test_sigterm_reaches_only_the_thread_that_waits_for_it(home, tmp_path):
    """Threads of the store among the others, in which it would end the process without a word."""
    process = start_alone(0, free_port(), home, tmp_path / "out")
    time.sleep(8)  # until it waits for the other
    threads = list(pathlib.Path(f"/proc/{process.pid}/task").iterdir())
    assert len(threads) > 2
    assert sum(map(takes_sigterm, threads)) <= 1
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    lines = [line for line in err.splitlines() if line.startswith("normtweak: ")]
    assert len(lines) == 1 and "no word of rank 1 of 2" in lines[0] and lines[0].endswith("told to end by SIGTERM")


def test_sigterm_ends_one_that_finds_no_other(home, tmp_path):
    process = start_alone(1, free_port(), home, tmp_path / "out")
    time.sleep(3)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "normtweak: " not in err


def test_without_torchrun_a_variable_is_missing(home):
    finished = subprocess.run([cli_program.PROGRAM, "inspect", home / "model"], capture_output=True, text=True,
                              env=cli_program.ENVIRONMENT | {"WORLD_SIZE": "2"})
    assert finished.returncode == 1 and finished.stderr == (
        "normtweak: WORLD_SIZE is set, RANK is not; start several processes with torchrun\n")
