"""Linears as other programs store them quantized: the tensors of each format, made from a matrix and multiplied out.

    tensors = scheme.encode(values, generator, dtype)    by their names behind that of the module
    values = scheme.decode(tensors)                      exact but for the last product, f32 [out, in]

A scheme is one setting of one format. Codes are rounded to the nearest.
"""
import dataclasses
import json
from typing import ClassVar

import numpy as np
import torch

WORD = 32
AWQ_OUTPUTS = [0, 2, 4, 6, 1, 3, 5, 7]  # in the order of a word's bits
NF4 = np.array([-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
                -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725,
                0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023,
                1], np.float32)
FP4 = np.array([0, 0.0625, 8, 12, 4, 6, 2, 3, -0.0, -0.0625, -8, -12, -4, -6, -2, -3], np.float32) / np.float32(12)
E4M3 = torch.float8_e4m3fn


# ---------------------------------------------------------------- arrays and words ----------------------------------

def ints(array, dtype=torch.int32):
    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)


def floats(array, dtype):
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(dtype)


def array(tensor):
    """As i64 or f64, which hold any value of it."""
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.long().numpy()


def pack(codes, bits):
    """Of the last axis, each code follows on the one before it, from the lowest bit of the first word on."""
    stream = (codes[..., None] >> np.arange(bits) & 1).reshape(*codes.shape[:-1], -1)
    padding = [(0, 0)] * (codes.ndim - 1) + [(0, -stream.shape[-1] % WORD)]
    return np.packbits(np.pad(stream, padding).astype(np.uint8), axis=-1, bitorder="little").view("<i4")


def unpack(words, bits, count):
    stream = np.unpackbits(np.ascontiguousarray(words, "<i4").view(np.uint8), axis=-1, bitorder="little")
    return stream[..., :count * bits].reshape(*words.shape[:-1], count, bits) @ (1 << np.arange(bits))


def pack_whole(codes, bits):
    """As many codes in a word as fit; the bits above them are 0."""
    in_word = WORD // bits
    padding = [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % in_word)]
    return pack(np.pad(codes, padding).reshape(*codes.shape[:-1], -1, in_word), bits)[..., 0]


