"""Inputs of linears rounded as compressed-tensors says, restated in plain PyTorch and put in front of a float model's
linears.

    rounded(x, arguments, scale, zero)       arguments: `input_activations` of a group of the config
    attach(model, folder, of_modules)        the model with rounding where `folder` says so; returns it
"""
import json
import pathlib

import torch
from safetensors.torch import load_file

E4M3_MOST = 448


def bounds(arguments):
    """The least and the largest code."""
    if arguments["type"] == "float":
        return -E4M3_MOST, E4M3_MOST
    half = 2 ** (arguments["num_bits"] - 1)
    return -half, half - 1


def dynamic_grid(x, arguments):
    """Scale and zero-point of each token."""
    least, most = bounds(arguments)
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    if arguments["symmetric"]:
        return torch.maximum(-low, high) / ((most - least) / 2), torch.zeros_like(low)
    scale = (high - low) / (most - least)
    return scale, (least - low / scale).round().clamp(least, most)


def rounded(x, arguments, scale=None, zero=None):
    """scale, zero: of a static range."""
    if arguments["dynamic"]:
        scale, zero = dynamic_grid(x, arguments)
    zero = 0 if zero is None else zero
    codes = (x / scale + zero).clamp(*bounds(arguments))
    codes = codes.to(torch.float8_e4m3fn).to(x.dtype) if arguments["type"] == "float" else codes.round()
    return (codes - zero) * scale


def hook(arguments, tensors, name):
    static = {part: tensors[f"{name}.input_{part}"].float() for part in ("scale", "zero_point")
              if not arguments["dynamic"] and f"{name}.input_{part}" in tensors}
    return lambda _, inputs: (rounded(inputs[0], arguments, static.get("scale"), static.get("zero_point")),)


def attach(model, folder, of_module):
    """of_module: `input_activations` by a module's name, or None."""
    tensors = {name: tensor for file in sorted(pathlib.Path(folder).glob("*.safetensors"))
               for name, tensor in load_file(file).items()}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and (arguments := of_module(name)):
            module.register_forward_pre_hook(hook(arguments, tensors, name))
    return model


def of_config(folder):
    """The only group's `input_activations`, for the linears that are not ignored."""
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())["quantization_config"]
    (group,) = config["config_groups"].values()
    return lambda name: None if name in config["ignore"] else group["input_activations"]


def agree(found, expected, tolerance=1e-4):
    """Whether logits are equal, but where a value lay so close to a border between two codes that the last bits of a sum
    decided: that moves a token, and those after it, by a fraction of a step."""
    errors = (found - expected).abs().amax(-1) / expected.abs().max()
    return bool((errors <= tolerance).float().mean() >= 0.4 and errors.max() <= 0.05)
