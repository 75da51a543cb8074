#!/usr/bin/env python3
"""llama.cpp's own quantizer with an importance matrix against this program, at equal types of all tensors.

    bench/llama_cpp_quantizer.py MODEL.gguf --rows wiki.test.raw --text ptb.valid.txt [--presets Q4_0 Q4_K_M ...]
                                 [--samples 1024] [--tokens 512] [--device cuda] [--tweak "--epochs 4"]
                                 [--learned-codes "--lr-codes 0.004" ...] [--no-floats] [--at-once 2]

The model writes a text. From it come the importance matrix (mean squared inputs per column) and this program's
calibration. For each preset: llama.cpp's file untouched and tweaked in place, and this program's file untouched, tweaked,
and with learned codes for each --learned-codes, all scored by this program in F32. A preset may be NAME:LINEAR,...: those
linears get that type, all others stay F32, in all files. Needs llama-cpp-python 0.3.36, gguf, transformers and torch.
"""
import ctypes
import re
import time
from concurrent.futures import ThreadPoolExecutor

import packages

packages.need("gguf", "llama_cpp", "numpy", "safetensors", "torch", "transformers")

import gguf
import numpy
from safetensors.torch import load_file

import importance_matrix
import program
from float_export import export_float
from llama_library import library  # silent but for errors

FILE_TYPES = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K": 12, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13,
              "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "F32": 0}
LINEARS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
           "mlp.down_proj"]


def types(path):
    return {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(path).tensors}


def overrides(wanted):
    """For llama.cpp: the type of each matrix by a pattern that its name matches."""
    matrices = {name: kind for name, kind in wanted.items() if "norm" not in name}
    array = (library.llama_model_tensor_override * (len(matrices) + 1))()  # an empty pattern ends it
    for place, (name, kind) in zip(array, matrices.items()):
        place.pattern, place.type = f"^{re.escape(name)}$".encode(), int(kind)
    return array


def quantize(source, target, file_type, matrix, wanted):
    """By llama.cpp to the types that are wanted; returns the seconds that it takes."""
    entries = (library.llama_model_imatrix_data * (len(matrix) + 1))()
    kept = [numpy.ascontiguousarray(values, numpy.float32) for values in matrix.values()]
    for entry, name, values in zip(entries, matrix, kept):
        entry.name, entry.size = name.encode(), values.size
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    parameters = library.llama_model_quantize_default_params()
    parameters.ftype, parameters.allow_requantize = file_type, True
    parameters.imatrix = entries
    tensor_types = overrides(wanted)
    parameters.tt_overrides = tensor_types
    parameters.token_embedding_type = int(wanted["token_embd.weight"])
    begin = time.time()
    if library.llama_model_quantize(str(source).encode(), str(target).encode(), parameters) != 0:
        raise SystemExit(f"llama.cpp does not quantize to {target}")
    return time.time() - begin


