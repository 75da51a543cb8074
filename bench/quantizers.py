#!/usr/bin/env python3
"""Every quantizer at 2, 3 and 4 bits: untouched, tweaked layer by layer and end to end.

    bench/quantizers.py MODEL --rows wiki.test.raw --text ptb.valid.txt --lambada lambada_test.jsonl
                        [--quantizers gptq rtn ...] [--bits 2 3 4] [--seeds 0] [--device cuda] [--gpus 2 --at-once 12]
                        [--seconds-left 480] [--out bench-results/quantizers]

The model writes one text for each seed, which all of them share. A model is quantized once, and the tweaks start from what
was saved; learned codes are one run. The layer-wise tweak has the paper's loss and rate and is saved whatever the guard
says of it, unless --guarded; the end-to-end tweak is guarded. Figures are means over the seeds ± their standard deviation.
What is done is kept in --out, and the same command goes on with the rest. Standard library only.
"""
import itertools

import jobs
import program

# The most telling ones first: title, arguments of `quantize`.
QUANTIZERS = {
    "gptq": ("this program's GPTQ", ["--method", "gptq"]),
    "learned": ("learned codes", ["--method", "gptq", "--learn-codes"]),
    "rtn": ("RTN", ["--method", "rtn"]),
    "awq-gptq": ("AWQ + GPTQ", ["--method", "gptq", "--transform", "awq"]),
    "gptq-published": ("GPTQ as published", ["--method", "gptq", "--no-search-grid", "--no-act-order", "--sweeps", "0",
                                             "--drift-correction", "0"]),
    "signround": ("SignRound", ["--method", "signround"]),
    "awq-rtn": ("AWQ + RTN", ["--method", "rtn", "--transform", "awq"]),
    "smoothquant-rtn": ("SmoothQuant + RTN", ["--method", "rtn", "--transform", "smoothquant"]),
    "kmeans-feedback": ("k-means with feedback", ["--method", "kmeans", "--feedback"]),
    "kmeans": ("k-means", ["--method", "kmeans"]),
}
LEARNED = "learned"
TWEAKS = {"end-to-end": "end to end", "layerwise": "layer-wise"}


def add_jobs(runs, options, tweak, quantizer, bits, seed):
    """Of one tweak of one quantized model, which comes before it."""
    text, ids = runs.add_text(seed)
    name = f"{quantizer}-{bits}-{seed}"
    quantize = ["quantize", options.model, *QUANTIZERS[quantizer][1], "--bits", bits, "--calibration", ids,
                *([] if "kmeans" in QUANTIZERS[quantizer][1] else ["--group-size", options.group_size]),
                *program.stored(options.model), *runs.reported()]
    if quantizer == LEARNED:
        if tweak != "end-to-end":
            return
        runs.add(f"{name}-end-to-end", *quantize, "--seed", seed, *options.tweak, needs=[text],
                 output=f"{name}-end-to-end")
        return
    runs.add(name, *quantize, "--tweak", "none", needs=[text], output=name)
    own = ["--seed", seed, *options.tweak] if tweak == "end-to-end" else [] if options.guarded else ["--unguarded"]
    runs.add(f"{name}-{tweak}", "tweak", runs.folder / name, "--reference", options.model, "--method", tweak,
             "--calibration", ids, *own, *runs.reported(), needs=[name, text], output=f"{name}-{tweak}")


def print_table(runs, options):
    table = jobs.Table(runs, ["bits", "quantizer", "tweak"])
    table.float_row(["16", "float", ""], list(runs.jobs)[1:])
    for bits, (quantizer, (title, _)) in itertools.product(options.bits, QUANTIZERS.items()):
        if quantizer not in options.quantizers:
            continue
        names = [f"{quantizer}-{bits}-{seed}" for seed in options.seeds]
        label = [str(bits), title]
        if quantizer == LEARNED:
            table.row([*label, "with the floats"], [f"{name}-end-to-end" for name in names], "tweaked", jobs.verdict)
            continue
        table.row([*label, "untouched"], names, "quantized")
        for method in ("layerwise", "end-to-end"):
            table.row([*label, TWEAKS[method]], [f"{name}-{method}" for name in names], "tweaked", jobs.verdict)


def main():
    parser = jobs.parser(__doc__, samples=512, tokens=512, out="quantizers", seeds=[0])
    parser.add_argument("--quantizers", nargs="+", choices=QUANTIZERS, default=list(QUANTIZERS))
    parser.add_argument("--bits", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--group-size", type=int, default=64, help="of affine grids; codebooks are per channel")
    parser.add_argument("--tweak", type=str.split, default=[], help="further arguments of end-to-end tweaks, in one string")
    parser.add_argument("--guarded", action="store_true", help="the layer-wise tweak too")
    options = parser.parse_args()
    runs = jobs.Runs(options, grid=["quantizers", "bits"])
    # Steps of one row make the layer-wise tweak the longest of all, by far.
    for seed, tweak, quantizer, bits in itertools.product(options.seeds, TWEAKS, QUANTIZERS, options.bits):
        if quantizer in options.quantizers:
            add_jobs(runs, options, tweak, quantizer, bits, seed)
    runs.run()
    print_table(runs, options)
    runs.write_results()


if __name__ == "__main__":
    main()
