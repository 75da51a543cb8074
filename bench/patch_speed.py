#!/usr/bin/env python3
"""Times `normtweak apply` on a large GGUF file against copies of the same file, its pages in memory.

    bench/patch_speed.py FOLDER [--gigabytes 4] [--repeats 3]

Makes a file of random Q4_0 blocks in FOLDER and two patches for it, one of norms alone and one of the scales of all
blocks, and removes all of them at the end. `cp` leaves its copy to be written to the disk later, so that it is timed
with `sync COPY` as well: apply does not return before its result is safe. Needs gguf, safetensors and xxhash.
"""
import argparse
import os
import pathlib
import resource
import subprocess
import tempfile
import time

import packages

packages.need("gguf", "numpy", "safetensors", "xxhash")

import gguf
import numpy
import xxhash
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("NORMTWEAK", ROOT / "build" / "normtweak")
HIDDEN, BLOCK, BLOCK_BYTES, SCALE_BYTES = 4096, 32, 18, 2
TENSOR_BYTES = HIDDEN * HIDDEN // BLOCK * BLOCK_BYTES


def make_model(path, gigabytes):
    """Returns where the data of each linear and of each norm begins."""
    layers = int(gigabytes * 1e9 / TENSOR_BYTES)
    writer = gguf.GGUFWriter(path, "llama")
    norm_bytes = HIDDEN * 4
    for i in range(layers):
        writer.add_tensor_info(f"blk.{i}.ffn_up.weight", (HIDDEN, HIDDEN // BLOCK * BLOCK_BYTES), numpy.dtype("uint8"),
                               TENSOR_BYTES, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
        writer.add_tensor_info(f"blk.{i}.ffn_norm.weight", (HIDDEN,), numpy.dtype("float32"), norm_bytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    draw = numpy.random.default_rng(1)
    linear, norm = draw.bytes(TENSOR_BYTES), draw.bytes(norm_bytes)
    linears, norms = [], []
    with path.open("ab") as file:
        file.write(bytes(-file.tell() % 32))
        for _ in range(layers):
            linears.append(file.tell())
            file.write(linear)
            norms.append(file.tell())
            file.write(norm)
    return linears, norms


def save_patch(path, base, pieces, draw):
    """pieces: (offset, stride, width, count) of each patch; the file is described in formats/patch_file.h."""
    new = [numpy.frombuffer(draw.bytes(width * count), numpy.uint8) for _, _, width, count in pieces]
    result = numpy.fromfile(base, numpy.uint8)
    before = xxhash.xxh3_128_hexdigest(result)
    for (offset, stride, width, count), values in zip(pieces, new, strict=True):
        places = offset + stride * numpy.arange(count)[:, None] + numpy.arange(width)
        result[places] = values.reshape(count, width)
    save_file({"pieces.0": numpy.array(pieces, numpy.int64), "bytes.0": numpy.concatenate(new)}, path, metadata={
        "format": "normtweak-patch", "version": "2", "files": "1", "name.0": base.name, "base_bytes.0": str(len(result)),
        "base_xxh3.0": before, "result_xxh3.0": xxhash.xxh3_128_hexdigest(result)})


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(*commands, output):
    """From start to end, and of the processor, which a busy disk does not lengthen."""
    start, used = time.perf_counter(), processor_seconds()
    for command in commands:
        subprocess.run(command, check=True)
    found = time.perf_counter() - start, processor_seconds() - used
    output.unlink()
    os.sync()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--repeats", type=int, default=3, help="of which the quickest counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = pathlib.Path(name)
        base, output = folder / "base.gguf", folder / "out.gguf"
        linears, norms = make_model(base, options.gigabytes)
        draw = numpy.random.default_rng(2)
        blocks = TENSOR_BYTES // BLOCK_BYTES
        save_patch(folder / "norms", base, [(at, HIDDEN * 4, HIDDEN * 4, 1) for at in norms], draw)
        save_patch(folder / "scales", base, [(at, BLOCK_BYTES, SCALE_BYTES, blocks) for at in linears], draw)
        copy = ["cp", "--reflink=never", base, output]
        apply = {kind: [PROGRAM, "apply", base, folder / kind, "-o", output, "--quiet"] for kind in ("norms", "scales")}
        runs = {"cp": [copy], "cp and sync": [copy, ["sync", output]],
                **{f"apply, {kind}": [words] for kind, words in apply.items()}}
        found = {run: [] for run in runs}
        for _ in range(options.repeats):
            for run, commands in runs.items():
                found[run].append(seconds(*commands, output=output))
        best = {run: min(values) for run, values in found.items()}
        print(f"{base.stat().st_size / 1e9:.1f} GB, patches of "
              + " and ".join(f"{(folder / kind).stat().st_size / 1e6:.1f} MB ({kind})" for kind in apply))
        print("| | seconds | of `cp` and `sync` | processor seconds |\n|-|-|-|-|")
        for run, (value, used) in best.items():
            print(f"| {run} | {value:.2f} | {value / best['cp and sync'][0]:.2f} | {used:.2f} |")


if __name__ == "__main__":
    main()
