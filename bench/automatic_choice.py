#!/usr/bin/env python3
"""What the end-to-end tweak chooses by itself, against a grid of learning rates and passes.

    bench/automatic_choice.py MODEL [--bits 3] [--samples 64] [--tokens 256] [--device cuda]

The model writes the text; GPTQ (group 64) quantizes it once for each bit width. Every run starts from that checkpoint.
The gain is what the KL divergence on the confirmation rows fell by, whether or not the guard accepts it; the share is
that of the best run of the grid. Standard library only.
"""
import program


def main():
    parser = program.parser(__doc__, samples=64, tokens=256, out="choice")
    parser.add_argument("--bits", type=int, nargs="+", default=[3])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3, 4e-3, 8e-3])
    parser.add_argument("--passes", type=int, nargs="+", default=[2, 8])
    options = parser.parse_args()
    normtweak = program.Program(options)
    text, _ = normtweak.write_text()
    print("| bits | rate | passes | KLD | gain | share | seconds |\n|-|-|-|-|-|-|-|", flush=True)
    for bits in options.bits:
        saved = normtweak.out / f"gptq-{bits}"
        normtweak.run("quantize", options.model, "-o", saved, "--bits", bits, "--group-size", 64, "--tweak", "none",
                      *program.stored(options.model), "--calibration", text, name=f"gptq-{bits}")
        choices = [(f"{rate:g}", str(passes), ["--lr", rate, "--epochs", passes])
                   for passes in options.passes for rate in options.rates]
        runs = []
        for rate, passes, arguments in [*choices, ("automatic", "automatic", [])]:
            found = normtweak.run("tweak", saved, "--reference", options.model, "-o", normtweak.out / "tweaked",
                                  "--calibration", text, *arguments, name=f"tweak-{bits}-{len(runs)}")
            if rate == "automatic":
                rate += f" ({found['training']['rates']['scales']:g})"
            runs.append((rate, passes, found))
        best = max(found["guard"]["gain"] for _, _, found in runs[:-1])
        for rate, passes, found in runs:
            gain = found["guard"]["gain"]
            print(f"| {bits} | {rate} | {passes} | {found['kld']['quantized'] - gain:.4f} | {gain:.4f} | "
                  f"{gain / best:.0%} | {found['seconds']['tweak']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
