"""What the `gguf` package writes, and what its numpy code makes of the blocks of every type."""
import pathlib
import sys

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.torch import save_file

import gguf_blocks
import gguf_grid_blocks

SMALL = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.BF16]
# The package only decodes these, so their blocks are random bytes, with sound numbers where the f16 scales are.
DECODED = [Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_NL, Type.IQ4_XS, Type.TQ1_0, Type.TQ2_0,
           Type.MXFP4, Type.IQ1_S, Type.IQ1_M, Type.IQ2_XXS, Type.IQ2_XS, Type.IQ2_S, Type.IQ3_XXS, Type.IQ3_S]
GRIDS = ["IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"]
ROWS, COLUMNS = 5, 512


def random_blocks(rng, kind):
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (ROWS * COLUMNS // block_size, block_bytes), dtype=np.uint8)
    if kind == Type.MXFP4:
        blocks[:, 0] = rng.integers(110, 140, len(blocks))  # powers of two near 1
    else:
        numbers = rng.normal(0, 0.01, (len(blocks), gguf_blocks.float_count(kind.name)))
        gguf_blocks.write_floats(kind.name, blocks, numbers)
    return blocks.reshape(ROWS, -1)


def gradients(blocks, kind, direction):
    """f64 [floats, rows, blocks] of Σ direction · weights: weights are linear in the floats of their block, so that the
    gradient of one is the sum with that float 1 and all others 0."""
    size, width = gguf.GGML_QUANT_SIZES[kind]
    changed, found = blocks.reshape(-1, width).copy(), []
    for unit in np.eye(gguf_blocks.float_count(kind.name)):
        gguf_blocks.write_floats(kind.name, changed, unit)
        values = gguf.dequantize(changed.reshape(ROWS, -1), kind).astype(np.float64)
        found.append((values * direction).reshape(ROWS, -1, size).sum(2))
    return np.stack(found)


def add_metadata(writer):
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -100)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -30000)
    writer.add_uint32("test.u32", 4_000_000_000)
    writer.add_int32("test.i32", -2_000_000_000)
    writer.add_uint64("test.u64", 2**64 - 1)
    writer.add_int64("test.i64", -(2**62))
    writer.add_float32("test.f32", 0.1)
    writer.add_float64("test.f64", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_string("test.text", "zwölf\n")
    writer.add_array("test.texts", ["a", "", "ß"])
    writer.add_array("test.numbers", [1, -2, 3])
    writer.add_array("test.floats", [0.5, 1.5])
    writer.add_array("test.bytes", bytes([1, 255]))
    writer.add_array("test.flags", [True, False])


def write(path, alignment):
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    add_metadata(writer)
    expected, of_floats = {}, {}
    values = rng.normal(0, 1, (ROWS, COLUMNS)).astype(np.float32)
    writer.add_tensor("t.F32", values[:, :3])
    writer.add_tensor("t.F16", values[0].astype(np.float16))
    writer.add_tensor("t.cube", values[:, :32].reshape(5, 2, 16).copy())
    expected["t.F32"], expected["t.F16"] = values[:, :3], values[0].astype(np.float16).astype(np.float32)
    expected["t.cube"] = values[:, :32].reshape(5, 2, 16)
    direction = rng.normal(0, 1, (ROWS, COLUMNS)).astype(np.float32)
    for kind in [*SMALL, *DECODED]:
        blocks = gguf.quantize(values, kind) if kind in SMALL else random_blocks(rng, kind)
        writer.add_tensor(f"t.{kind.name}", blocks, raw_dtype=kind)
        expected[f"t.{kind.name}"] = gguf.dequantize(blocks, kind).reshape(ROWS, COLUMNS)
        if kind not in (Type.BF16, Type.MXFP4):
            of_floats[f"t.{kind.name}"] = gradients(blocks, kind, direction)
    writer.add_tensor("t.Q8_K", np.zeros((1, 292), dtype=np.uint8), raw_dtype=Type.Q8_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected, of_floats | {"direction": direction}


def save(arrays, path):
    save_file({name: torch.tensor(np.ascontiguousarray(value)) for name, value in arrays.items()}, path)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    expected, of_floats = write(out / "version3.gguf", alignment=None)
    write(out / "alignment128.gguf", alignment=128)
    data = bytearray((out / "version3.gguf").read_bytes())
    data[4] = 2  # the same layout in little-endian order
    (out / "version2.gguf").write_bytes(data)
    save(expected, out / "expected.safetensors")
    save(of_floats, out / "gradients.safetensors")
    save({name: gguf_grid_blocks.grid(name) for name in GRIDS}, out / "grids.safetensors")


if __name__ == "__main__":
    main()
