#!/usr/bin/env python3
"""Layer errors of float zero-points against whole ones, with the tests' own RTN and GPTQ in NumPy.

    bench/zero_points.py FLOAT_MODEL_FOLDER TOKENS.safetensors

The folder is one that transformers opens. Prints tr(ΔW H ΔWᵀ) with unrounded zero-points, divided by that with whole
ones: groups of 64, the first 96 output channels of a few linears, H from the first 8 rows of the tokens.
"""

import pathlib
import sys

import packages

packages.need("numpy", "safetensors", "torch", "transformers")

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "oracles"))
import quantize_oracle as oracle

LINEARS = ["0.self_attn.q_proj", "8.mlp.up_proj", "15.self_attn.o_proj", "22.self_attn.v_proj", "29.mlp.gate_proj"]
GROUP, CHANNELS, ROWS = 64, 96, 8


def input_hessians(model, ids):
    hessians = {}

    def observe(name):
        def see(_, inputs, __):
            x = inputs[0].flatten(0, 1).double()
            hessians[name] = (x.T @ x / len(x)).numpy()
        return see
    for name in LINEARS:
        model.get_submodule(f"model.layers.{name}").register_forward_hook(observe(name))
    with torch.no_grad():
        model(ids)
    return hessians


def errors(weight, hessian, bits, search, float_zeros):
    """Of round to nearest, and of GPTQ with ordered columns."""
    codes, scales, zeros = oracle.rtn(weight, bits, GROUP, False, search, "float16", float_zeros)
    difference = weight - (codes - np.repeat(zeros, GROUP, 1)) * np.repeat(scales, GROUP, 1)
    second_order = oracle.gptq(weight, hessian, bits, GROUP, False, search, True, "float16", float_zeros)
    return np.array([np.sum((difference @ hessian) * difference), second_order[3]])


def main():
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
    hessians = input_hessians(model, load_file(sys.argv[2])["input_ids"][:ROWS].long())
    print("| bits | linear | rtn | gptq | rtn, searched | gptq, searched |\n|-|-|-|-|-|-|")
    for bits in (2, 3, 4):
        for name, hessian in hessians.items():
            weight = model.get_submodule(f"model.layers.{name}").weight.detach().numpy()[:CHANNELS]
            whole = {search: errors(weight, hessian, bits, search, False) for search in (False, True)}
            row = [ratio for search in (False, True)
                   for ratio in errors(weight, hessian, bits, search, True) / whole[search]]
            print(f"| {bits} | {name} | " + " | ".join(f"{ratio:.2f}" for ratio in row) + " |", flush=True)


if __name__ == "__main__":
    main()
