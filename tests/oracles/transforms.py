"""SmoothQuant and AWQ before rounding to nearest, on a LLaMA of transformers in plain PyTorch: each error is summed up
token by token, and a block reads what the quantized blocks before it return."""
import copy

import numpy as np
import torch

import quantize_oracle


def rounded(weight, bits, group, symmetric=False):
    """Dequantized, in float32; scales in float16."""
    codes, scale, zero = quantize_oracle.rtn(weight.numpy().astype(np.float32), bits, group, symmetric, False, "float16")
    repeats = weight.shape[1] // scale.shape[1]
    values = (codes - zero.repeat(repeats, 1)) * scale.repeat(repeats, 1)
    return torch.from_numpy(values.astype(np.float32))


def clipped(weight, inputs, bits, group, symmetric):
    """AWQ's search for the range of each group, for the error of its share of the output."""
    rows, columns = weight.shape
    largest = weight.view(rows, -1, group).abs().amax(-1, keepdim=True)
    shares = inputs.view(len(inputs), -1, group)
    least, best = None, None
    for step in range(10):
        bound = largest * (1 - step / 20)
        tried = weight.view(rows, -1, group).clamp(-bound, bound).view(rows, columns)
        difference = (rounded(tried, bits, group, symmetric) - weight).view(rows, -1, group)
        error = torch.einsum("tgc,rgc->trg", shares, difference).square().sum(0).unsqueeze(-1)
        if least is None:
            least, best = error, bound
        best = torch.where(error < least, bound, best)
        least = torch.minimum(error, least)
    return weight.view(rows, -1, group).clamp(-best, best).view(rows, columns)


class Block:
    """A decoder layer of a LLaMA, and what its linears read."""

    def __init__(self, layer, hidden, positions):
        self.float, self.layer = layer, copy.deepcopy(layer)
        self.hidden, self.positions = hidden, positions
        self.inputs = {}
        self.alphas = {}
        hooks = [self.module(name, layer).register_forward_pre_hook(
            lambda _, args, name=name: self.inputs.update({name: args[0].flatten(0, 1)})) for name in self.names()]
        self.expected = self.output(layer)
        for hook in hooks:
            hook.remove()

    def names(self):
        return ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

    @staticmethod
    def module(name, layer):
        return getattr(layer.mlp if hasattr(layer.mlp, name) else layer.self_attn, name)

    def linear(self, name):
        return self.module(name, self.layer)

    def original(self, name):
        return self.module(name, self.float).weight.data

    def output(self, layer):
        return layer(self.hidden, position_embeddings=self.positions)

    def fold(self, feeder, names, scales):
        divisors = scales if feeder.weight.dim() == 1 else scales[:, None]
        feeder.weight.data = feeder.weight.data / divisors
        for name in names:
            self.linear(name).weight.data = self.linear(name).weight.data * scales
            self.inputs[name] = self.inputs[name] / scales

    def round(self, bits, group, symmetric):
        for name in self.names():
            self.linear(name).weight.data = rounded(self.linear(name).weight.data, bits, group, symmetric)


NORM_FOLDS = [("input_layernorm", ["q_proj", "k_proj", "v_proj"]),
              ("post_attention_layernorm", ["gate_proj", "up_proj"])]


def smooth(block, alpha, bits, group, symmetric):
    scales = []
    for _, names in NORM_FOLDS:
        weight = torch.stack([block.original(name).abs().amax(0) for name in names]).amax(0).clamp(min=1e-5)
        inputs = block.inputs[names[0]].abs().amax(0)
        scales.append((inputs.pow(alpha) / weight.pow(1 - alpha)).clamp(min=1e-5))
    for (norm, names), of_norm in zip(NORM_FOLDS, scales, strict=True):
        block.fold(getattr(block.layer, norm), names, of_norm)
        block.alphas[norm] = alpha


def smoothquant(block, alpha, bits, group, symmetric):
    if alpha == "search":
        errors = {}
        for tried in [step / 10 for step in range(1, 10)]:
            trial = Block(block.float, block.hidden, block.positions)
            smooth(trial, tried, bits, group, symmetric)
            trial.round(bits, group, symmetric)
            errors[tried] = (trial.output(trial.layer) - block.expected).square().sum().item()
        alpha = min(errors, key=errors.get)
    smooth(block, alpha, bits, group, symmetric)


def awq(block, clip, bits, group, symmetric):
    attention = block.layer.self_attn
    folds = [(name, getattr(block.layer, name), names) for name, names in NORM_FOLDS]
    if attention.num_key_value_groups == 1:
        folds.append(("v_proj", attention.v_proj, ["o_proj"]))
    folds.append(("up_proj", block.layer.mlp.up_proj, ["down_proj"]))
    chosen = []
    for _, _, names in folds:
        inputs = block.inputs[names[0]]
        best = None
        for step in range(20):
            scales = inputs.abs().mean(0).pow(step / 20).clamp(min=1e-4)
            scales = scales / (scales.max() * scales.min()).sqrt()
            error = sum((inputs @ (rounded(block.original(name) * scales, bits, group, symmetric) / scales
                                   - block.original(name)).T).square().sum().item() for name in names)
            if best is None or error < best[0]:
                best = (error, step / 20, scales)
        chosen.append(best)
    for (name, feeder, names), (_, alpha, scales) in zip(folds, chosen, strict=True):
        block.fold(feeder, names, scales)
        block.alphas[name] = alpha
    for name in block.names() if clip else []:
        if name in ("q_proj", "k_proj"):
            continue
        linear = block.linear(name)
        linear.weight.data = clipped(linear.weight.data, block.inputs[name], bits, group, symmetric)


@torch.no_grad()
def quantized(model, ids, transform, bits, group, symmetric=False):
    """The model with its blocks transformed and rounded, and each block's α by the module that was divided.

    transform: of a Block, bits, group and symmetric; changes the block."""
    model = copy.deepcopy(model)
    hidden = model.model.embed_tokens(ids)
    positions = model.model.rotary_emb(hidden, torch.arange(ids.shape[1])[None])
    alphas = []
    for index, layer in enumerate(model.model.layers):
        block = Block(layer, hidden, positions)
        transform(block, bits=bits, group=group, symmetric=symmetric)
        block.round(bits, group, symmetric)
        model.model.layers[index] = block.layer
        hidden = block.output(block.layer)
        alphas.append(block.alphas)
    return model, alphas
