#!/usr/bin/env python3
"""Whether `normtweak eval --protocol llama.cpp` gives the perplexity of llama.cpp itself.

    bench/llama_cpp_perplexity.py MODEL.gguf ... --text FILE [--windows 8]

llama.cpp tokenizes the text and computes the logits, keys and values in F32; this script scores them as its tool
llama-perplexity does. Exit status 1 if a file of F32 and F16 tensors differs by more than 0.1%, or another one by more
than 1.5%: llama.cpp quantizes the activations that meet quantized weights.
Needs llama-cpp-python (see bench/llama_library.py) and the `gguf` package.
"""
import argparse
import math
import sys
import tempfile
from pathlib import Path

import packages

packages.need("gguf", "llama_cpp", "numpy")

import gguf
import numpy

import llama_library
import program

CONTEXT = 512
FLOAT, QUANTIZED = 1e-3, 1.5e-2


def losses(found, targets):
    """-log p of each target, F64."""
    top = found.max(1, keepdims=True)
    return top[:, 0] + numpy.log(numpy.exp(found - top).sum(1)) - found[numpy.arange(len(targets)), targets]


def theirs(path, text, windows):
    first, all_losses = CONTEXT // 2, []
    with llama_library.opened(path) as model, llama_library.context(model, CONTEXT) as made:
        vocabulary = llama_library.library.llama_model_get_vocab(model)
        ids = llama_library.ids(model, text, special=False)
        begins = llama_library.library.llama_vocab_get_add_bos(vocabulary)
        for start in range(0, min(windows, len(ids) // CONTEXT) * CONTEXT, CONTEXT):
            row = ids[start:start + CONTEXT]
            if begins:
                row[0] = llama_library.library.llama_vocab_bos(vocabulary)
            found = llama_library.row_logits(model, made, row).astype(numpy.float64)
            all_losses.append(losses(found[first:-1], row[first + 1:]))
    return math.exp(numpy.concatenate(all_losses).mean())


def ours(options, path):
    normtweak = program.Program(options, folder=tempfile.mkdtemp())
    return normtweak.run("eval", path, "--text", options.text, "--protocol", "llama.cpp", "--max-tokens",
                         options.windows * CONTEXT, "--device", "cpu")["perplexity"]["value"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--text", required=True)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--program", default=str(program.ROOT / "build" / "normtweak"))
    options = parser.parse_args()
    options.device = ""
    text = Path(options.text).read_text(encoding="utf-8")
    worst = 0
    print(f"{llama_library.version()}, {options.windows} windows of {CONTEXT} tokens\n\n"
          "| file | llama.cpp | normtweak | difference |\n|-|-|-|-|", flush=True)
    for path in options.models:
        plain = all(tensor.tensor_type.name in ("F32", "F16") for tensor in gguf.GGUFReader(path).tensors)
        expected, found = theirs(path, text, options.windows), ours(options, path)
        difference = abs(found / expected - 1)
        worst = max(worst, difference / (FLOAT if plain else QUANTIZED))
        print(f"| {Path(path).name} | {expected:.4f} | {found:.4f} | {difference:.2%} |", flush=True)
    return int(worst > 1)


if __name__ == "__main__":
    sys.exit(main())
