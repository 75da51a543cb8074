#!/usr/bin/env python3
"""The paper's table of other quantizers: RTN and SmoothQuant with W4, W8A8 and W4A8, and norm tweaking behind them.

    bench/paper/activations.py MODEL --rows wiki.test.raw --text ptb.valid.txt --lambada lambada_test.jsonl
                               [--seeds 0 1 2] [--device cuda] [--gpus 2 --at-once 8] [--seconds-left 480]

A scale for each output channel, and activations with a dynamic range for each token. A run quantizes and tweaks, layer by
layer with the paper's loss and rate or end to end. Standard library only.
"""
import itertools

import experiment
import jobs

WIDTHS = {"W4A8": (4, 8), "W4": (4, 16), "W8A8": (8, 8)}  # bits of weights, and of activations (16: float)
TRANSFORMS = {"SmoothQuant": "smoothquant", "RTN": "none"}


def name_of(transform, width, tweak, seed):
    return f"{transform}-{width}-{tweak}-{seed}".lower()


def main():
    runs = experiment.start(__doc__, "activations")
    for seed in runs.options.seeds:
        text = experiment.written_text(runs, seed, "language")
        for (width, (bits, activations)), (title, transform) in itertools.product(WIDTHS.items(), TRANSFORMS.items()):
            plan = ["--method", "rtn", "--bits", bits, "--group-size", 0, "--transform", transform,
                    "--activation-bits", activations]
            experiment.add_quantize(runs, name_of(title, width, "layerwise", seed), text, seed, *plan,
                                    *experiment.layerwise(runs), seeded=False)
            experiment.add_quantize(runs, name_of(title, width, "end-to-end", seed), text, seed, *plan,
                                    *experiment.END_TO_END)

    def print_table():
        table = jobs.Table(runs, ["", "quantizer", "tweak"])
        table.float_row(["float", "", ""], [name for name in runs.jobs if not name.startswith("text")])
        for width, title in itertools.product(WIDTHS, TRANSFORMS):
            layerwise, end_to_end = ([name_of(title, width, tweak, seed) for seed in runs.options.seeds]
                                     for tweak in ("layerwise", "end-to-end"))
            experiment.rows_of_states(table, [width, title], layerwise, "layer-wise")
            table.row([width, title, "end to end"], end_to_end, "tweaked", jobs.verdict)

    experiment.finish(runs, print_table)


if __name__ == "__main__":
    main()
