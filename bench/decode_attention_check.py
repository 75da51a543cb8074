#!/usr/bin/env python3
"""The CUDA kernel of decode_attention.h beside PyTorch's attention: error against F64, and time of one step.

    bench/decode_attention_check.py

Takes the kernel's source from src/normtweak/model/decode_attention_kernel.cpp. Needs torch with its compiler of CUDA
sources (torch.cuda._compile_kernel) and a GPU.
"""
import math
import re
import struct
import sys
import time
from pathlib import Path

import packages

packages.need("torch")

import torch

SOURCE = Path(__file__).resolve().parent.parent / "src" / "normtweak" / "model" / "decode_attention_kernel.cpp"
# samples, heads, key-value heads, head size, cached tokens, window, rotated channels, interleaved
CASES = [
    (256, 32, 32, 128, 511, 0, 128, False),
    (256, 32, 32, 128, 255, 0, 128, False),
    (256, 32, 32, 128, 64, 0, 128, False),
    (64, 64, 8, 128, 1000, 0, 128, False),
    (16, 9, 3, 64, 300, 0, 64, False),
    (8, 4, 1, 256, 700, 512, 256, False),
    (4, 8, 8, 64, 77, 0, 32, True),
    (3, 5, 1, 64, 0, 0, 0, False),
]


def kernel(head_size, queries):
    together = next(count for count in range(min(queries, 4), 0, -1) if queries % count == 0)
    text = re.search(r'R"\((.*?)\)"', SOURCE.read_text(), re.DOTALL).group(1)
    source = f"extern \"C\" {{}}\n#define D {head_size}\n#define QUERIES {together}\n{text}"
    # The compiler puts extern "C" in front of what does not begin with it.
    return torch.cuda._compile_kernel(source, "decode_attention"), together  # pylint: disable=protected-access


def rotated(heads, cosine, sine, interleaved):
    pairs = cosine.numel()
    wide = heads.double()
    if pairs == 0:
        return wide
    first, second = (wide[..., 0:2 * pairs:2], wide[..., 1:2 * pairs:2]) if interleaved else (
        wide[..., :pairs], wide[..., pairs:2 * pairs])
    turned = wide.clone()
    one, two = first * cosine - second * sine, second * cosine + first * sine
    if interleaved:
        turned[..., 0:2 * pairs:2], turned[..., 1:2 * pairs:2] = one, two
    else:
        turned[..., :pairs], turned[..., pairs:2 * pairs] = one, two
    return turned.bfloat16().double()


def milliseconds(work):
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(20):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / 20 * 1e3


def check(samples, heads, shared, size, position, window, channels, interleaved):
    compiled, together = kernel(size, heads // shared)
    capacity = position + 5
    new = [torch.randn(samples, count * size, device="cuda").bfloat16() for count in (heads, shared, shared)]
    keys, values = (torch.randn(samples, shared, capacity, size, device="cuda").bfloat16() for _ in range(2))
    angles = torch.rand(max(channels // 2, 1), device="cuda") * 6
    cosine, sine = angles.cos(), angles.sin()
    output = torch.empty(samples, heads * size, device="cuda", dtype=torch.bfloat16)
    first = max(0, position + 1 - window) if window else 0
    scale = 1 / math.sqrt(size)
    scale_bits = struct.unpack("i", struct.pack("f", scale))[0]  # a Python float would be passed as a double
    blocks = samples * shared * (heads // shared // together)

    def run():
        compiled(grid=(blocks, 1, 1), block=(128, 1, 1),
                 args=[*new, cosine, sine, keys, values, output, *(part.stride(0) for part in new), capacity,
                       channels // 2, int(interleaved), heads, shared, first, position, scale_bits])

    run()
    turn = [rotated(part.view(samples, -1, size), cosine[:channels // 2].double(), sine[:channels // 2].double(),
                    interleaved) for part in new[:2]]
    stored = (keys[:, :, position].double() - turn[1]).abs().max().item()
    group = heads // shared
    seen = slice(first, position + 1)
    wanted = torch.nn.functional.scaled_dot_product_attention(
        turn[0].unsqueeze(2), keys[:, :, seen].double().repeat_interleave(group, 1),
        values[:, :, seen].double().repeat_interleave(group, 1), scale=scale).flatten(1)
    error = ((output.double() - wanted).norm() / wanted.norm()).item()
    own = milliseconds(run)
    query = turn[0].bfloat16().unsqueeze(2)
    peer = milliseconds(lambda: torch.nn.functional.scaled_dot_product_attention(
        query, keys[:, :, seen], values[:, :, seen], scale=scale, enable_gqa=group > 1))
    read = 4 * samples * shared * (position + 1 - first) * size
    print(f"| {samples} x {heads}/{shared} x {size} | {position} | {window} | {error:.1e} | {stored:.0e} | {own:.3f} | "
          f"{read / own / 1e6:.0f} | {peer:.3f} |", flush=True)
    return error < 6e-3 and stored < 0.05  # bf16 has 2^-9 of relative error; a turned key may round the other way


def main():
    torch.manual_seed(0)
    print("| samples x heads x size | cached | window | error | of the stored key | ms | GB/s | PyTorch, ms |\n"
          "|-|-|-|-|-|-|-|-|")
    sys.exit(0 if all([check(*case) for case in CASES]) else "the kernel is wrong")


if __name__ == "__main__":
    main()
