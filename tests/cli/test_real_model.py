"""The demo's model in this program and in transformers: what bench/same_as_transformers.py finds, on few tokens."""
import pathlib
import subprocess
import sys

import pytest

import cli_program

PROJECT = pathlib.Path(__file__).resolve().parents[2]
MODELS = sorted(PROJECT.glob(".cache/models/*.gguf"))


@pytest.mark.skipif(not MODELS, reason="tools/fetch_demo_model has not been run; a test does not fetch")
def test_same_as_transformers(tmp_path):
    script = PROJECT / "bench" / "same_as_transformers.py"
    subprocess.run([sys.executable, script, MODELS[0], "--program", cli_program.PROGRAM, "--work", tmp_path,
                    "--samples", "1", "--tokens", "64"], env=cli_program.ENVIRONMENT, check=True)
