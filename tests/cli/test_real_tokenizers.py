"""Tokenizers of real models, which a test does not fetch: those of the GGUF files that tools/fetch_demo_model leaves, and
those that NORMTWEAK_REAL_MODELS names (paths, with a colon between two)."""
import os
import pathlib

import gguf
import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer

import text_samples
from cli_program import run

PROJECT = pathlib.Path(__file__).resolve().parents[2]
FILES = [*sorted(PROJECT.glob(".cache/models/*.gguf")),
         *map(pathlib.Path, filter(None, os.environ.get("NORMTWEAK_REAL_MODELS", "").split(":")))]
# Of a byte-level vocabulary in a GGUF file transformers makes GPT-2's tokenizer, whatever pre-tokenizer the file names;
# bench/llama_cpp_ids.py compares those files with llama.cpp.
MODELS = [path for path in FILES
          if gguf.GGUFReader(path).fields["tokenizer.ggml.model"].contents() == "llama"]
ROW = 512  # tokens


@pytest.mark.skipif(not MODELS, reason="NORMTWEAK_REAL_MODELS names no GGUF file with a SentencePiece vocabulary")
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_ids_are_those_of_transformers(model, tmp_path):
    """Of thousands of mixed lines, as one text."""
    lines = [line for line in text_samples.lines(10_500) if len(line) < 1000]
    text = "\n".join(lines)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8", newline="")
    expected = AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)(text)["input_ids"]
    rows = len(expected) // ROW
    run("generate", model, "--text", tmp_path / "text.txt", "--samples", rows, "--tokens", ROW, "-o",
        tmp_path / "ids.safetensors")
    found = load_file(tmp_path / "ids.safetensors")["input_ids"].flatten().tolist()
    assert len(found) == rows * ROW > 100_000
    differing = [i for i, (one, other) in enumerate(zip(found, expected)) if one != other]
    assert not differing, f"{len(differing)} of {len(found)} differ, from {differing[0]} on: " \
        f"{found[differing[0]:][:8]} instead of {expected[differing[0]:][:8]}"
