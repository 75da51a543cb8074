#!/usr/bin/env python3
"""The paper's study of iterations: how often the layer-wise tweak passes over the text.

    bench/paper/iterations.py MODEL --rows wiki.test.raw --text ptb.valid.txt --lambada lambada_test.jsonl
                              [--iterations 1 2 5 10 20] [--seeds 0 1 2] [--device cuda] [--gpus 2 --at-once 8]

2 bits in groups of 64, everything but the passes as in `--preset norm-tweaking-2bit`. Standard library only.
"""
import experiment
import jobs


def main():
    runs = experiment.start(__doc__, "iterations", grid=["iterations"], more=lambda parser: parser.add_argument(
        "--iterations", type=int, nargs="+", default=[1, 2, 5, 10, 20]))
    for seed in runs.options.seeds:
        text = experiment.written_text(runs, seed, "language")
        for count in sorted(runs.options.iterations, reverse=True):  # the longest first
            experiment.add_quantize(runs, f"{count}-{seed}", text, seed, "--preset", "norm-tweaking-2bit", "--epochs", count,
                                    *experiment.unguarded(runs), seeded=False)

    def print_table():
        table = jobs.Table(runs, ["iterations"])
        for row, count in enumerate(sorted(runs.options.iterations)):
            names = [f"{count}-{seed}" for seed in runs.options.seeds]
            if row == 0:
                table.row(["0 (untouched)"], names, "quantized")
            table.row([str(count)], names, "tweaked", jobs.verdict)

    experiment.finish(runs, print_table)


if __name__ == "__main__":
    main()
