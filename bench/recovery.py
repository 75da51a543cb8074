#!/usr/bin/env python3
"""What the tweak wins back, by bits, by how floats are stored and by length of the text, over several seeds.

    bench/recovery.py MODEL --rows wiki.test.raw --text ptb.valid.txt [--bits 4 3 2] [--seeds 0 1 2]
                      [--stored bf16 f32] [--lengths 1024] [--device cuda] [--context 512] [--protocol gptq]

For each seed the model writes a text, on which everything with that seed is quantized and tweaked. Prints the mean of
untouched -> tweaked over the seeds, with the standard deviation of the tweaked one. A run whose report is in --out is not
repeated. Standard library only.
"""
import json
import statistics

import program


def spread(values):
    return statistics.stdev(values) if len(values) > 1 else 0.0


def cell(found, figure, digits):
    """figure: of an evaluation of each report, a pair of untouched and tweaked."""
    before, after = zip(*map(figure, found))
    return (f"{statistics.mean(before):.{digits}f} → {statistics.mean(after):.{digits}f} "
            f"± {spread(after):.{digits}f}")


def main():
    parser = program.parser(__doc__, samples=0, tokens=512, out="recovery")
    parser.add_argument("--rows", required=True, help="a data set with one row a line")
    parser.add_argument("--text", required=True, help="a text file")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--protocol", default="gptq", help="of `normtweak eval`")
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stored", nargs="+", default=["bf16", "f32"])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024], help="rows of text")
    options = parser.parse_args()
    normtweak = program.Program(options)

    def report(name, *arguments):
        done = normtweak.out / f"{name}.json"
        return json.loads(done.read_text()) if done.exists() else normtweak.run(*arguments, name=name)

    print("| bits | rows | stored | " + " | ".join(f"{text} | KLD" for text in ("rows", "text")) + " |\n|-|-|-|-|-|-|-|",
          flush=True)
    for length in options.lengths:
        for seed in options.seeds:
            report(f"text-{length}-{seed}", "generate", options.model, "-o",
                   normtweak.out / f"{length}-{seed}.safetensors", "--samples", length, "--tokens", options.tokens,
                   "--seed", seed)
        for bits in options.bits:
            for stored in options.stored:
                found = []
                for seed in options.seeds:
                    name = f"{bits}-{length}-{stored}-{seed}"
                    found.append(report(
                        name, "quantize", options.model, "-o", normtweak.out / name, "--bits", bits, "--group-size", 64,
                        "--calibration", normtweak.out / f"{length}-{seed}.safetensors", "--store-dtype", stored,
                        "--seed", seed, "--context", options.context, "--protocol", options.protocol,
                        "--eval-rows", options.rows, "--eval-text", options.text))
                cells = []
                for text in (0, 1):
                    for key, digits in (("perplexity", 2), ("kld", 4)):
                        cells.append(cell(found, lambda run, text=text, key=key: (
                            run["evaluations"][text][key]["quantized"], run["evaluations"][text][key]["tweaked"]),
                            digits))
                print(f"| {bits} | {length} | {stored} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
