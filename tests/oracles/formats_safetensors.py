"""What the `safetensors` package writes: one file of every type, one with an unaligned header, and a sharded model.

expected.json holds the bytes of each tensor, so that the C++ test needs no reader but its own.
"""
import json
import pathlib
import struct
import sys

import torch
from safetensors.torch import save, save_file

TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}


def bytes_of(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def describe(tensors, names):
    return {key: {"dtype": names[key], "shape": list(value.shape), "hex": bytes_of(value).hex()}
            for key, value in tensors.items()}


def every_type():
    generator = torch.Generator().manual_seed(1)
    tensors, names = {}, {}
    for name, dtype in TYPES.items():
        values = torch.randint(-100, 100, (3, 5), generator=generator)
        tensors[f"t.{name}"] = values > 0 if dtype is torch.bool else values.to(dtype)
        names[f"t.{name}"] = name
    extra = {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 7), "einzeln/ß": torch.arange(3.0)}
    return {**tensors, **extra}, {**names, **{key: "F32" for key in extra}}


def with_header_of_odd_length(data):
    """The same file, its header padded so that the data begins at an odd offset."""
    (length,) = struct.unpack_from("<Q", data)
    header = data[8:8 + length] + b" " * 3
    return struct.pack("<Q", len(header)) + header + data[8 + length:]


def write_sharded(folder):
    folder.mkdir(exist_ok=True)
    shards = {"model-00001-of-00002.safetensors": {"a.weight": torch.arange(6.0).reshape(2, 3)},
              "model-00002-of-00002.safetensors": {"b.weight": torch.ones(4, dtype=torch.bfloat16),
                                                   "stray": torch.zeros(1)}}
    weight_map = {}
    for file, tensors in shards.items():
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map.update({name: file for name in tensors if name != "stray"})
    index = {"metadata": {"total_size": 32}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    tensors, names = every_type()
    data = save(tensors, metadata={"format": "pt", "note": "two\nlines"})
    (out / "types.safetensors").write_bytes(data)
    (out / "unaligned.safetensors").write_bytes(with_header_of_odd_length(data))
    (out / "expected.json").write_text(json.dumps(describe(tensors, names)))
    save_file({"small": torch.zeros(2), "complex": torch.zeros(4, dtype=torch.complex64)}, out / "complex.safetensors")
    write_sharded(out / "sharded")


if __name__ == "__main__":
    main()
