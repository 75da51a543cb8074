"""What torch.save writes: every type, protocol and layout, views, shared storages, parameters, and what older versions
of PyTorch and Python wrote.

expected.json holds, for each file, the bytes of each tensor as torch.load returns them.
"""
import collections
import io
import json
import pathlib
import pickle
import struct
import sys
import zipfile

import numpy
import torch

import formats_safetensors

UNSIGNED = {"U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64}


def types():
    tensors, _ = formats_safetensors.every_type()
    return {**tensors, **{f"t.{name}": torch.arange(6).to(dtype).reshape(2, 3) for name, dtype in UNSIGNED.items()}}


def views():
    whole = torch.arange(120.0).reshape(10, 12)
    cube = torch.arange(24).to(torch.int16).reshape(2, 3, 4)
    return {"tied": whole, "also tied": whole, "transposed": whole.t(), "rows": whole[3:7], "columns": whole[:, 3:7],
            "steps": whole[1::3, ::5], "diagonal": whole.diagonal(), "one": whole[4, 5], "none": whole[:0],
            "permuted": cube.permute(2, 0, 1), "unsqueezed": cube[:, 1:2].unsqueeze(0), "flat": cube.reshape(-1)[5:9],
            "expanded": torch.tensor([2.5]).expand(64), "rows repeated": torch.arange(3).expand(4, 3),
            "half transposed": torch.arange(6.0).half().reshape(2, 3).t(), "windows": torch.arange(9.0).unfold(0, 4, 1),
            "unsigned": torch.arange(6).to(torch.uint16).reshape(2, 3).t()}


def with_attribute(tensor):
    tensor.purpose = "tests"
    return tensor


def parameters():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2), torch.nn.BatchNorm1d(2))
    extra = {"parameter": torch.nn.Parameter(torch.ones(2)), "buffer": torch.nn.Buffer(torch.ones(3)),
             "named": with_attribute(torch.nn.Parameter(torch.zeros(3))), "noted": with_attribute(torch.arange(4.0))}
    state = model.state_dict(keep_vars=True)  # an OrderedDict with attributes
    state.update(extra)
    return state


def others():
    """What is no tensor, or none that can be read."""
    return {"a": torch.arange(3.0), "epoch": 3, "loss": 0.25, "large": 2**70, "none": None, "yes": True, "text": "é",
            "bytes": b"\0\1", "list": [1, [2]], "tuple": (1, 2, 3, 4), "set": {1}, "dtype": torch.bfloat16,
            "size": torch.Size([2, 3]), "device": torch.device("cpu"), "numpy": numpy.float64(1.5),
            "layout": torch.strided, "inner": {"b": torch.ones(1)}}


def unread():
    return {"a": torch.arange(3.0), "complex": torch.zeros(2, dtype=torch.complex64), "meta": torch.empty(2, device="meta"),
            "sparse": torch.eye(2).to_sparse(), "negated": torch._neg_view(torch.arange(3.0)),
            "far": torch.ones(1).expand(2000, 3000)}


def saved(state, **options):
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


def saved_older(state, **options):
    """Without the types that torch.save writes so but torch.load then refuses."""
    newer = [*UNSIGNED.values(), torch.float8_e4m3fn, torch.float8_e5m2]
    for name in [name for name, value in state.items() if getattr(value, "dtype", None) in newer]:
        del state[name]
    return saved(state, _use_new_zipfile_serialization=False, **options)


def big_endian(data):
    """The same archive as a big-endian machine would have written it: of one type of four bytes."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(written, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("/byteorder"):
                content = b"big"
            elif "/data/" in entry.filename:
                content = numpy.frombuffer(content, "<u4").astype(">u4").tobytes()
            target.writestr(entry.filename, content)
    return written.getvalue()


class Call:
    """Pickled as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Storage:
    """Pickled as the persistent id of a storage; part: its key, first element and number of elements."""

    def __init__(self, key, elements, part=None):
        self.id = "storage", torch.FloatStorage, key, "cpu", elements, part


class Pickler(pickle._Pickler):
    """In Python, so that texts can be written as Python 2 did."""
    dispatch = dict(pickle._Pickler.dispatch)

    def persistent_id(self, value):
        return value.id if isinstance(value, Storage) else None

    def save_text(self, value):
        data = value.encode()
        self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        self.memoize(value)

    dispatch[str] = save_text

    def save_type(self, value):
        names = {torch.FloatStorage: b"ctorch\nFloatStorage\n", collections.OrderedDict: b"ccollections\nOrderedDict\n"}
        self.write(names[value])

    dispatch[type] = save_type


Pickler.dispatch[type(torch.FloatStorage)] = Pickler.save_type


def dumped(value):
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def early():
    """As PyTorch 0.3 with Python 2 wrote it: functions, texts and parts of storages that are no longer written."""
    rebuild = torch._utils._rebuild_tensor
    whole, part = Storage("0", 8), Storage("0", 8, ("9", 2, 4))
    state = Call(collections.OrderedDict, [["whole", Call(rebuild, whole, 0, (2, 4), (4, 1))],
                                           ["part", Call(rebuild, part, 1, (3,), (1,))]])
    parts = [dumped(0x1950a86a20f9469cfc6c), dumped(1001), dumped({"little_endian": True}), dumped(state), dumped(["0"])]
    return b"".join(parts) + struct.pack("<q8f", 8, *range(8))


def files():
    for protocol in range(2, 6):
        yield f"types-{protocol}.bin", saved(types(), pickle_protocol=protocol)
        yield f"types-{protocol}-older.bin", saved_older(types(), pickle_protocol=protocol)
    for state in [views, parameters, others]:
        yield f"{state.__name__}.bin", saved(state())
        yield f"{state.__name__}-older.bin", saved_older(state())
    yield "others-5.bin", saved(others(), pickle_protocol=5)
    yield "big-endian.bin", big_endian(saved({"a": torch.arange(6.0).reshape(2, 3), "t": torch.arange(6).int().reshape(2, 3).t()}))
    yield "early.pt", early()


def dtype_name(dtype):
    names = {**formats_safetensors.TYPES, **UNSIGNED}
    return next(name for name, known in names.items() if known is dtype)


def described(path):
    # What is loaded was made here; weights_only knows neither protocol 4 nor scalars of NumPy.
    state = torch.load(path, weights_only=False)
    return {name: {"dtype": dtype_name(tensor.dtype), "shape": list(tensor.shape),
                   "hex": formats_safetensors.bytes_of(tensor.detach()).hex()}
            for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, data in files():
        (out / name).write_bytes(data)
        expected[name] = described(out / name)
    (out / "expected.json").write_text(json.dumps(expected))
    (out / "unread.bin").write_bytes(saved(unread()))


if __name__ == "__main__":
    main()
