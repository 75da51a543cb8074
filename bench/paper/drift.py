#!/usr/bin/env python3
"""The paper's figure of drift: how far each block's output has moved from the float model's, untouched and tweaked.

    bench/paper/drift.py MODEL --text FILE [--bits 4] [--seeds 0 1 2] [--device cuda] [--gpus 2 --at-once 8]

GPTQ as published with the paper's grids. For each block: the shift of the channels' means, averaged with its sign as in the
paper's figure and by its size, and the squared error relative to the block's mean square, on --text (or --rows), which no
model was calibrated with. Standard library only.
"""
import sys

import experiment
import jobs

STATES = {"untouched": "none", "layer-wise": "layerwise", "end to end": "end-to-end"}
METRICS = {"Δμ": "mean_shift", "size of Δμ": "mean_distance", "size of Δσ²": "variance_distance",
           "relative MSE": "mse_relative"}


def add_jobs(runs, seed):
    options = runs.options
    text = experiment.written_text(runs, seed, "language")
    bits, group, preset = next(row for row in experiment.PAPER_BITS.values() if row[0] == options.bits)
    plain = [*experiment.PLAIN_GPTQ, "--bits", bits, "--group-size", group]
    arguments = {"none": [*plain, "--tweak", "none"], "layerwise": ["--preset", preset, *experiment.unguarded(runs)],
                 "end-to-end": [*plain, *experiment.END_TO_END]}
    for tweak in STATES.values():
        model = f"{tweak}-{bits}-{seed}"
        experiment.add_quantize(runs, model, text, seed, *arguments[tweak], seeded=tweak == "end-to-end")
        runs.add(f"drift-{model}", "eval", runs.jobs[model].output, "--reference", options.model, "--drift",
                 *(["--rows", options.rows] if options.rows else ["--text", options.text]), "--max-tokens",
                 options.max_tokens, needs=[model])


def shifts(report):
    """(block, metric) → value"""
    return {tuple(figure["metric"].split()[1:]): figure["value"] for figure in report["figures"]
            if figure["task"] == "drift"}


def print_table(runs):
    options = runs.options
    found = {}  # state → those of each seed
    for title, tweak in STATES.items():
        names = [f"drift-{tweak}-{options.bits}-{seed}" for seed in options.seeds]
        found[title] = [shifts(report) for name in names if (report := runs.report(name)) is not None]
        for name in names:
            if runs.report(name) is None:
                print(f"{name}: {runs.why_not(name)}\n")
    blocks = sorted({int(block) for seeds in found.values() for values in seeds for block, _ in values})
    titles = [f"{metric}, {state}" for metric in METRICS for state in STATES]
    print("| block | " + " | ".join(titles) + " |\n|" + "-|" * (len(titles) + 1))
    for block in blocks:
        cells = [jobs.spread([values[str(block), metric] for values in found[state]], 5)
                 for metric in METRICS.values() for state in STATES]
        print(f"| {block} | " + " | ".join(cells) + " |")


def main():
    runs = experiment.start(__doc__, "drift", more=lambda parser: parser.add_argument(
        "--bits", type=int, choices=[4, 2], default=4), grid=["bits"])
    if not (runs.options.text or runs.options.rows):
        sys.exit("drift.py needs --text or --rows")
    for seed in runs.options.seeds:
        add_jobs(runs, seed)
    experiment.finish(runs, lambda: print_table(runs))


if __name__ == "__main__":
    main()
