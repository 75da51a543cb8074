#!/usr/bin/env python3
"""Sums over tokens of products of bf16 inputs on a GPU: error against F64 and speed, in F32 and on the tensor cores.

    bench/moment_precision.py

What quantize/moments.cpp does, restated in PyTorch, for chunks of several sizes: the Hessian Σ x xᵀ, and the drift
moment Σ d xᵀ of an F32 difference d, which the tensor cores get in two bf16 parts. Errors are relative to the norm of
the F64 sum; of the Hessian also the mean over its diagonal, whose sign shows a bias. Needs torch and a GPU.
"""
import time

import packages

packages.need("torch")

import torch


def parts(values):
    first = values.bfloat16()
    return [first, (values - first).bfloat16()]


def in_f32(left, right):
    return left.float().t() @ right.float()


def on_tensor_cores(left, right):
    return sum(torch.mm(part.t(), right, out_dtype=torch.float32)
               for part in ([left] if left.dtype == torch.bfloat16 else parts(left)))


def in_place(left, right, total):
    for part in [left] if left.dtype == torch.bfloat16 else parts(left):
        torch.addmm(total, part.t(), right, out_dtype=torch.float32, out=total)


def summed(product, left, right, chunk):
    total = torch.zeros(left.shape[1], right.shape[1], device=left.device)
    for first in range(0, left.shape[0], chunk):
        total += product(left[first:first + chunk], right[first:first + chunk])
    return total


def summed_in_place(left, right, chunk):
    total = torch.zeros(left.shape[1], right.shape[1], device=left.device)
    for first in range(0, left.shape[0], chunk):
        in_place(left[first:first + chunk], right[first:first + chunk], total)
    return total


def exact(left, right):
    total = torch.zeros(left.shape[1], right.shape[1], device=left.device, dtype=torch.float64)
    for first in range(0, left.shape[0], 8192):
        total += left[first:first + 8192].double().t() @ right[first:first + 8192].double()
    return total


def seconds(work):
    work()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def report(name, work, wanted, flop, diagonal):
    spent = seconds(work)
    found = work().double()
    error = ((found - wanted).norm() / wanted.norm()).item()
    bias = ((found - wanted).diagonal() / wanted.diagonal()).mean().item() if diagonal else float("nan")
    print(f"| {name} | {error:.2e} | {bias:+.2e} | {flop / spent / 1e12:.0f} |", flush=True)


def main():
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(0)
    tokens = 32768
    for columns in (4096, 11008):
        scale = torch.exp(torch.randn(columns, device="cuda"))  # columns of unequal size, off zero, with common parts
        x = (torch.randn(tokens, columns, device="cuda") + 0.5 * torch.randn(tokens, 1, device="cuda") + 0.3) * scale
        x = x.bfloat16()
        change = ((x.float() * 1.01 + 0.05 * torch.randn_like(x, dtype=torch.float32) * scale).bfloat16().float()
                  - x.float())
        for name, left, diagonal in (("Hessian", x, True), ("drift", change, False)):
            wanted = exact(left, x)
            flop = 2 * tokens * columns**2
            print(f"\n{name}, {columns} columns, {tokens} tokens\n\n| chunk | error | bias of the diagonal | TFLOP/s |\n"
                  "|-|-|-|-|")
            report("F32, 8192", lambda a=left: summed(in_f32, a, x, 8192), wanted, flop, diagonal)
            for chunk in (512, 1024, 2048, 4096, 8192):
                report(f"tensor cores, {chunk}", lambda a=left, c=chunk: summed(on_tensor_cores, a, x, c), wanted, flop,
                       diagonal)
            try:
                report("tensor cores, added in the product, 1024", lambda a=left: summed_in_place(a, x, 1024), wanted,
                       flop, diagonal)
            except (RuntimeError, TypeError) as refusal:
                print(f"added in the product: {refusal}")


if __name__ == "__main__":
    main()