class Preset:
    """The runs of one preset, each of which returns rows of the table: label, file, figures and seconds."""

    def __init__(self, normtweak, options, evaluate, matrix, preset):
        self.normtweak, self.options, self.matrix = normtweak, options, matrix
        self.tweak = [*options.tweak, *evaluate]
        self.kind, _, linears = preset.partition(":")
        self.name = re.sub(r"\W", "-", preset)
        self.types = ["--format", "gguf", "--gguf-type", "F32" if linears else self.kind]
        if linears:
            self.types += [part for other in LINEARS for part in (
                "--rule", f"*.{other}=" + (f"type:{self.kind}" if other in linears.split(",") else "skip"))]

    def file(self, what):
        return self.normtweak.out / f"{self.name}-{what}.gguf"

    def quantized(self, what, *more):
        return self.normtweak.run("quantize", self.options.model, "-o", self.file(what), *self.types, *self.tweak, *more,
                                  name=f"{self.name}-{what}")

    def ours(self):
        made = self.quantized("ours")
        taken = made["seconds"]
        return [("normtweak, untouched", self.file("ours"), program.scores(made, "quantized"), taken["quantize"]),
                ("normtweak", self.file("ours"), program.scores(made, "tweaked"), taken["quantize"] + taken["tweak"])]

    def learned(self, number, arguments):
        what = f"learned-{number}"
        made = self.quantized(what, "--learn-codes", *arguments)
        return [(" ".join(["normtweak, learned codes", *arguments]), self.file(what), program.scores(made, "tweaked"),
                 made["seconds"]["quantize"] + made["seconds"]["tweak"])]

    def theirs(self):
        """In the types that this program chooses, which a file rounded to nearest shows at once."""
        self.normtweak.run("quantize", self.options.model, "-o", self.file("types"), *self.types, "--method", "rtn", "--tweak",
                           "none", name=f"{self.name}-types")
        wanted, path = types(self.file("types")), self.file("llama")
        seconds = quantize(self.options.model, path, FILE_TYPES[self.kind], self.matrix, wanted)
        if types(path) != wanted:
            raise SystemExit(f"{path} has other types than {self.file('types')}")
        mended = self.normtweak.run("tweak", path, "--reference", self.options.model, "-o", self.file("mended"),
                                    *self.tweak, name=f"{self.name}-mended")
        return [("llama.cpp", path, program.scores(mended, "quantized"), seconds),
                ("the same, tweaked", path, program.scores(mended, "tweaked"), mended["seconds"]["tweak"])]

    def submit(self, pool):
        """In the order in which the rows are printed."""
        return [pool.submit(self.theirs), *([] if self.options.no_floats else [pool.submit(self.ours)]),
                *(pool.submit(self.learned, *each) for each in enumerate(self.options.learned_codes, 1))]


def main():
    parser = program.parser(__doc__, samples=1024, tokens=512, out="llama_cpp_quantizer")
    parser.add_argument("--rows", required=True, help="a data set with one row a line")
    parser.add_argument("--text", required=True, help="a text file")
    parser.add_argument("--context", type=int, default=512, help="tokens in a window that is scored")
    parser.add_argument("--presets", nargs="+", default=["Q4_0", "Q4_K_M", "IQ4_XS", "Q3_K:mlp.down_proj",
                                                         "Q2_K:mlp.down_proj"])
    parser.add_argument("--tweak", type=str.split, default=[], help="further arguments of all tweaks, in one string")
    parser.add_argument("--learned-codes", nargs="+", type=str.split, default=[],
                        help="a run with --learn-codes for each of these strings of further arguments")
    parser.add_argument("--no-floats", action="store_true", help="leave out this program's file with floats tweaked alone")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side; seconds then mean little")
    options = parser.parse_args()
    normtweak = program.Program(options)
    text, _ = normtweak.write_text()
    source = export_float(normtweak.run, options.model, normtweak.out / "float")
    begin = time.time()
    matrix = importance_matrix.importance(source, load_file(text)["input_ids"].long(), options.device or "cpu")
    print(f"importance matrix of {len(matrix)} tensors: {time.time() - begin:.0f} s", flush=True)
    evaluate = ["--calibration", text, "--eval-rows", options.rows, "--eval-text", options.text, "--context", options.context]
    print("| types | file | bytes | WikiText-2 | KLD | PTB | KLD | seconds |\n|-|-|-|-|-|-|-|-|", flush=True)
    with ThreadPoolExecutor(options.at_once) as pool:
        runs = {preset: Preset(normtweak, options, evaluate, matrix, preset).submit(pool) for preset in options.presets}
        for preset, rows in ((preset, run.result()) for preset, started in runs.items() for run in started):
            for label, path, (rows_perplexity, rows_kld, text_perplexity, text_kld), seconds in rows:
                print(f"| {preset} | {label} | {path.stat().st_size:,} | {rows_perplexity:.2f} | {rows_kld:.4f} | "
                      f"{text_perplexity:.2f} | {text_kld:.4f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
