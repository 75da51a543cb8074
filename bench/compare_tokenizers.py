"""Loads tokenizers and encodes a text with this program and with the `tokenizers` package, each on one thread; for
tiktoken's tokenizer.model, with the `tiktoken` package and Llama 3's pattern.

    bench/compare_tokenizers.py BENCH_TOKENIZER TEXT TOKENIZER.json|tokenizer.model ...

Build the first with `cmake --build build --target bench_tokenizer`. Lines of the text are encoded one by one, and then
the text as a whole.
"""
import json
import os
import subprocess
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import packages

packages.need("tiktoken", "tokenizers")

import tiktoken  # noqa: E402
from tiktoken.load import load_tiktoken_bpe  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402: it reads these when it is loaded


def seconds(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def load(path):
    """The function from a text to its ids."""
    if not path.endswith(".model"):
        tokenizer = Tokenizer.from_file(path)
        return lambda text: tokenizer.encode(text).ids
    return tiktoken.Encoding("a", pat_str=LLAMA3, mergeable_ranks=load_tiktoken_bpe(path), special_tokens={}).encode_ordinary


def main(program, text_file, files):
    with open(text_file, encoding="utf-8", newline="") as file:
        text = file.read()
    lines = text.removesuffix("\n").split("\n")
    print(f"{'tokenizer':30} {'load':>15} {'lines':>15} {'whole':>15}   seconds, here / the package")
    for path in files:
        ours = {way: json.loads(subprocess.run([program, path, text_file, way, "ids"], check=True, capture_output=True,
                                               text=True).stdout) for way in ("lines", "whole")}
        loading, encode = seconds(lambda path=path: load(path))
        by_line, ids = seconds(lambda encode=encode: [encode(line) for line in lines])
        assert ids == ours["lines"]["ids"], f"{path}: other ids for a line"
        as_whole, whole = seconds(lambda encode=encode: encode(text))
        assert [whole] == ours["whole"]["ids"], f"{path}: other ids for the text"
        pairs = [(ours["lines"]["load_seconds"], loading), (ours["lines"]["encode_seconds"], by_line),
                 (ours["whole"]["encode_seconds"], as_whole)]
        print(f"{os.path.basename(path):30}", *(f"{own:7.3f}/{theirs:7.3f}" for own, theirs in pairs))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
