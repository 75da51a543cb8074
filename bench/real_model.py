#!/usr/bin/env python3
"""The tables of docs/benchmarks.md on a real model: what quantization costs and what each tweak wins back.

    bench/real_model.py MODEL [--bits 4 3] [--samples 256] [--tokens 1024] [--device cuda] [--out bench-results]

The model writes the calibration text itself. For each bit width GPTQ (group 64, asymmetric) quantizes it once with
whole and once with float zero-points; then each tweak starts from that checkpoint. `--kmeans` adds 4-bit codebooks.
Figures are those of the saved models: WikiText-2 test as rows and PTB validation as plain text, found through
NORMTWEAK_TEST_DATA, protocol `gptq` at 2048. Standard library only.
"""
import os
import sys

import program

# name, arguments of `normtweak tweak`
TWEAKS = [
    ("layer-wise, the paper's loss and rate", ["--method", "layerwise"]),
    ("closed form (ridge)", ["--method", "ridge"]),
    ("end to end, norms", ["--tune", "norms"]),
    ("end to end, norms + scales", []),
    ("end to end, norms + scales, from the closed form", ["--start", "ridge"]),
]


def checkpoints(bits, kmeans):
    """Name of a checkpoint, arguments of `normtweak quantize`, the tweaks that start from it."""
    for width in bits:
        common = ["--method", "gptq", "--bits", width, "--group-size", 64]
        yield f"{width} bits, GPTQ", common, TWEAKS
        yield (f"{width} bits, GPTQ, float zeros", [*common, "--float-zeros"],
               [("end to end, norms + scales + zeros", [])])
    if kmeans:
        yield "4 bits, k-means", ["--method", "kmeans", "--bits", 4], [("end to end, norms + codebooks", [])]


def texts(max_tokens):
    data = os.environ.get("NORMTWEAK_TEST_DATA")
    if not data:
        sys.exit("NORMTWEAK_TEST_DATA names no folder with wikitext-2-raw/ and penn/")
    return ["--eval-rows", f"{data}/wikitext-2-raw/wiki.test.raw", "--eval-text", f"{data}/penn/ptb.valid.txt",
            "--max-tokens", max_tokens]


def row(name, figures, which):
    cells = [name]
    for text in figures["evaluations"]:
        cells += [f"{text['perplexity'][which]:.2f}", f"{text['kld'][which]:.3f}"]
    seconds = figures["seconds"]
    cells.append(f"{seconds['quantize' if which == 'quantized' else 'tweak']:.0f}")
    cells.append(f"{figures['peak_memory_bytes'] / 2**30:.1f}")
    return "| " + " | ".join(cells) + " |"


def main():
    parser = program.parser(__doc__, samples=256, tokens=1024, out="")
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3, 2])
    parser.add_argument("--kmeans", action="store_true", help="4-bit codebooks per channel as well")
    parser.add_argument("--max-tokens", type=int, default=0, help="of each text; 0: all")
    parser.add_argument("--quantize", type=str.split, default=[], help="further arguments of `quantize`, in one string")
    parser.add_argument("--tweak", type=str.split, default=[], help="further arguments of `tweak`, in one string")
    options = parser.parse_args()
    normtweak = program.Program(options)
    text, written = normtweak.write_text()
    print(f"{options.samples} x {options.tokens} tokens written by the model: "
          f"{written['tokens_per_second']:.0f} tokens/s on {written['device']} in {written['dtype']}", flush=True)
    shared = ["--calibration", text, *texts(options.max_tokens)]
    print("\n| | WikiText-2 | KLD | PTB | KLD | seconds | GiB |\n|-|-|-|-|-|-|-|", flush=True)
    for number, (name, arguments, tweaks) in enumerate(checkpoints(options.bits, options.kmeans)):
        saved = normtweak.out / f"quantized-{number}"
        quantized = normtweak.run("quantize", options.model, "-o", saved, *arguments, "--tweak", "none",
                                  *options.quantize, *shared, name=f"quantized-{number}")
        if number == 0:
            reference = [f"{t['perplexity']['float']:.2f} | 0" for t in quantized["evaluations"]]
            print(f"| float | {' | '.join(reference)} | | |", flush=True)
        print(row(f"{name} ({quantized['bits_per_weight']:.2f} a weight)", quantized, "quantized"), flush=True)
        for index, (tweak, more) in enumerate(tweaks):
            tweaked = normtweak.run("tweak", saved, "--reference", options.model, "-o", normtweak.out / "tweaked",
                                    *more, *options.tweak, *shared, name=f"tweak-{number}-{index}")
            print(row(f"{name}, {tweak} ({tweaked['guard']['kept']})", tweaked, "tweaked"), flush=True)


if __name__ == "__main__":
    main()
