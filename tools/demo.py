#!/usr/bin/env python3
"""The demo: SmolLM2-135M at 4 and 3 bits, quantized by GPTQ and tweaked, on text that the model writes itself.

Leaves demo/report.json: {"version": ..., "runs": [what `normtweak quantize --json` wrote, for each bit width]}.
The float model is itself dequantized from a Q4_1 file; every figure here is relative to that.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

SAMPLES = 64       # calibration rows that the model writes
TOKENS = 256       # tokens in each
MAX_TOKENS = 4096  # tokens of WikiText-2 that are scored
PASSES = 3         # of the tweak over them
BITS = (4, 3)
GROUP_SIZE = 64

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
    return parser.parse_args(arguments)


def run(program: str, *arguments: object) -> None:
    """Runs one subcommand; its progress goes through to stderr."""
    command = [program, *map(str, arguments)]
    print("\n$ normtweak", *command[1:], flush=True)
    status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    if status != 0:
        sys.exit(f"demo: normtweak {arguments[0]} ended with status {status}")


def run_all(options: argparse.Namespace) -> list[dict]:
    """Generates the calibration text once, then quantizes at each bit width."""
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    calibration = out / "calibration.safetensors"
    run(options.program, "generate", options.model, "-o", calibration, "--samples", options.samples,
        "--tokens", options.tokens, "--json", out / "generate.json")
    measured = ["--rows", options.rows, "--max-tokens", options.max_tokens] if options.rows else []
    runs = []
    for bits in BITS:
        figures = out / f"quantize-{bits}.json"
        run(options.program, "quantize", options.model, "-o", out / f"smollm2-{bits}bit", "--method", "gptq",
            "--bits", bits, "--group-size", GROUP_SIZE, "--epochs", PASSES, "--calibration", calibration, "--format", "hf",
            "--json", figures, *measured)
        runs.append(json.loads(figures.read_text(encoding="utf-8")))
    return runs


def write_report(path: pathlib.Path, runs: list[dict]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps({"version": runs[0]["version"], "runs": runs}, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def table_row(run_figures: dict, text: str, perplexity: dict, kld: dict) -> list[str]:
    lost = perplexity["quantized"] - perplexity["float"]
    recovered = f"{(perplexity['quantized'] - perplexity['tweaked']) / lost:.0%}" if lost > 0 else "-"
    return [str(run_figures["bits"]), f"{run_figures['bits_per_weight']:.2f}", text,
            *(f"{perplexity[which]:.3f}" for which in ("float", "quantized", "tweaked")),
            f"{kld['quantized']:.4f} -> {kld['tweaked']:.4f}", recovered, f"{run_figures['seconds']['total']:.0f}"]


def table(runs: list[dict]) -> str:
    """A line for each bit width and text: perplexities and KL divergence before and after the tweak."""
    lines = [["bits", "bits/weight", "measured on", "float", "quantized", "tweaked", "KL divergence", "recovered",
              "seconds"]]
    for figures in runs:
        lines.append(table_row(figures, HELD_OUT, figures["perplexity"], figures["kld"]))
        for other in figures.get("evaluations", []):
            name = "WikiText-2" if "wiki.test" in other["name"] else other["name"]
            text = f"{name} (first {other['tokens_scored']} tokens)"
            lines.append(table_row(figures, text, other["perplexity"], other["kld"]))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


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
          f"The checkpoints and report.json are in {options.out}/")


if __name__ == "__main__":
    main(sys.argv[1:])