def unpack_whole(words, bits, count):
    return unpack(words[..., None], bits, WORD // bits).reshape(*words.shape[:-1], -1)[..., :count]


# ---------------------------------------------------------------- codes with zero-points ----------------------------

@dataclasses.dataclass(frozen=True)
class Affine:
    """W[o, i] = (code[o, i] - zero[o, g]) * scale[o, g], g being the group of column i."""
    bits: int = 4
    group: int = 32  # columns; 0: all of them
    symmetric: bool = True
    ordered: bool = False  # columns of a group lie anywhere
    least_zero: ClassVar[int] = 0

    def groups(self, columns, generator=None):
        group_of = np.arange(columns) // (self.group or columns)
        return generator.permutation(group_of) if self.ordered and generator else group_of

    def rounded(self, values, generator, dtype):
        """Codes, scales, zero-points, and the group of each column."""
        most, middle = 2 ** self.bits - 1, 2 ** (self.bits - 1)
        group_of = self.groups(values.shape[1], generator)
        parts = values[:, np.argsort(group_of, kind="stable")].reshape(len(values), group_of.max() + 1, -1)
        low, high = np.minimum(parts.min(-1), 0), np.maximum(parts.max(-1), 0)
        scales = array(floats(2 * np.abs(parts).max(-1) / most if self.symmetric else (high - low) / most, dtype))
        zeros = np.full(scales.shape, middle)
        if not self.symmetric:
            zeros = np.round(-low / scales).astype(int).clip(self.least_zero, most)
            zeros[0, 0], zeros[-1, -1] = self.least_zero, most  # the extremes
        codes = np.round(values / scales[:, group_of]) + zeros[:, group_of]
        return codes.astype(int).clip(0, most), scales, zeros, group_of


@dataclasses.dataclass(frozen=True)
class Gptq(Affine):
    version: int = 1
    has_index: bool = True
    tuned: ClassVar = ("scales",)
    codes: ClassVar = "qweight"

    @property
    def least_zero(self):
        return 1 if self.version == 1 else 0  # version 1 has two readings of a zero-point of 0

    def encode(self, values, generator, dtype):
        codes, scales, zeros, group_of = self.rounded(values, generator, dtype)
        stored = zeros - (self.version == 1)
        tensors = {"qweight": ints(pack(codes, self.bits).T), "qzeros": ints(pack(stored.T, self.bits)),
                   "scales": floats(scales.T, dtype)}
        return tensors | ({"g_idx": ints(group_of)} if self.has_index else {})

    def decode(self, tensors):
        words, scales = array(tensors["qweight"]).T, array(tensors["scales"]).T
        rows, columns = len(words), words.shape[1] * WORD // self.bits
        zeros = unpack(array(tensors["qzeros"]), self.bits, rows).T + (self.version == 1)
        group_of = array(tensors["g_idx"]) if "g_idx" in tensors else self.groups(columns)
        codes = unpack(words, self.bits, columns)
        return (codes - (zeros % 2 ** self.bits)[:, group_of]) * scales[:, group_of]


@dataclasses.dataclass(frozen=True)
class Awq(Affine):
    symmetric: bool = False
    tuned: ClassVar = ("scales",)
    codes: ClassVar = "qweight"

    def encode(self, values, generator, dtype):
        codes, scales, zeros, _ = self.rounded(values, generator, dtype)
        return {"qweight": ints(self.packed(codes.T)), "qzeros": ints(self.packed(zeros.T)),
                "scales": floats(scales.T, dtype)}

    def decode(self, tensors):
        codes, zeros = (self.unpacked(array(tensors[part])).T for part in ("qweight", "qzeros"))
        group_of = self.groups(codes.shape[1])
        return (codes - zeros[:, group_of]) * array(tensors["scales"]).T[:, group_of]

    def packed(self, codes):
        words = codes.reshape(len(codes), -1, len(AWQ_OUTPUTS))[..., AWQ_OUTPUTS]
        return pack(words.reshape(codes.shape), self.bits)

    def unpacked(self, words):
        stored = unpack(words, self.bits, words.shape[1] * len(AWQ_OUTPUTS))
        places = np.argsort(AWQ_OUTPUTS)
        return stored.reshape(len(words), -1, len(AWQ_OUTPUTS))[..., places].reshape(stored.shape)


@dataclasses.dataclass(frozen=True)
class Packed(Affine):
    """pack-quantized of compressed-tensors."""
    whole: bool = False           # words as up to version 0.17
    packs_zeros: bool = True      # since 0.9.4
    tuned: ClassVar = ("weight_scale",)
    codes: ClassVar = "weight_packed"

    def encode(self, values, generator, dtype):
        codes, scales, zeros, group_of = self.rounded(values, generator, dtype)
        packed = pack_whole if self.whole else pack
        tensors = {"weight_packed": ints(packed(codes, self.bits)), "weight_scale": floats(scales, dtype),
                   "weight_shape": ints(np.array(values.shape), torch.int64)}
        if not self.symmetric and self.packs_zeros:
            tensors["weight_zero_point"] = ints(packed(zeros.T, self.bits).T)
        elif not self.symmetric:
            tensors["weight_zero_point"] = ints(zeros - 2 ** (self.bits - 1), torch.int8)
        return tensors | ({"weight_g_idx": ints(group_of)} if self.ordered else {})

    def decode(self, tensors):
        unpacked = unpack_whole if self.whole else unpack
        rows, columns = array(tensors["weight_shape"])
        codes = unpacked(array(tensors["weight_packed"]), self.bits, columns)
        zeros = np.full((rows, 1), 2 ** (self.bits - 1)).repeat(tensors["weight_scale"].shape[1], 1)
        if not self.symmetric:
            stored = array(tensors["weight_zero_point"])
            zeros = unpacked(stored.T, self.bits, rows).T if self.packs_zeros else stored + zeros
        group_of = array(tensors["weight_g_idx"]) if self.ordered else self.groups(columns)
        return (codes - zeros[:, group_of]) * array(tensors["weight_scale"])[:, group_of]


# ---------------------------------------------------------------- a byte for each weight ----------------------------

@dataclasses.dataclass(frozen=True)
class Bytes:
    """W = value of byte * scale of its tile: FP8, and integers of up to 8 bits."""
    dtype: torch.dtype = E4M3
    tile: tuple = (0, 0)  # rows and columns that share a scale; 0: all of them
    bits: int = 8         # of integers
    symmetric: bool = True
    scale: str = "weight_scale"
    scale_dtype: torch.dtype | None = None  # None: that of the model
    scale_shape: tuple | None = None        # None: a matrix of tiles
    input_scale: bool = False               # one for activations, which says nothing of the weight
    codes: ClassVar = "weight"

    @property
    def tuned(self):
        return (self.scale,)

    @property
    def is_float(self):
        return self.dtype == E4M3

    def spread(self, tiles, shape):
        """A value for each weight, from one for each tile."""
        rows, columns = (np.arange(size) // (tile or size) for size, tile in zip(shape, self.tile))
        return tiles[rows[:, None], columns]

    def extremes(self, values):
        """Least and largest value of each tile."""
        down, across = (np.arange(0, size, tile or size) for size, tile in zip(values.shape, self.tile))
        low, high = (reduce.reduceat(reduce.reduceat(values, down, 0), across, 1)
                     for reduce in (np.minimum, np.maximum))
        return np.minimum(low, 0), np.maximum(high, 0)

    def encode(self, values, generator, dtype):
        low, high = self.extremes(values)
        largest = np.maximum(-low, high)
        steps = 2 ** self.bits - 1
        scales = largest / 448 if self.is_float else 2 * largest / steps if self.symmetric else (high - low) / steps
        stored = floats(scales, self.scale_dtype or dtype)
        scaled = values / self.spread(array(stored), values.shape)
        tensors = {self.scale: stored if self.scale_shape is None else stored.reshape(self.scale_shape)}
        half = 2 ** (self.bits - 1)
        if self.is_float:
            tensors["weight"] = floats(scaled.clip(-448, 448), E4M3)
        else:
            zeros = np.zeros(low.shape, int) if self.symmetric else np.round(-low / array(stored)).astype(int) - half
            codes = np.round(scaled).astype(int) + self.spread(zeros, values.shape)
            tensors["weight"] = ints(codes.clip(-half, half - 1), torch.int8)
            if not self.symmetric:
                tensors["weight_zero_point"] = ints(zeros, torch.int8).reshape(tensors[self.scale].shape)
        return tensors | ({"input_scale": torch.full((1,), 0.05, dtype=dtype)} if self.input_scale else {})

    def decode(self, tensors):
        values, stored = array(tensors["weight"]), array(tensors[self.scale])
        tiles = [-(-size // (tile or size)) for size, tile in zip(values.shape, self.tile)]
        zeros = np.zeros(tiles) if self.symmetric else array(tensors["weight_zero_point"]).reshape(tiles)
        return (values - self.spread(zeros, values.shape)) * self.spread(stored.reshape(tiles), values.shape)


# ---------------------------------------------------------------- bitsandbytes ---------------------------------------

def dynamic_map():
    """256 values, denser near 0."""
    values = [0.0, 1.0]
    for power in range(7):
        ends = np.linspace(0.1, 1, 2 ** power + 1)
        means = 10.0 ** (power - 6) * (ends[:-1] + ends[1:]) / 2
        values += [*means, *-means]
    return np.sort(np.array(values, np.float32))


def nearest(table, values):
    """The index of the closest value of the table, which need not be sorted."""
    return np.abs(table - values[..., None]).argmin(-1)


@dataclasses.dataclass(frozen=True)
class Runs:
    """4-bit codes into a table times the largest magnitude of each run of weights, of bitsandbytes."""
    table: str = "nf4"
    run: int = 64
    nested: bool = False
    storage: torch.dtype = torch.uint8
    nested_run: ClassVar[int] = 256
    codes: ClassVar = "weight"

    @property
    def state(self):
        return f"weight.quant_state.bitsandbytes__{self.table}"

    @property
    def tuned(self):
        return ("weight.nested_absmax", self.state) if self.nested else ("weight.absmax",)

    @property
    def values(self):
        return NF4 if self.table == "nf4" else FP4

    def encode(self, values, generator, dtype):
        runs = np.pad(values.reshape(-1), (0, -values.size % self.run)).reshape(-1, self.run)
        largest = np.abs(runs).max(1).astype(np.float32)
        codes = nearest(self.values, runs / largest[:, None]).reshape(-1)[:values.size].astype(np.uint8)
        facts = {"quant_type": self.table, "blocksize": self.run, "dtype": str(dtype).removeprefix("torch."),
                 "shape": list(values.shape)}
        tensors = {"weight": torch.from_numpy(codes[0::2] << 4 | codes[1::2]).view(self.storage).reshape(-1, 1),
                   "weight.quant_map": torch.from_numpy(self.values.copy())}
        if self.nested:
            offset = largest.mean()
            parts = np.pad(largest - offset, (0, -largest.size % self.nested_run)).reshape(-1, self.nested_run)
            scales = np.abs(parts).max(1)
            nested = nearest(dynamic_map(), parts / scales[:, None]).reshape(-1)[:largest.size]
            tensors |= {"weight.absmax": ints(nested, torch.uint8), "weight.nested_absmax": torch.from_numpy(scales),
                        "weight.nested_quant_map": torch.from_numpy(dynamic_map())}
            facts |= {"nested_blocksize": self.nested_run, "nested_dtype": "float32", "nested_offset": float(offset)}
        else:
            tensors["weight.absmax"] = torch.from_numpy(largest)
        return tensors | {self.state: text_tensor(json.dumps(facts))}

    def decode(self, tensors):
        facts = json.loads(bytes(tensors[self.state].tolist()))
        rows, columns = facts["shape"]
        stored = tensors["weight"].reshape(-1).view(torch.uint8).numpy()
        codes = np.stack([stored >> 4, stored & 15], 1).reshape(-1)[:rows * columns]
        scales = tensors["weight.absmax"].numpy()
        if self.nested:
            nested = tensors["weight.nested_absmax"].numpy()[np.arange(scales.size) // self.nested_run]
            scales = tensors["weight.nested_quant_map"].numpy()[scales] * nested + np.float32(facts["nested_offset"])
        return (self.values[codes] * scales[np.arange(codes.size) // self.run]).reshape(rows, columns)


def text_tensor(text):
    return torch.tensor(list(text.encode()), dtype=torch.uint8)
