#!/usr/bin/env python3
"""The paper's study of calibration text: random tokens, real text, and two ways in which the model writes it.

    bench/paper/calibration.py MODEL --rows wiki.test.raw --text ptb.valid.txt --lambada lambada_test.jsonl --real FILE
                               [--seeds 0 1 2] [--device cuda] [--gpus 2 --at-once 8] [--seconds-left 480]

2 bits in groups of 64, everything but the text as in `--preset norm-tweaking-2bit`; GPTQ and the tweak both see it.
Figures on a text are flattered if --real is that text, which by default is --text. Real text is one run, since no seed
chooses its rows. Held-out figures are of rows of the same kind of text, so they do not compare between rows. Standard
library only.
"""
import experiment
import jobs


def main():
    runs = experiment.start(__doc__, "calibration", more=lambda parser: parser.add_argument(
        "--real", help="the real text, as a text file; default: --text"))
    options = runs.options
    real = options.real or options.text
    texts = {"random tokens": "random-tokens", "written, LLM-QAT": "llm-qat", "written, by language": "language"}
    if real:
        texts["real text"] = "real"
    seeds_of = lambda kind: options.seeds[:1] if kind == "real" else options.seeds  # no seed chooses its rows
    for kind, seed in [(kind, seed) for kind in texts.values() for seed in seeds_of(kind)]:
        text = (runs.add_text(seed, "--text", real, kind=kind) if kind == "real" else
                experiment.written_text(runs, seed, kind))
        experiment.add_quantize(runs, f"{kind}-{seed}", text, seed, "--preset", "norm-tweaking-2bit",
                                *experiment.unguarded(runs), seeded=False)

    def print_table():
        table = jobs.Table(runs, ["text", "tweak"])
        table.float_row(["float", ""], [name for name in runs.jobs if not name.startswith("text")])
        for title, kind in texts.items():
            names = [f"{kind}-{seed}" for seed in seeds_of(kind)]
            experiment.rows_of_states(table, [title], names, "layer-wise")

    experiment.finish(runs, print_table)


if __name__ == "__main__":
    main()
