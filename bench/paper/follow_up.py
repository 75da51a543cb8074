#!/usr/bin/env python3
"""The table of the paper's open follow-up (smpanaro/norm-tweaking): RTN with 6 bits and k-means with 4, each per channel.

    bench/paper/follow_up.py MODEL --rows wiki.test.raw [--seeds 0 1 2] [--device cuda] [--gpus 2 --at-once 8]

Perplexity per word as lm_eval has it (protocol lm-eval). `--preset follow-up-rtn` and `follow-up-kmeans`, and the
end-to-end tweak of the same models. The follow-up's grid of rates is a command of its own:

    normtweak search MODEL -o FOLDER --preset follow-up-rtn --grid lr=0,1e-4,1e-5,1e-6,1e-7 --grid lr-scale=0.5,1,5,10

Standard library only.
"""
import experiment
import jobs

QUANTIZERS = {"RTN, 6 bits": ("follow-up-rtn", ["--method", "rtn", "--bits", 6, "--group-size", 0]),
              "k-means, 4 bits": ("follow-up-kmeans", ["--method", "kmeans", "--bits", 4])}


def recovered(report, state):
    """Share of the perplexity that quantization cost, in percent."""
    return 100 * report["evaluations"][0]["recovered"] if state == "tweaked" else None


def main():
    # Whole documents, all of them: the figures that lm_eval reports.
    runs = experiment.start(__doc__, "follow-up", tokens=1024, more=lambda parser: parser.set_defaults(max_tokens=0))
    for seed in runs.options.seeds:
        text = experiment.written_text(runs, seed, "llm-qat")
        for preset, plan in QUANTIZERS.values():
            protocol = ["--protocol", "lm-eval"]
            experiment.add_quantize(runs, f"{preset}-layerwise-{seed}", text, seed, "--preset", preset, *protocol,
                                    *experiment.unguarded(runs), seeded=False)
            experiment.add_quantize(runs, f"{preset}-end-to-end-{seed}", text, seed, *plan, *protocol,
                                    *experiment.END_TO_END)

    def print_table():
        table = jobs.Table(runs, ["quantizer", "tweak"], [jobs.Column("recovered %", 1, recovered)])
        table.float_row(["float", ""], [name for name in runs.jobs if not name.startswith("text")])
        for title, (preset, _) in QUANTIZERS.items():
            layerwise, end_to_end = ([f"{preset}-{tweak}-{seed}" for seed in runs.options.seeds]
                                     for tweak in ("layerwise", "end-to-end"))
            experiment.rows_of_states(table, [title], layerwise, "layer-wise")
            table.row([title, "end to end"], end_to_end, "tweaked", jobs.verdict)

    experiment.finish(runs, print_table)


if __name__ == "__main__":
    main()
