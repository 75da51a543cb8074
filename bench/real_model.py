#!/usr/bin/env python3
"""The tables of docs/benchmarks.md on a real model: what quantization costs and what each tweak wins back.

    bench/real_model.py MODEL [--bits 4 3] [--samples 1024] [--tokens 512] [--device cuda] [--out bench-results]

The model writes the calibration text itself. For each bit width it is quantized by GPTQ (group 64, asymmetric), by the
same with drift left, and with float zero-points, or as `--checkpoints` says; each is then tweaked end to end.
`--all-tweaks` adds norms alone to the first, and the tweaks of blocks to the second, whose aim is theirs. Figures are
those of the saved models: WikiText-2 test as rows and PTB validation as plain text, found through NORMTWEAK_TEST_DATA,
protocol `gptq` at 2048. Standard library only.
"""
import itertools
import os
import sys

import program

# name, arguments of `normtweak tweak`
BLOCK_TWEAKS = [
    ("layer-wise, the paper's loss and rate", ["--method", "layerwise"]),
]
NORMS_ALONE = [("end to end, norms", ["--tune", "norms"])]


GPTQ = ["--method", "gptq", "--group-size", 64]
# how --checkpoints calls it: its title, what its tweak moves, arguments of `normtweak quantize`, the other tweaks
CHECKPOINTS = {
    "gptq": ("GPTQ", "norms + scales", GPTQ, NORMS_ALONE),
    "drift-left": ("GPTQ, drift left", "norms + scales", [*GPTQ, "--drift-correction", 0], BLOCK_TWEAKS),
    "float-zeros": ("GPTQ, float zeros", "norms + scales + zeros", [*GPTQ, "--float-zeros"], []),
    "kmeans": ("k-means per channel", "norms + codebooks", ["--method", "kmeans"], []),
}


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
    parser = program.parser(__doc__, samples=1024, tokens=512, out="")
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3, 2])
    parser.add_argument("--all-tweaks", action="store_true", help="not only the end-to-end tweak")
    parser.add_argument("--checkpoints", nargs="+", choices=CHECKPOINTS, default=["gptq", "drift-left", "float-zeros"])
    parser.add_argument("--calibration", help="a text of `normtweak generate`, instead of a new one")
    parser.add_argument("--max-tokens", type=int, default=0, help="of each text; 0: all")
    parser.add_argument("--quantize", type=str.split, default=[], help="further arguments of `quantize`, in one string")
    parser.add_argument("--tweak", type=str.split, default=[], help="further arguments of every tweak, in one string")
    options = parser.parse_args()
    normtweak = program.Program(options)
    text = options.calibration
    if not text:
        text, written = normtweak.write_text()
        print(f"{options.samples} x {options.tokens} tokens written by the model: "
              f"{written['tokens_per_second']:.0f} tokens/s on {written['device']} in {written['dtype']}", flush=True)
    calibration = ["--calibration", text]
    shared = [*calibration, *texts(options.max_tokens)]
    print("\n| | WikiText-2 | KLD | PTB | KLD | seconds | GiB |\n|-|-|-|-|-|-|-|", flush=True)
    for number, (bits, kind) in enumerate(itertools.product(options.bits, options.checkpoints)):
        title, moved, arguments, others = CHECKPOINTS[kind]
        name = f"{bits} bits, {title}"
        arguments = [*arguments, "--bits", bits, *program.stored(options.model), *options.quantize]
        done = normtweak.run("quantize", options.model, "-o", normtweak.out / f"tweaked-{number}", *arguments,
                             *options.tweak, *shared, name=f"quantized-{number}")
        if number == 0:
            reference = [f"{t['perplexity']['float']:.2f} | 0" for t in done["evaluations"]]
            print(f"| float | {' | '.join(reference)} | | |", flush=True)
        print(row(f"{name} ({done['bits_per_weight']:.2f} a weight)", done, "quantized"), flush=True)
        print(row(f"{name}, end to end, {moved} ({done['guard']['kept']})", done, "tweaked"), flush=True)
        if not others or not options.all_tweaks:
            continue
        untouched = normtweak.out / f"untouched-{number}"
        normtweak.run("quantize", options.model, "-o", untouched, *arguments, "--tweak", "none", *calibration,
                      name=f"untouched-{number}")
        for index, (tweak, more) in enumerate(others):
            tweaked = normtweak.run("tweak", untouched, "--reference", options.model, "-o", normtweak.out / "tweaked",
                                    *more, *options.tweak, *shared, name=f"tweak-{number}-{index}")
            print(row(f"{name}, {tweak} ({tweaked['guard']['kept']})", tweaked, "tweaked"), flush=True)


if __name__ == "__main__":
    main()
