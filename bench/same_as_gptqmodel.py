#!/usr/bin/env python3
"""Whether GPTQModel opens what `quantize --format gptq` and `--format awq` write, and computes the same logits.

    bench/same_as_gptqmodel.py MODEL [--samples 4] [--tokens 64] [--only gptq-4 awq-4 ...] [--out FOLDER]

MODEL is quantized by round to nearest in each setting below; the text is random ids, since that method learns nothing
from it. GPTQModel loads each folder on the CPU with no further argument than its own torch kernel, which computes in F16
alone. Compared are the weights of the first block, that of GPTQModel's being what its linears make
of the unit matrix, with what `--format hf` exports; and the logits, which `normtweak logits` computes in F32. A
folder fails that is not opened, or that holds a weight more than an ulp of F16 away from ours. The logits are there to
look at: a model of 2 bits makes much of F16's rounding. Exit status 1 if one fails. Needs gptqmodel, torch and
safetensors.
"""
import sys

import packages
import program

packages.need("gptqmodel", "safetensors", "torch")

import gptqmodel
import torch
from safetensors.torch import load_file, save_file

ULP = 2**-10  # of F16, which both sides round to
SETTINGS = {  # format, and further arguments of `quantize`
    "gptq-4": ["gptq", "--bits", "4", "--symmetric"],
    "gptq-4-zeros": ["gptq", "--bits", "4"],
    "gptq-8": ["gptq", "--bits", "8", "--symmetric"],
    "gptq-3": ["gptq", "--bits", "3", "--symmetric"],
    "gptq-2": ["gptq", "--bits", "2"],
    "awq-4": ["awq", "--bits", "4"],
}


def theirs(folder, ids):
    """The logits, the weights of the first block's linears by name, and the kind of module that holds them."""
    model = gptqmodel.GPTQModel.load(str(folder), device="cpu", dtype=torch.float16, backend=gptqmodel.BACKEND.TORCH).model
    linears = {name: module for name, module in model.named_modules()
               if name.startswith("model.layers.0.") and name.endswith("_proj")}
    with torch.no_grad():
        weights = {name: module(torch.eye(module.in_features, dtype=torch.float16)[None])[0].T.float()
                   for name, module in linears.items()}
        return model(ids).logits.float(), weights, ", ".join({type(module).__name__ for module in linears.values()})


def apart(ours, found):
    """The largest difference of a weight, in ulp of F16 at its size."""
    size = torch.maximum(ours.abs(), found.abs()).clamp_min(2**-14)
    return ((ours - found).abs() / size).max().item() / ULP


def main():
    parser = program.parser(__doc__, samples=4, tokens=64, out="same-as-gptqmodel", device="cpu")
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    options = parser.parse_args()
    normtweak = program.Program(options)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 1000, (options.samples, options.tokens), generator=generator)
    rows = normtweak.out / "ids.safetensors"
    save_file({"input_ids": ids}, rows)
    # Printed at the end, since GPTQModel prints much on the way.
    table = ["| settings | opened as | ulp between weights | mean difference / mean logit | same likeliest token |", "|-|-|-|-|-|"]
    failed = False
    for name in options.only:
        folder, export, path = normtweak.out / name, normtweak.out / "float", normtweak.out / f"{name}.safetensors"
        for target, form in ((folder, SETTINGS[name][0]), (export, "hf")):
            normtweak.run("quantize", options.model, "-o", target, "--format", form, *SETTINGS[name][1:], "--group-size",
                          options.group_size, "--method", "rtn", "--tweak", "none", "--calibration", rows, name=name)
        normtweak.run("logits", folder, "--tokens", rows, "-o", path, "--dtype", "f32", name=f"{name}-logits")
        ours = load_file(path)["logits"].float()
        try:
            found, weights, kind = theirs(folder, ids)
        except Exception as error:  # of many kinds
            table.append(f"| {name} | not opened: {str(error).strip().splitlines()[-1][:200]} | | | |")
            failed = True
            continue
        floats = {key: value for file in export.glob("*.safetensors") for key, value in load_file(file).items()}
        # A NaN is kept by this maximum.
        ulp = torch.tensor([apart(floats[f"{key}.weight"].float(), weight) for key, weight in weights.items()]).max().item()
        mean = ((ours - found).abs().mean() / found.abs().mean()).item()
        same = (ours.argmax(-1) == found.argmax(-1)).float().mean().item()
        failed = failed or not ulp <= 1
        table.append(f"| {name} | {kind} | {ulp:.2g} | {mean:.1e} | {same:.1%} |")
    print("\n".join([f"GPTQModel {gptqmodel.__version__}, torch {torch.__version__}", "", *table]))
    sys.exit(failed)


if __name__ == "__main__":
    main()
