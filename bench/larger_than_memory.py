#!/usr/bin/env python3
"""Whether a model that does not fit the GPU gives what it gives where it fits, and within the memory allowed.

    bench/larger_than_memory.py MODEL [--memory 1GiB 512MiB] [--samples 24] [--tokens 512] [--device cuda]

Runs `quantize` with the end-to-end tweak, `tweak` on its untouched result, and `eval`, first with all the memory there
is and then with each cap, on the same text. Prints figures, peak memory and seconds side by side. Exits with 1 if a
run took more than its cap, or if a figure of the quantized model differs by more than one in a hundred, or a tweaked one
by more than one in twenty. Standard library only.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNITS = {"GiB": 2**30, "MiB": 2**20}


def in_bytes(size):
    return float(size[:-3]) * UNITS[size[-3:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--program", default=str(ROOT / "build" / "normtweak"))
    parser.add_argument("--memory", nargs="+", default=["1GiB", "512MiB"], help="caps, in GiB or MiB")
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", default=str(ROOT / "bench-results" / "larger-than-memory"))
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    text = out / "calibration.safetensors"
    wrong = []

    def run(name, *arguments, cap=None):
        report = out / f"{name}-{cap}.json"
        command = [options.program, *map(str, arguments), "--json", report, "--device", options.device]
        done = subprocess.run([*command, *(["--memory", cap] if cap else [])], capture_output=True, text=True)
        if done.returncode != 0:
            wrong.append(f"{name} with {cap or 'all memory'}: {done.stderr.strip().splitlines()[-1]}")
            return None
        placed = [line for line in done.stderr.splitlines() if "memory:" in line]
        figures = json.loads(report.read_text())
        if cap and figures["peak_memory_bytes"] > in_bytes(cap):
            wrong.append(f"{name}: {figures['peak_memory_bytes'] / 2**20:.0f} MiB taken of {cap}")
        return figures | {"placed": placed[0].strip() if placed else ""}

    run("generate", "generate", options.model, "-o", text, "--samples", options.samples, "--tokens", options.tokens)
    shared = ["--calibration", text]
    jobs = {
        "quantize": lambda saved: ["quantize", options.model, "-o", saved, "--bits", 3, "--group-size", 64, *shared],
        "tweak": lambda saved: ["tweak", out / "untouched", "--reference", options.model, "-o", saved, *shared],
        "eval": lambda saved: ["eval", out / "untouched", "--reference", options.model, "--rows", out / "text.txt",
                               "--context", 256],
    }
    run("untouched", "quantize", options.model, "-o", out / "untouched", "--bits", 3, "--group-size", 64, "--tweak",
        "none", *shared)
    (out / "text.txt").write_text((ROOT / "docs" / "methods.md").read_text())

    print("| | cap | KLD quantized | tweaked | MiB | seconds | |\n|-|-|-|-|-|-|-|")
    for job, arguments in jobs.items():
        whole = None
        for cap in [None, *options.memory]:
            figures = run(job, *arguments(out / f"{job}-{cap}"), cap=cap)
            if figures is None:
                continue
            kld = figures["kld"] if job != "eval" else {"quantized": figures["kld"]["mean"], "tweaked": 0}
            print(f"| {job} | {cap or '-'} | {kld['quantized']:.5f} | {kld['tweaked']:.5f} | "
                  f"{figures['peak_memory_bytes'] / 2**20:.0f} | {figures['seconds']['total']:.1f} | {figures['placed']} |",
                  flush=True)
            whole = whole or kld
            for key, tolerance in (("quantized", 0.01), ("tweaked", 0.05)):
                if abs(kld[key] - whole[key]) > tolerance * whole[key]:
                    wrong.append(f"{job} with {cap}: KLD {key} {kld[key]:.5f} against {whole[key]:.5f}")
    print(*wrong, sep="\n", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
