#!/usr/bin/env python3
"""Layer errors of the block types beside those of llama.cpp's own quantization with an importance matrix.

    block_types.py MODEL TEXT LAYERS.safetensors [--perturb SHARE] && build/bench/bench_block_types LAYERS.safetensors

MODEL: a folder of Hugging Face's layout. Writes weights and Hessians of one linear of each kind in three blocks, and what
ggml makes of the weights. --perturb adds noise of this share of a 4-bit step, for a MODEL that came out of a quantized
file: such weights lie on a grid already. ggml: of llama-cpp-python, or of the folder LLAMA_CPP_LIB_PATH.
"""
import argparse
import ctypes
import os
import pathlib

import packages

packages.need("gguf", "numpy", "safetensors", "torch", "transformers")

import gguf
import numpy
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "IQ4_XS", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
ROWS, TOKENS, OUT = 24, 512, 256  # of text, of a row, channels kept of a weight


def ggml():
    folder = os.environ.get("LLAMA_CPP_LIB_PATH")
    if not folder:
        import llama_cpp
        folder = pathlib.Path(llama_cpp.__file__).parent / "lib"
    library = ctypes.CDLL(str(pathlib.Path(folder) / "libggml-base.so"))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64,
                                            ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    return library


def quantized(library, name, weight, importance):
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    values, weights = weight.numpy(), importance.contiguous().numpy()
    data = numpy.zeros((len(values), values.shape[1] // block * size), numpy.uint8)
    library.ggml_quantize_chunk(int(kind), values.ctypes.data, data.ctypes.data, 0, *values.shape, weights.ctypes.data)
    return torch.from_numpy(gguf.dequantize(data, kind))


@torch.no_grad()
def observed(model, ids):
    """{name: (linear, Hessian)}"""
    layers = model.model.layers
    chosen = {f"{i}.{name}": linear for i in (len(layers) // 8, len(layers) // 2, len(layers) * 7 // 8)
              for name, linear in layers[i].named_modules() if name.endswith(("q_proj", "o_proj", "gate_proj", "down_proj"))}
    sums = dict.fromkeys(chosen, 0)

    def add(name):
        def hook(_, inputs):
            x = inputs[0].flatten(0, -2)
            sums[name] = sums[name] + x.T @ x / ids.numel()
        return hook

    for name, linear in chosen.items():
        linear.register_forward_pre_hook(add(name))
    for row in ids:
        model.model(row[None])
    return {name: (linear, sums[name]) for name, linear in chosen.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("layers")
    parser.add_argument("--perturb", type=float, default=0)
    options = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(options.model)(options.text.read_text()[:300000])["input_ids"]
    library, tensors = ggml(), {}
    generator = torch.Generator().manual_seed(0)
    for name, (linear, hessian) in observed(model, torch.tensor(ids[:ROWS * TOKENS]).view(ROWS, TOKENS)).items():
        weight = linear.weight.detach()[:OUT].contiguous()
        groups = weight.view(len(weight), -1, 32)
        step = ((groups.amax(2) - groups.amin(2)) / 15).repeat_interleave(32, 1)
        weight = weight + options.perturb * step * torch.randn(weight.shape, generator=generator)
        tensors[f"{name}.weight"], tensors[f"{name}.hessian"] = weight, hessian
        for kind in TYPES:
            if weight.shape[1] % gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0] == 0:
                tensors[f"{name}.{kind}"] = quantized(library, kind, weight, hessian.diagonal())
    save_file(tensors, options.layers)


if __name__ == "__main__":
    main()
