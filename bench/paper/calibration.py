#!/usr/bin/env python3
"""The paper's study of calibration text: random tokens, real text, and two ways in which the model writes it.

    bench/paper/calibration.py MODEL --rows wiki.test.raw --text ptb.valid.txt --lambada lambada_test.jsonl --real FILE
                               [--seeds 0 1 2] [--device cuda] [--gpus 2 --at-once 8] [--seconds-left 480]

2 bits in groups of 64, everything but the text as in `--preset norm-tweaking-2bit`; GPTQ and the tweak both see it. Figures
on a text are flattered if --real is that text, which by default is --text. Real text is the same for all seeds. Held-out
figures are of rows of the same kind of text, so they do not compare between rows. Standard library only.
"""
import itertools

import experiment
import jobs


def main():
    runs = experiment.start(__doc__, "calibration", more=lambda parser: parser.add_argument(
        "--real", help="the real text, as a text file; default: --text"))
    options = runs.options
    real = options.real or options.text
    texts = {"random tokens": ("random-tokens", ["--strategy", "random-tokens"]), "LLM-QAT": ("llm-qat", ["--strategy", "llm-qat"]),
             "by language": ("language", ["--strategy", "language"])}
    if real:
        texts["real text"] = ("real", ["--text", real])
    for seed, (kind, written) in itertools.product(options.seeds, texts.values()):
        text = runs.add_text(seed, *written, name=f"text-{kind}")
        experiment.add_quantize(runs, f"{kind}-{seed}", text, seed, "--preset", "norm-tweaking-2bit",
                                *experiment.unguarded(runs), seeded=False)

    def print_table():
        table = jobs.Table(runs, ["text", "tweak"])
        table.float_row(["float", ""], [name for name in runs.jobs if not name.startswith("text")])
        for title, (kind, _) in texts.items():
            experiment.rows_of_states(runs, table, [title], lambda seed, kind=kind: f"{kind}-{seed}", "layer-wise")

    experiment.finish(runs, print_table)


if __name__ == "__main__":
    main()
