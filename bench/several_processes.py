#!/usr/bin/env python3
"""What several processes win, one for each GPU (NCCL) or sharing a CPU (Gloo), and that they find what one does.

    bench/several_processes.py MODEL [--processes 2] [--samples 256] [--tokens 512] [--device cuda]

`generate`, then `quantize` without a tweak, then `tweak` with a learning rate that is given, each by one process and by
several. The text and the checkpoint that later commands start from are those of one process. Sums differ in
their order, and with them codes that are nearly ties: exits with 1 if a KL divergence differs by more than one in twenty
after quantizing, or one in a hundred after the tweak. Needs torch for `torchrun`.
"""
import math
import sys

import program


def launcher(processes):
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node", processes]


def main():
    parser = program.parser(__doc__, samples=256, tokens=512, out="several-processes")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--passes", type=int, default=6)
    options = parser.parse_args()
    one = program.Program(options)
    several = program.Program(options, launcher=launcher(options.processes))
    text = one.out / "text-1.safetensors"
    jobs = {
        "generate": lambda count: ["generate", options.model, "-o", one.out / f"text-{count}.safetensors", "--samples",
                                   options.samples, "--tokens", options.tokens],
        "quantize": lambda count: ["quantize", options.model, "-o", one.out / f"untouched-{count}", "--bits",
                                   options.bits, "--group-size", 64, "--tweak", "none",
                                   *program.stored(options.model), "--calibration", text],
        "tweak": lambda count: ["tweak", one.out / "untouched-1", "--reference", options.model, "-o",
                                one.out / f"tweaked-{count}", "--calibration", text, "--lr", options.rate, "--epochs",
                                options.passes],
    }
    speeds = {"generate": "tokens_per_second", "tweak": "step_tokens_per_second"}
    judged = {"quantize": ("quantized", 0.05), "tweak": ("tweaked", 0.01)}  # which figure; how far they may differ
    differs = False
    print("| | processes | seconds | tokens/s | KL, own text held out |\n|-|-|-|-|-|", flush=True)
    for job, arguments in jobs.items():
        divergences = []
        for count, runner in ((1, one), (options.processes, several)):
            found = runner.run(*arguments(count), name=f"{job}-{count}")
            speed = f"{found[speeds[job]]:,.0f}" if job in speeds else ""
            if job in judged:
                divergences.append(found["kld"][judged[job][0]])
            divergence = f"{divergences[-1]:.5f}" if job in judged else ""
            print(f"| {job} | {count} | {found['seconds'][job]:.1f} | {speed} | {divergence} |", flush=True)
        differs |= job in judged and not math.isclose(*divergences, rel_tol=judged[job][1])
    if differs:
        sys.exit("several processes found another result than one")


if __name__ == "__main__":
    main()
