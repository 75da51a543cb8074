#!/usr/bin/env python3
"""The paper's main table: GPTQ with 4 and 2 bits, and norm tweaking behind it. LAMBADA before and after.

    bench/paper/lambada_2bit.py MODEL --rows wiki.test.raw --text ptb.valid.txt --lambada lambada_test.jsonl
                                [--seeds 0 1 2] [--device cuda] [--gpus 2 --at-once 8] [--seconds-left 480]

GPTQ as published; the model writes 128 x 2048 tokens in its languages. The layer-wise tweak is `--preset norm-tweaking`
(-2bit); the end-to-end tweak starts from the same GPTQ, and once more from this program's own. Standard library only.
"""
import experiment
import jobs

TWEAKS = {"layer-wise": "layerwise", "end to end": "end-to-end"}


def main():
    runs = experiment.start(__doc__, "lambada-2bit")
    for seed in runs.options.seeds:
        text = experiment.written_text(runs, seed, "language")
        for bits, group, preset in reversed(experiment.PAPER_BITS.values()):
            size = ["--bits", bits, "--group-size", group]
            experiment.add_quantize(runs, f"{bits}-layerwise-{seed}", text, seed, "--preset", preset,
                                    *experiment.unguarded(runs), seeded=False)
            experiment.add_quantize(runs, f"{bits}-end-to-end-{seed}", text, seed, *experiment.PLAIN_GPTQ, *size,
                                    *experiment.END_TO_END)
            experiment.add_quantize(runs, f"{bits}-own-{seed}", text, seed, "--method", "gptq", *size,
                                    *experiment.END_TO_END)

    def print_table():
        table = jobs.Table(runs, ["", "quantizer", "tweak"])
        table.float_row(["float", "", ""], [name for name in runs.jobs if not name.startswith("text")])
        for title, (bits, _, _) in experiment.PAPER_BITS.items():
            names = {kind: [f"{bits}-{kind}-{seed}" for seed in runs.options.seeds]
                     for kind in (*TWEAKS.values(), "own")}
            untouched = max(("layerwise", "end-to-end"), key=lambda kind: sum(
                runs.report(name) is not None for name in names[kind]))
            table.row([title, "GPTQ as published", "untouched"], names[untouched], "quantized")
            for tweak, kind in TWEAKS.items():
                table.row([title, "GPTQ as published", tweak], names[kind], "tweaked", jobs.verdict)
            table.row([title, "this program's GPTQ", "untouched"], names["own"], "quantized")
            table.row([title, "this program's GPTQ", "end to end"], names["own"], "tweaked", jobs.verdict)

    experiment.finish(runs, print_table)


if __name__ == "__main__":
    main()
