"""What the scripts of the paper's tables share: the paper's settings, and runs of them over seeds. Standard library only."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import jobs  # noqa: E402
import program  # noqa: E402

# The paper's GPTQ: as published, without what this program adds to it.
PLAIN_GPTQ = ["--method", "gptq", "--no-search-grid", "--no-act-order", "--sweeps", "0", "--drift-correction", "0"]
# title → bits, group size (0: a scale for each output channel), preset with the paper's whole setting
PAPER_BITS = {"W4": (4, 0, "norm-tweaking"), "W2 in groups of 64": (2, 64, "norm-tweaking-2bit")}
# Algorithm 1 with the paper's loss, rate and one pass
LAYERWISE = ["--tweak", "layerwise", "--loss", "dist", "--lr", "1e-5", "--epochs", "1", "--batch", "1"]
END_TO_END = ["--tweak", "end-to-end"]


def start(description, out, samples=128, tokens=2048, more=lambda parser: None, grid=()):
    """The runs of a script, with its options parsed. samples, tokens: of the paper. more: adds options of the script."""
    parser = jobs.parser(description, samples, tokens, f"paper/{out}")
    parser.add_argument("--guarded", action="store_true",
                        help="keep a layer-wise tweak only if held-out text confirms it, as the program does by itself; "
                        "otherwise all are scored, as the paper did")
    more(parser)
    return jobs.Runs(parser.parse_args(), grid)


def written_text(runs, seed, strategy):
    """A text by a --strategy of `normtweak generate`: the job and its file."""
    return runs.add_text(seed, "--strategy", strategy, kind=strategy)


def layerwise(runs):
    return LAYERWISE + unguarded(runs)


def unguarded(runs):
    return [] if runs.options.guarded else ["--unguarded"]


def add_quantize(runs, name, text, seed, *arguments, seeded=True):
    """A run of `quantize` with figures, on a text of Runs.add_text(). seeded: whether anything but the text is random."""
    job, ids = text
    return runs.add(name, "quantize", runs.options.model, *program.stored(runs.options.model), "--calibration", ids,
                    *arguments, *(["--seed", seed] if seeded else []), *runs.reported(), needs=[job],
                    output=f"{name}.model")


def rows_of_states(table, label, names, tweak):
    """Two rows: untouched and tweaked, of runs that did both. names: of the jobs of each seed."""
    table.row([*label, "untouched"], names, "quantized")
    table.row([*label, tweak], names, "tweaked", jobs.verdict)


def finish(runs, print_table):
    """Runs what is left, prints the table and writes results.json."""
    runs.run()
    print_table()
    runs.write_results()
