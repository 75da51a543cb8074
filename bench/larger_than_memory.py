#!/usr/bin/env python3
"""Whether a model that does not fit the GPU gives what it gives where it fits, and within the memory allowed.

    bench/larger_than_memory.py MODEL [--memory 1GiB 512MiB] [--samples 24] [--tokens 512] [--device cuda]

Runs `quantize` with the end-to-end tweak, `tweak` on its untouched result, and `eval`, first with all the memory there
is and then with each cap, on the same text. Prints figures, peak memory and seconds side by side. Exits with 1 if a
run took more than its cap, or if a figure of the quantized model differs by more than one in a hundred, or that of a
tweak which both runs accepted or both refused by more than one in twenty. Standard library only.
"""
import sys

import program

UNITS = {"GiB": 2**30, "MiB": 2**20}


def in_bytes(size):
    return float(size[:-3]) * UNITS[size[-3:]]


def main():
    parser = program.parser(__doc__, samples=24, tokens=512, out="larger-than-memory", device="cuda")
    parser.add_argument("--memory", nargs="+", default=["1GiB", "512MiB"], help="caps, in GiB or MiB")
    options = parser.parse_args()
    normtweak = program.Program(options)
    out, wrong = normtweak.out, []

    def run(name, *arguments, cap):
        try:
            figures, lines = normtweak.call(*arguments, *(["--memory", cap] if cap else []), name=f"{name}-{cap}")
        except program.Failure as failure:
            wrong.append(f"{name} with {cap or 'all memory'}: {str(failure).strip().splitlines()[-1]}")
            return None
        placed = [line for line in lines if "memory:" in line]
        if cap and figures["peak_memory_bytes"] > in_bytes(cap):
            wrong.append(f"{name}: {figures['peak_memory_bytes'] / 2**20:.0f} MiB taken of {cap}")
        return figures | {"placed": placed[0].strip() if placed else ""}

    shared = ["--calibration", normtweak.write_text()[0]]
    jobs = {
        "quantize": lambda saved: ["quantize", options.model, "-o", saved, "--bits", 3, "--group-size", 64,
                                   *program.stored(options.model), *shared],
        "tweak": lambda saved: ["tweak", out / "untouched", "--reference", options.model, "-o", saved, *shared],
        "eval": lambda saved: ["eval", out / "untouched", "--reference", options.model, "--rows", out / "text.txt",
                               "--context", 256],
    }
    normtweak.run("quantize", options.model, "-o", out / "untouched", "--bits", 3, "--group-size", 64, "--tweak",
                  "none", *program.stored(options.model), *shared, name="untouched")
    (out / "text.txt").write_text((program.ROOT / "docs" / "methods.md").read_text())

    print("| | cap | KLD quantized | tweaked | MiB | seconds | |\n|-|-|-|-|-|-|-|")
    for job, arguments in jobs.items():
        whole = None
        for cap in [None, *options.memory]:
            figures = run(job, *arguments(out / f"{job}-{cap}"), cap=cap)
            if figures is None:
                continue
            kld = figures["kld"] if job != "eval" else {"quantized": figures["kld"]["mean"], "tweaked": 0}
            print(f"| {job} | {cap or '-'} | {kld['quantized']:.5f} | {kld['tweaked']:.5f} | "
                  f"{figures['peak_memory_bytes'] / 2**20:.0f} | {figures['seconds']['total']:.1f} | "
                  f"{figures['placed']} |", flush=True)
            accepted = figures.get("guard", {}).get("accepted")
            whole = whole or kld | {"accepted": accepted}
            for key, tolerance in (("quantized", 0.01), ("tweaked", 0.05)):
                # With so few rows the guard may accept a tweak in one run and not in the other.
                compared = key == "quantized" or accepted == whole["accepted"]
                if compared and abs(kld[key] - whole[key]) > tolerance * whole[key]:
                    wrong.append(f"{job} with {cap}: KLD {key} {kld[key]:.5f} against {whole[key]:.5f}")
    print(*wrong, sep="\n", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
