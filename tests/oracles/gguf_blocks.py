"""Blocks of GGUF files that the `gguf` package decodes and does not encode: rounded to the nearest, and packed.

    data = quantize("Q4_K", values)          u8 [rows, bytes]
    read_floats("Q4_K", blocks)              f32 [blocks, float_count("Q4_K")], of u8 [blocks, bytes]
    write_floats("Q4_K", blocks, numbers)    in their place; the same in all blocks if there is no first dimension
    float_bits("Q4_K")                       u8 [bytes]: which bits of a block are its floats
"""
import gguf
import numpy as np

import gguf_grid_blocks

CURVE = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])  # IQ4_*
SUB_BLOCKS = {"Q2_K": 16, "Q3_K": 16, "Q4_K": 32, "Q5_K": 32, "Q6_K": 16, "IQ4_XS": 32}
MOST_CODE = {"Q2_K": 3, "Q4_K": 15, "Q5_K": 31}  # with a minimum: codes from 0 on
LEAST_CODE = {"Q3_K": -4, "Q6_K": -32}
MOST_SCALE = {"Q2_K": 15, "Q3_K": 31, "Q4_K": 63, "Q5_K": 63, "Q6_K": 127, "IQ4_XS": 31}
FLOATS = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2),
          "Q5_K": (0, 2), "TQ1_0": (52,), "TQ2_0": (64,), "MXFP4": ()}
SPREAD = "IQ1_M"  # its f16 is in the high nibbles of these bytes, the lowest first
NIBBLES = [49, 51, 53, 55]


def floats(kind):
    """The bytes where the f16 numbers of a block stand in one piece."""
    return () if kind == SPREAD else FLOATS.get(kind, (0,))


def float_count(kind):
    return 1 if kind == SPREAD else len(floats(kind))


def read_floats(kind, blocks):
    if kind == SPREAD:
        bits = (blocks[:, NIBBLES].astype(np.uint16) >> 4 << np.arange(0, 16, 4, dtype=np.uint16)).sum(1, dtype=np.uint16)
        return bits.view(np.float16).astype(np.float32)[:, None]
    parts = [np.ascontiguousarray(blocks[:, at:at + 2]).view(np.float16) for at in floats(kind)]
    return np.concatenate(parts, 1).astype(np.float32)


def write_floats(kind, blocks, numbers):
    numbers = np.broadcast_to(numbers, (len(blocks), np.shape(numbers)[-1])).astype(np.float16)
    if kind == SPREAD:
        nibbles = numbers.view(np.uint16) >> np.arange(0, 16, 4, dtype=np.uint16) & 15
        blocks[:, NIBBLES] = blocks[:, NIBBLES] & 15 | nibbles.astype(np.uint8) << 4
        return
    for i, at in enumerate(floats(kind)):
        blocks[:, at:at + 2] = half(numbers[:, i])


def float_bits(kind):
    bits = np.zeros(gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][1], np.uint8)
    if kind == SPREAD:
        bits[NIBBLES] = 0xF0
    else:
        bits[[at + byte for at in floats(kind) for byte in (0, 1)]] = 0xFF
    return bits


def joined(parts, shifts):
    """[n, shifts, m] → u8 [n, m]"""
    return (parts.astype(np.int64) << np.array(shifts)[:, None]).sum(1).astype(np.uint8)


def nibbles(codes, half):
    """Runs of `half` bytes: low halves hold the first weights of a run, high halves those after them."""
    return joined(codes.reshape(-1, 2, half), (0, 4)).reshape(len(codes), -1)


def crumbs(codes):
    return joined(codes.reshape(-1, 4, 32), (0, 2, 4, 6)).reshape(len(codes), -1)


def planes(bits):
    return joined(bits.reshape(-1, 8, 32), range(8))


def scales_and_minima(s, m):
    return np.concatenate([s[:, :4] | (s[:, 4:] >> 4) << 6, m[:, :4] | (m[:, 4:] >> 4) << 6,
                           s[:, 4:] & 15 | (m[:, 4:] & 15) << 4], 1).astype(np.uint8)


