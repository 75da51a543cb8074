#!/usr/bin/env python3
"""The tables of docs/benchmarks.md on a real model: what quantization costs and what each tweak wins back.

    bench/real_model.py MODEL [--bits 4 3] [--samples 256] [--tokens 1024] [--device cuda] [--out bench-results]

The model writes the calibration text itself. For each bit width GPTQ (group 64, asymmetric) quantizes it once with
whole and once with float zero-points; then each tweak starts from that checkpoint. `--kmeans` adds 4-bit codebooks. Figures are those of the saved models: WikiText-2 test as rows and PTB
validation as plain text, found through NORMTWEAK_TEST_DATA, protocol `gptq` at 2048. Standard library only.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# name, arguments of `normtweak tweak`
TWEAKS = [
    ("layer-wise, the paper's loss and rate", ["--method", "layerwise"]),
    ("closed form (ridge)", ["--method", "ridge"]),
    ("end to end, norms", ["--tune", "norms"]),
    ("end to end, norms + scales", []),
    ("end to end, norms + scales, from the closed form", ["--start", "ridge"]),
]
# name of a checkpoint, arguments of `normtweak quantize`, names of the tweaks that start from it
def checkpoints(bits, kmeans):
    for width in bits:
        common = ["--method", "gptq", "--bits", width, "--group-size", 64]
        yield f"{width} bits, GPTQ", common, TWEAKS
        yield f"{width} bits, GPTQ, float zeros", [*common, "--float-zeros"], [("end to end, norms + scales + zeros", [])]
    if kmeans:
        yield "4 bits, k-means", ["--method", "kmeans", "--bits", 4], [("end to end, norms + codebooks", [])]



def normtweak(program, *arguments, report):
    start = time.time()
    command = [program, *map(str, arguments), "--quiet", "--json", str(report)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    figures = json.loads(Path(report).read_text())
    figures["wall_seconds"] = time.time() - start
    return figures


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--program", default=str(ROOT / "build" / "normtweak"))
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3, 2])
    parser.add_argument("--kmeans", action="store_true", help="4-bit codebooks per channel as well")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--max-tokens", type=int, default=0, help="of each text; 0: all")
    parser.add_argument("--device", default="")
    parser.add_argument("--quantize", type=str.split, default=[], help="further arguments of `quantize`, in one string")
    parser.add_argument("--tweak", type=str.split, default=[], help="further arguments of `tweak`, in one string")
    parser.add_argument("--out", default=str(ROOT / "bench-results"))
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    device = ["--device", options.device] if options.device else []
    run = lambda *arguments, name: normtweak(options.program, *arguments, *device, report=out / f"{name}.json")

    text = out / "calibration.safetensors"
    generated = run("generate", options.model, "-o", text, "--samples", options.samples, "--tokens", options.tokens,
                    name="generate")
    print(f"{options.samples} x {options.tokens} tokens written by the model: {generated['tokens_per_second']:.0f} tokens/s "
          f"on {generated['device']} in {generated['dtype']}", flush=True)
    shared = ["--calibration", text, *texts(options.max_tokens)]
    print("\n| | WikiText-2 | KLD | PTB | KLD | seconds | GiB |\n|-|-|-|-|-|-|-|", flush=True)
    for number, (name, arguments, tweaks) in enumerate(checkpoints(options.bits, options.kmeans)):
        saved = out / f"quantized-{number}"
        quantized = run("quantize", options.model, "-o", saved, *arguments, "--tweak", "none", *options.quantize, *shared,
                        name=f"quantized-{number}")
        if number == 0:
            reference = [f"{t['perplexity']['float']:.2f} | 0" for t in quantized["evaluations"]]
            print(f"| float | {' | '.join(reference)} | | |", flush=True)
        print(row(f"{name} ({quantized['bits_per_weight']:.2f} a weight)", quantized, "quantized"), flush=True)
        for index, (tweak, more) in enumerate(tweaks):
            tweaked = run("tweak", saved, "--reference", options.model, "-o", out / "tweaked", *more, *options.tweak,
                          *shared, name=f"tweak-{number}-{index}")
            print(row(f"{name}, {tweak} ({tweaked['guard']['kept']})", tweaked, "tweaked"), flush=True)


if __name__ == "__main__":
    main()
