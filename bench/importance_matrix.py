"""The importance matrix that llama.cpp's quantizer takes: of each linear, the mean squared input per column.

Of models of LLaMA's form in a GGUF file, run in PyTorch on given token ids.
"""
import collections

import gguf
import torch


def tensors_of(reader, device):
    return {tensor.name: torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).reshape(
        tuple(reversed(tensor.shape.tolist()))).copy()).float().to(device) for tensor in reader.tensors}


def value(reader, key):
    return reader.fields[key].contents()


def normalised(states, weight, epsilon):
    return states * torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + epsilon) * weight


def turned(heads, base):
    """Rotary embedding of neighbouring pairs, the order of rows that GGUF files of this form have. heads: [.., t, d]"""
    size = heads.shape[-1]
    angles = torch.arange(heads.shape[-2], device=heads.device)[:, None] * base ** -(
        torch.arange(0, size, 2, device=heads.device) / size)
    cosine, sine = angles.cos(), angles.sin()
    even, odd = heads[..., 0::2], heads[..., 1::2]
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)


@torch.no_grad()
def importance(path, ids, device="cpu", rows_at_once=16):
    """Name of the tensor → f32 [columns]; ids: [rows, tokens]."""
    reader = gguf.GGUFReader(path)
    assert value(reader, "general.architecture") == "llama"
    weights = tensors_of(reader, device)
    layers, heads = value(reader, "llama.block_count"), value(reader, "llama.attention.head_count")
    pairs, epsilon = value(reader, "llama.attention.head_count_kv"), value(
        reader, "llama.attention.layer_norm_rms_epsilon")
    base = value(reader, "llama.rope.freq_base")
    sums, tokens = collections.defaultdict(lambda: 0), ids.numel()

    def linear(states, *names):
        squares = states.double().pow(2).sum((0, 1))
        for name in names:
            sums[name] = sums[name] + squares
        return [states @ weights[name].T for name in names]

    for rows in ids.to(device).split(rows_at_once):
        states = weights["token_embd.weight"][rows]
        for layer in range(layers):
            own = f"blk.{layer}."
            inputs = normalised(states, weights[f"{own}attn_norm.weight"], epsilon)
            q, k, v = (part.unflatten(-1, (count, -1)).transpose(1, 2) for part, count in zip(
                linear(inputs, *(f"{own}attn_{part}.weight" for part in "qkv")), (heads, pairs, pairs)))
            mixed = torch.nn.functional.scaled_dot_product_attention(
                turned(q, base), turned(k, base), v, is_causal=True, enable_gqa=True).transpose(1, 2).flatten(-2)
            states = states + linear(mixed, f"{own}attn_output.weight")[0]
            inputs = normalised(states, weights[f"{own}ffn_norm.weight"], epsilon)
            gate, up = linear(inputs, f"{own}ffn_gate.weight", f"{own}ffn_up.weight")
            states = states + linear(torch.nn.functional.silu(gate) * up, f"{own}ffn_down.weight")[0]
        if "output.weight" in weights:
            linear(normalised(states, weights["output_norm.weight"], epsilon), "output.weight")
    return {name: (total / tokens).float().cpu().numpy() for name, total in sums.items()}