def scales_of_3_bits(s):
    return np.concatenate([joined((s & 15).reshape(-1, 2, 8), (0, 4)), joined((s >> 4).reshape(-1, 4, 4), (0, 2, 4, 6))],
                          1)


def half(values):
    return values.astype(np.float16).reshape(-1, 1).view(np.uint8)


def nested(sizes, most):
    """The factor of each block, and the integers of its sub-blocks."""
    d = (sizes.max(1) / most).astype(np.float16)
    return d, np.round(np.divide(sizes, d[:, None].astype(np.float32), where=d[:, None] > 0,
                                 out=np.zeros_like(sizes))).astype(np.int64).clip(0, most)


def rounded(values, step):
    """values [n, sub-blocks, size], step [n, sub-blocks]"""
    return np.round(np.divide(values, step[..., None], where=step[..., None] != 0, out=np.zeros_like(values)))


def nearest_on_curve(ratio):
    return np.abs(ratio[..., None] - CURVE).argmin(-1)


def pack(kind, values):
    """values: f32 [blocks, 256]"""
    groups = values.reshape(len(values), -1, SUB_BLOCKS[kind])
    if kind in MOST_CODE:
        minima = np.maximum(0, -groups.min(2))
        d, s = nested((groups.max(2) + minima).clip(0) / MOST_CODE[kind], MOST_SCALE[kind])
        dmin, m = nested(minima, MOST_SCALE[kind])
        offset = (dmin[:, None].astype(np.float32) * m)[..., None]
        codes = rounded(groups + offset, d[:, None].astype(np.float32) * s).clip(0, MOST_CODE[kind])
        codes = codes.astype(np.int64).reshape(len(values), 256)
        if kind == "Q2_K":
            return np.concatenate([(s | m << 4).astype(np.uint8), crumbs(codes), half(d), half(dmin)], 1)
        high = [planes(codes >> 4)] if kind == "Q5_K" else []
        return np.concatenate([half(d), half(dmin), scales_and_minima(s, m), *high, nibbles(codes & 15, 32)], 1)
    largest = np.abs(groups).max(2) / (113 if kind == "IQ4_XS" else -LEAST_CODE[kind] - 1)
    d, s = nested(largest, MOST_SCALE[kind])
    steps = d[:, None].astype(np.float32) * s
    if kind == "IQ4_XS":
        codes = nearest_on_curve(rounded(groups, steps)).reshape(len(values), 256)
        stored = s + 32
        high = (stored >> 4 << np.arange(0, 16, 2)).sum(1).astype("<u2").reshape(-1, 1).view(np.uint8)
        low = joined((stored & 15).reshape(-1, 4, 2).swapaxes(1, 2), (0, 4))
        return np.concatenate([half(d), high, low, nibbles(codes, 16)], 1)
    codes = rounded(groups, steps).clip(LEAST_CODE[kind], -LEAST_CODE[kind] - 1)
    codes = codes.astype(np.int64).reshape(len(values), 256) - LEAST_CODE[kind]
    if kind == "Q3_K":
        return np.concatenate([planes(codes >> 2), crumbs(codes & 3), scales_of_3_bits(s + 32), half(d)], 1)
    return np.concatenate([nibbles(codes & 15, 64), crumbs(codes >> 4), s.astype(np.int8).view(np.uint8), half(d)], 1)


def quantize(kind, values):
    """values: f32 [rows, columns] → u8 [rows, bytes]"""
    if kind in SUB_BLOCKS:
        data = pack(kind, values.reshape(-1, 256))
    elif kind in gguf_grid_blocks.SUB_BLOCKS:
        data = gguf_grid_blocks.quantize(kind, values.reshape(-1, 256))
    elif kind == "IQ4_NL":
        blocks = values.reshape(-1, 32)
        d = (np.abs(blocks).max(1) / 113).astype(np.float16)
        data = np.concatenate([half(d), nibbles(nearest_on_curve(rounded(blocks[:, None], d[:, None].astype(np.float32))
                                                                  [:, 0]), 16)], 1)
    else:
        data = gguf.quantize(values, gguf.GGMLQuantizationType[kind])
    return data.reshape(len(values), -1)
