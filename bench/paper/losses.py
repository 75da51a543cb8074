#!/usr/bin/env python3
"""The paper's study of losses of the layer-wise tweak: L_dist, mean squared error, KL; and L_dist in relative units.

    bench/paper/losses.py MODEL --rows wiki.test.raw --text ptb.valid.txt --lambada lambada_test.jsonl
                          [--losses dist mse kl relative] [--rates 1e-5] [--seeds 0 1 2] [--device cuda]

2 bits in groups of 64, everything but loss and rate as in `--preset norm-tweaking-2bit`. Standard library only.
"""
import itertools

import experiment
import jobs


def more(parser):
    parser.add_argument("--losses", nargs="+", default=["dist", "mse", "kl", "relative"])
    parser.add_argument("--rates", nargs="+", default=["1e-5"], help="learning rates of the tweak")


def main():
    runs = experiment.start(__doc__, "losses", more=more, grid=["losses", "rates"])
    options = runs.options
    for seed, rate, loss in itertools.product(options.seeds, options.rates, options.losses):
        text = experiment.written_text(runs, seed, "language")
        experiment.add_quantize(runs, f"{loss}-{rate}-{seed}", text, seed, "--preset", "norm-tweaking-2bit", "--loss", loss,
                                "--lr", rate, *experiment.unguarded(runs), seeded=False)

    def print_table():
        table = jobs.Table(runs, ["loss", "rate"])
        for row, (loss, rate) in enumerate(itertools.product(options.losses, options.rates)):
            names = [f"{loss}-{rate}-{seed}" for seed in options.seeds]
            if row == 0:
                table.row(["untouched", ""], names, "quantized")
            table.row([loss, rate], names, "tweaked", jobs.verdict)

    experiment.finish(runs, print_table)


if __name__ == "__main__":
    main()
