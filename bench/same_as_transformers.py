#!/usr/bin/env python3
"""Whether a real model computes the same in normtweak and in transformers: float, packed, and packed and tweaked.

    bench/same_as_transformers.py MODEL [--samples 2] [--tokens 128] [--float] [--out FILE.json]

MODEL is a .gguf file or a folder in Hugging Face layout. It writes the token rows itself; `normtweak logits` and
transformers then go through the same rows, in F32 on the CPU. Compared are

    the float model   a .gguf file as transformers reads it, which decodes it by itself, and its export to a folder
    packed models     compressed-tensors, round to nearest at 4 bits, groups of 64, opened through the package of that
                      name: symmetric as it is, asymmetric with CompressedTensorsConfig(dequantize=True), each also
                      after a tweak
    their codes       packed codes and zero-points, byte for byte before and after the tweak

To dequantize, the package multiplies codes and scales in the type of the stored scales, which has 16 bits, and so
rounds each weight. Packed models are therefore opened twice: as they are, and from a copy that holds the same numbers
in F32.
Exit status 1 if a difference exceeds its bound, or if a code moved.
Needs torch, transformers, gguf and compressed-tensors; accelerate, too, for a .gguf file in transformers.
"""
import argparse
import importlib.util
import json
import platform
import shutil
import sys
from pathlib import Path

import packages
import program

packages.need("compressed_tensors", "gguf", "safetensors", "torch", "transformers")

import torch
import transformers
from float_export import export_float
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

EXACT = 1e-4  # of the largest logit: sums in another order differ by a few ulp times the depth
ROUNDED = 5e-3  # each weight rounded to 11 bits, of a model that stores F16
CODES = (".weight_packed", ".weight_zero_point", ".weight_shape")
SAVES = {"symmetric": ["--symmetric"], "asymmetric": []}  # further arguments of `normtweak quantize`


def tensors(folder):
    return {name: tensor for file in sorted(Path(folder).glob("*.safetensors"))
            for name, tensor in load_file(file).items()}


def our_logits(options, model):
    path = Path(options.work) / "logits.safetensors"
    options.normtweak("logits", model, "--tokens", options.rows, "-o", path, "--dtype", "f32")
    return load_file(path)["logits"]


def their_logits(options, model, dequantize):
    arguments = {"dtype": torch.float32, "attn_implementation": "eager"}
    if dequantize:
        arguments["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    if Path(model).is_file():
        opened = AutoModelForCausalLM.from_pretrained(Path(model).parent, gguf_file=Path(model).name, **arguments)
    else:
        opened = AutoModelForCausalLM.from_pretrained(model, **arguments)
    with torch.no_grad():
        return opened.eval()(load_file(options.rows)["input_ids"].long()).logits


def compare(what, found, expected, bound):
    """Prints a row of the table and returns what it says."""
    difference = ((found - expected).abs().max() / expected.abs().max()).item()
    top1 = (found.argmax(-1) == expected.argmax(-1)).float().mean().item()
    print(f"| {what} | {difference:.1e} | {100 * top1:.1f}% |", flush=True)
    return {"what": what, "difference": difference, "top1_agreement": top1, "passed": difference <= bound}


def widened(folder):
    """A copy of a checkpoint with the same numbers in F32."""
    copy = folder.with_name(f"{folder.name}-widened")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.safetensors*"))
    wide = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors(folder).items()}
    save_file(wide, copy / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((copy / "config.json").read_text())
    config.pop("torch_dtype", None)
    (copy / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))
    return copy


def compare_packed(options, what, folder, dequantize):
    ours = our_logits(options, folder)
    yield compare(f"{what}, as saved", ours, their_logits(options, folder, dequantize), ROUNDED)
    yield compare(f"{what}, the same numbers in F32", ours, their_logits(options, widened(folder), dequantize), EXACT)


def compare_codes(what, before, after):
    codes = [name for name in before if name.endswith(CODES)]
    same = before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in codes)
    moved = sum(not torch.equal(before[name], after[name]) for name in before)
    print(f"| {what}: tensors of codes | {len(codes)}, {'all the same bytes' if same else 'CHANGED'} "
          f"| {moved} others moved |", flush=True)
    return {"what": f"{what}: codes", "tensors": len(codes), "others_moved": moved, "passed": same and moved > 0}


def packed_results(options, float_model):
    calibration = Path(options.work) / "calibration.safetensors"
    options.normtweak("generate", float_model, "-o", calibration, "--samples", 8, "--tokens", 128, "--seed", 1)
    for name, arguments in SAVES.items():
        packed, tweaked = Path(options.work) / name, Path(options.work) / f"{name}-tweaked"
        options.normtweak("quantize", float_model, "-o", packed, "--method", "rtn", "--bits", 4, "--group-size", 64,
                  *arguments, "--tweak", "none", "--calibration", calibration)
        options.normtweak("tweak", packed, "--reference", float_model, "-o", tweaked, "--calibration", calibration)
        dequantize = name == "asymmetric"
        yield from compare_packed(options, f"packed, {name}", packed, dequantize)
        yield from compare_packed(options, f"packed, {name}, tweaked", tweaked, dequantize)
        yield compare_codes(f"packed, {name}, before and after the tweak", tensors(packed), tensors(tweaked))


def results(options):
    model = options.model
    export = export_float(options.normtweak, model, Path(options.work) / "float")
    if Path(model).is_file() and importlib.util.find_spec("accelerate"):
        yield compare("GGUF file", our_logits(options, model), their_logits(options, model, False), EXACT)
    yield compare("folder", our_logits(options, export), their_logits(options, export, False), EXACT)
    if not options.float:
        yield from packed_results(options, options.model)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--program", default=str(program.ROOT / "build" / "normtweak"))
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--work", default=str(program.ROOT / "bench-results" / "same"),
                        help="folder for models and rows")
    parser.add_argument("--float", action="store_true", help="the float model alone")
    parser.add_argument("--out", help="JSON file with every figure")
    parser.set_defaults(device="cpu")
    options = parser.parse_args()
    options.normtweak = program.Program(options, options.work).run
    return options


def main():
    options = parse()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    options.rows = Path(options.work) / "rows.safetensors"
    options.normtweak("generate", options.model, "-o", options.rows, "--samples", options.samples, "--tokens",
                      options.tokens)
    print(f"{options.samples} rows of {options.tokens} tokens that the model wrote, F32 on the CPU; torch "
          f"{torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}.\n\n"
          "| | largest difference / largest logit | same likeliest token |\n|-|-|-|", flush=True)
    found = list(results(options))
    if options.out:
        Path(options.out).write_text(json.dumps(found, indent=2) + "\n")
    failed = [result["what"] for result in found if not result["passed"]]
    if failed:
        sys.exit(f"not the same: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
