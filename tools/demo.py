#!/usr/bin/env python3
"""The demo: SmolLM2-135M at 3 bits (or at $BITS), a ladder from rounding to the tweaked model, on text that the model
writes itself, and a sentence of each.

Leaves demo/report.json: {"version": ..., "runs": [what `normtweak quantize --json` wrote, for each bit width, and its
"ladder": the figures of each rung]}. The float model is itself dequantized from a Q4_1 file; every figure here is
relative to that.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

SAMPLES = 40       # calibration rows that the model writes
TOKENS = 256       # tokens in each
MAX_TOKENS = 2048  # tokens of WikiText-2 that are scored
PASSES = 3         # of the tweak over them
BITS = "3"
GROUP_SIZE = 64
PROMPT = "The old lighthouse keeper opened the door and"
SENTENCE = 28      # tokens that each model writes after it

# The rungs below this program's own defaults: name, arguments of `normtweak quantize`.
LOWER_RUNGS = (
    ("round to nearest", ("--method", "rtn", "--no-search-grid")),
    ("GPTQ as published", ("--method", "gptq", "--no-search-grid", "--no-act-order", "--sweeps", 0,
                           "--drift-correction", 0)),
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
HELD_OUT = "held-out text that the model wrote"


def default_rows() -> str | None:
    """WikiText-2, where there is a copy."""
    if os.environ.get("ROWS"):
        return os.environ["ROWS"]
    data = os.environ.get("NORMTWEAK_TEST_DATA")
    file = pathlib.Path(data, "wikitext-2-raw", "wiki.test.raw") if data else None
    return str(file) if file and file.is_file() else None


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    env = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a MODEL of normtweak")
    parser.add_argument("--program", default=str(ROOT / "build" / "normtweak"))
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "demo", help="folder that everything is written to")
    parser.add_argument("--samples", type=int, default=int(env("SAMPLES", SAMPLES)),
                        help="calibration rows (default: $SAMPLES or %(default)s)")
    parser.add_argument("--tokens", type=int, default=int(env("TOKENS", TOKENS)),
                        help="tokens in a row (default: $TOKENS or %(default)s)")
    parser.add_argument("--rows", default=default_rows(), help="text to measure on as well, one row a line "
                        "(default: $ROWS, or WikiText-2 under $NORMTWEAK_TEST_DATA where that exists)")
    parser.add_argument("--max-tokens", type=int, default=int(env("MAX_TOKENS", MAX_TOKENS)),
                        help="tokens of that text (default: $MAX_TOKENS or %(default)s)")
    parser.add_argument("--bits", type=int, nargs="+", default=[int(bits) for bits in env("BITS", BITS).split()],
                        help="a ladder for each of these widths (default: $BITS or 3)")
    return parser.parse_args(arguments)


def run(program: str, *arguments: object) -> None:
    """Runs one subcommand; its progress goes through to stderr."""
    command = [program, *map(str, arguments)]
    print("\n$ normtweak", *command[1:], flush=True)
    status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    if status != 0:
        sys.exit(f"demo: normtweak {arguments[0]} ended with status {status}")


def rung(name: str, figures: dict, which: str, seconds: float) -> dict:
    """One rung of the ladder: perplexity and KL divergence on the text that was asked for, else on held-out text."""
    text = next(iter(figures.get("evaluations", [])), figures)
    return {"name": name, "perplexity": text["perplexity"][which], "kld": text["kld"][which], "seconds": seconds}


def climb(options: argparse.Namespace, bits: int, shared: list) -> dict:
    """Quantizes in each way at one width; returns the figures of the last, with the ladder."""
    out = options.out
    shared = ["--bits", bits, "--group-size", GROUP_SIZE, "--format", "hf", *shared]
    ladder = []
    for number, (name, arguments) in enumerate(LOWER_RUNGS):
        path = out / f"rung-{bits}-{number}.json"
        run(options.program, "quantize", options.model, "-o", out / f"rung-{bits}-{number}", *arguments, "--tweak", "none",
            *shared, "--json", path)
        figures = json.loads(path.read_text(encoding="utf-8"))
        ladder.append(rung(name, figures, "quantized", figures["seconds"]["quantize"]))
    path = out / f"quantize-{bits}.json"
    run(options.program, "quantize", options.model, "-o", out / f"smollm2-{bits}bit", "--epochs", PASSES, *shared,
        "--json", path)
    figures = json.loads(path.read_text(encoding="utf-8"))
    seconds = figures["seconds"]
    ladder.append(rung("this program's GPTQ", figures, "quantized", seconds["quantize"]))
    ladder.append(rung("tweaked", figures, "tweaked", seconds["quantize"] + seconds["tweak"]))
    figures |= {"ladder": ladder, "sentences": sentences(options, bits)}
    for number in range(len(LOWER_RUNGS)):
        shutil.rmtree(out / f"rung-{bits}-{number}", ignore_errors=True)  # only the best is worth its space
    return figures


def sentences(options: argparse.Namespace, bits: int) -> dict[str, str]:
    """What the float, the rounded and the tweaked model write after the same prompt."""
    path = options.out / f"sample-{bits}.json"
    models = {"float": options.model, LOWER_RUNGS[0][0]: options.out / f"rung-{bits}-0",
              "tweaked": options.out / f"smollm2-{bits}bit"}
    run(options.program, "sample", *models.values(), "--prompt", PROMPT, "--tokens", SENTENCE, "--quiet", "--json", path)
    samples = json.loads(path.read_text(encoding="utf-8"))["samples"]
    return {name: " ".join((PROMPT + sample["text"]).split()) for name, sample in zip(models, samples)}


def run_all(options: argparse.Namespace) -> list[dict]:
    """Generates the calibration text once, then climbs the ladder at each bit width."""
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    calibration = out / "calibration.safetensors"
    run(options.program, "generate", options.model, "-o", calibration, "--samples", options.samples,
        "--tokens", options.tokens, "--json", out / "generate.json")
    measured = ["--rows", options.rows, "--max-tokens", options.max_tokens] if options.rows else []
    return [climb(options, bits, ["--calibration", calibration, *measured]) for bits in options.bits]


def write_report(path: pathlib.Path, runs: list[dict]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps({"version": runs[0]["version"], "runs": runs}, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def measured_on(figures: dict) -> str:
    text = next(iter(figures.get("evaluations", [])), None)
    if text is None:
        return HELD_OUT
    name = "WikiText-2" if "wiki.test" in text["name"] else text["name"]
    return f"{name} (first {text['tokens_scored']} tokens)"


def table(runs: list[dict]) -> str:
    """The ladder of each bit width, and the sentences."""
    blocks = []
    for figures in runs:
        text = next(iter(figures.get("evaluations", [])), figures)
        lines = [[f"{figures['bits']} bits ({figures['bits_per_weight']:.2f} a weight)", "perplexity", "KL", "seconds"],
                 ["float model", f"{text['perplexity']['float']:.2f}", "0", ""]]
        lines += [[step["name"], f"{step['perplexity']:.2f}", f"{step['kld']:.3f}", f"{step['seconds']:.0f}"]
                  for step in figures["ladder"]]
        widths = [max(map(len, column)) for column in zip(*lines)]
        rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
        said = [f"{name}: {sentence}" for name, sentence in figures["sentences"].items()]
        blocks.append("\n".join([f"Measured on {measured_on(figures)}:", *rows, "", *said]))
    return "\n\n".join(blocks)


def main(arguments: list[str]) -> None:
    options = parse_arguments(arguments)
    if not os.access(options.program, os.X_OK):
        sys.exit(f"demo: {options.program} is not there; run `make build`")
    print(f"calibration: {options.samples} samples of {options.tokens} tokens, written by the model itself")
    if options.rows:
        print(f"also measured on the first {options.max_tokens} tokens of {options.rows}")
    else:
        print("WikiText-2 is not measured: name a file with ROWS=FILE, one row a line")
    runs = run_all(options)
    write_report(options.out / "report.json", runs)
    print(f"\n{table(runs)}\n\nPerplexity, and KL divergence in nats per token: less is better. "
          f"Seconds are those of quantizing, and of the tweak. The checkpoints and report.json are in {options.out}/")


if __name__ == "__main__":
    main(sys.argv[1:])
