#!/usr/bin/env python3
"""GPTQ at 4 bits, symmetric, 128 columns a scale, as vLLM serves it: llm-compressor's folder against this program's.

    bench/served_gptq.py MODEL --rows wiki.test.raw --text ptb.valid.txt [--samples 512] [--tokens 512] [--device cuda]
                         [--bits 4] [--group-size 128]

The model writes a text, on which both calibrate. llm-compressor's folder is scored untouched and tweaked in place, this
program's (in GPTQ's format, with the floats of the model's dtype) untouched and tweaked; all four by this program in
F32. Needs llmcompressor 0.14, transformers and torch.
"""
import os
import shutil
import time
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

import packages

packages.need("compressed_tensors", "datasets", "llmcompressor", "safetensors", "torch", "transformers")

import torch
import transformers
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from safetensors.torch import load_file

import program
from float_export import export_float


def llm_compressor(source, target, ids, options):
    """GPTQ with its defaults, saved packed; returns the seconds that the quantizing takes."""
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(
        num_bits=options.bits, type="int", symmetric=True, strategy="group", group_size=options.group_size))
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, device_map=options.device or "cpu")
    rows = Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist()})
    begin = time.time()
    oneshot(model=model, dataset=rows, max_seq_length=ids.shape[1], num_calibration_samples=len(ids),
            shuffle_calibration_samples=False, tokenizer=transformers.AutoTokenizer.from_pretrained(source),
            recipe=[GPTQModifier(config_groups={"group_0": scheme}, ignore=["lm_head"])])
    seconds = time.time() - begin
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(target, save_compressed=True)
    for file in Path(source).glob("tokenizer*"):
        shutil.copy(file, target)
    return seconds


def size(folder):
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def main():
    parser = program.parser(__doc__, samples=512, tokens=512, out="served_gptq")
    parser.add_argument("--rows", required=True, help="a data set with one row a line")
    parser.add_argument("--text", required=True, help="a text file")
    parser.add_argument("--context", type=int, default=512, help="tokens in a window that is scored")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=128)
    options = parser.parse_args()
    normtweak = program.Program(options)
    text, _ = normtweak.write_text()
    source = export_float(normtweak.run, options.model, normtweak.out / "float")
    theirs, ours = normtweak.out / "llm-compressor", normtweak.out / "normtweak"
    seconds = llm_compressor(source, theirs, load_file(text)["input_ids"].long(), options)
    torch.cuda.empty_cache()
    evaluate = ["--calibration", text, "--eval-rows", options.rows, "--eval-text", options.text, "--context", options.context]
    mended = normtweak.run("tweak", theirs, "--reference", source, "-o", normtweak.out / "llm-compressor-tweaked", *evaluate,
                           name="llm-compressor-tweaked")
    made = normtweak.run("quantize", source, "-o", ours, "--format", "gptq", "--bits", options.bits, "--symmetric",
                         "--group-size", options.group_size, *evaluate, name="normtweak")
    taken = made["seconds"]
    print("| folder | bytes | WikiText-2 | KLD | PTB | KLD | seconds |\n|-|-|-|-|-|-|-|", flush=True)
    for label, folder, figures, time_taken in [
            ("llm-compressor", theirs, program.scores(mended, "quantized"), seconds),
            ("the same, tweaked in place", theirs, program.scores(mended, "tweaked"), mended["seconds"]["tweak"]),
            ("normtweak, untouched", ours, program.scores(made, "quantized"), taken["quantize"]),
            ("normtweak", ours, program.scores(made, "tweaked"), taken["quantize"] + taken["tweak"])]:
        rows_perplexity, rows_kld, text_perplexity, text_kld = figures
        print(f"| {label} | {size(folder):,} | {rows_perplexity:.2f} | {rows_kld:.4f} | {text_perplexity:.2f} | "
              f"{text_kld:.4f} | {time_taken:.0f} |", flush=True)


if __name__ == "__main__":
    main()
