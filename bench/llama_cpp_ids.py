#!/usr/bin/env python3
"""Whether llama.cpp and normtweak cut texts into the same ids, by the tokenizer in a GGUF file.

    bench/llama_cpp_ids.py MODEL.gguf [TEXT ...] [--tokenizer build/bench_tokenizer] [--show 5]

Compared are the lines of the texts and of tests/oracles/text_samples.py, one by one, and each text as a whole, with the
special tokens that the tokenizer adds; names of special tokens in a text count as such tokens. Prints how many are
equal, and where the first that are not begin to differ. Exit status 1 if any is not.
Needs llama-cpp-python (see bench/llama_library.py), the `tokenizers` package, and the target bench_tokenizer.
"""
import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import packages
import program

packages.need("llama_cpp", "numpy", "tokenizers")

import llama_library

sys.path.insert(0, str(program.ROOT / "tests" / "oracles"))
import text_samples  # noqa: E402: it is found by the line above

SAMPLES = 4000


def our_ids(options, text, way):
    """way: lines or whole."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="", suffix=".txt") as file:
        file.write(text)
        file.flush()
        done = subprocess.run([options.tokenizer, options.model, file.name, way, "ids"], capture_output=True, text=True,
                              check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)["ids"]


def first_difference(ours, theirs):
    return next(i for i, (a, b) in enumerate(itertools.zip_longest(ours, theirs)) if a != b)


def compare(model, options, name, text, way):
    """Prints a row; returns the parts that differ: text, our ids, theirs."""
    parts = text.removesuffix("\n").split("\n") if way == "lines" else [text]
    found = our_ids(options, "\n".join(parts) + "\n" if way == "lines" else text, way)
    assert len(found) == len(parts)
    wanted = [llama_library.ids(model, part) for part in parts]
    other = [row for row in zip(parts, found, wanted) if row[1] != row[2]]
    print(f"| {name}, {way} | {len(parts)} | {len(parts) - len(other)} |", flush=True)
    return other


def show(other):
    for part, ours, theirs in other:
        at = first_difference(ours, theirs)
        print(f"\n{part[:200]!r}\n  from token {at} on: here {ours[at:at + 8]}, llama.cpp {theirs[at:at + 8]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("texts", metavar="TEXT", nargs="*")
    parser.add_argument("--tokenizer", default=str(program.ROOT / "build" / "bench_tokenizer"))
    parser.add_argument("--show", type=int, default=5, help="parts that differ")
    options = parser.parse_args()
    texts = {Path(path).name: Path(path).read_bytes().decode() for path in options.texts}
    texts["samples"] = "\n".join(text_samples.lines(SAMPLES)) + "\n"
    print(f"{llama_library.version()}\n\n| {Path(options.model).name} | parts | equal |\n|-|-|-|", flush=True)
    other = []
    with llama_library.opened(options.model, vocabulary_only=True) as model:
        for name, text in texts.items():
            for way in ("lines", "whole"):
                other += compare(model, options, name, text, way)
    show(other[:options.show])
    sys.exit(1 if other else 0)


if __name__ == "__main__":
    main()
