"""bench/whole_job.py on a tiny shape: the checkpoint that it makes, what it runs, and what it prints."""
import pathlib
import re
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

import cli_program

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))
import whole_job  # noqa: E402  pylint: disable=wrong-import-position,wrong-import-order

TINY = whole_job.SHAPES["tiny"]
ROW = re.compile(r"^\| (\w+) \| (\d+\.\d+) \| (\d*) \| (.*) \|$", re.MULTILINE)


def run(folder, *options):
    command = [sys.executable, BENCH / "whole_job.py", "tiny", "--rows", 12, "--tokens", 24, "--group-size", 16,
               "--device", "cpu", "--program", cli_program.PROGRAM, "--work", folder, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False,
                          env=cli_program.ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(name="folder", scope="module")
def shared_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("whole-job")


def test_makes_a_llama_that_transformers_reads(tmp_path):
    whole_job.make_checkpoint(tmp_path / "model", TINY, 2, 64, "cpu")
    model, loading = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(loading.values())
    weight = model.model.layers[1].mlp.down_proj.weight
    assert weight.shape == (TINY["hidden"], TINY["inner"]) and weight.dtype == torch.bfloat16
    assert weight.float().std().item() == pytest.approx(TINY["inner"] ** -0.5, rel=0.05)
    with torch.no_grad():
        logits = model(torch.arange(20).view(2, 10)).logits.float()
    assert 1 < logits.std().item() < 10


def test_prints_the_split_of_a_whole_job(folder):
    printed = run(folder, "--blocks", 2)
    rows = {row[0]: row for row in ROW.findall(printed)}
    assert rows.keys() == {"load", "generate", "quantize", "tweak", "judge", "save"}
    assert int(rows["generate"][2]) > 0 and int(rows["quantize"][2]) > 0
    assert "% of bandwidth" in rows["generate"][3] and "% of bf16" in rows["tweak"][3]
    assert "peak memory: device" in printed
    proportional = float(re.search(r"in proportion:.* save (\d+\.\d)", printed).group(1))
    assert proportional == pytest.approx(float(rows["save"][1]) * 2, abs=0.06)


def test_runs_one_stage_and_draws_a_line(folder):
    printed = run(folder, "--blocks", "2,3", "--stage", "quantize", "--", "--method", "rtn")
    assert printed.count("| quantize |") == 2 and "| tweak |" not in printed
    assert "extrapolated from 2 and 3 to 4 blocks, on a line through both" in printed
    assert whole_job.extrapolated([2, 6], [10.0, 30.0], 32) == 160
    assert whole_job.extrapolated([4], [10.0], 32) == 80


def test_counts_what_a_stage_must_do():
    work = whole_job.Work(whole_job.SHAPES["7b"], 32, 512, 512)
    assert work.weights == 6_476_005_376 + 131_072_000  # of LLaMA-7B without its embedding
    assert work.cache == 512 * 1024  # bytes a token
    assert work.generate()["bandwidth"] == pytest.approx(512 * 2 * 6.607e9 + 512 * 512 * 511 / 2 * 2**19, rel=1e-3)
    assert work.tweak(1)["bf16"] == pytest.approx(2 * (3 * 6.476e9 + 2 * 0.131e9), rel=1e-3)
