"""Blocks of IQ1, IQ2 and IQ3, which the `gguf` package only decodes: each run of weights becomes the nearest point.

    data = quantize("IQ2_XS", values)    u8 [blocks, bytes], of f32 [blocks, 256]
"""
import gguf
import numpy as np

SUB_BLOCKS = {"IQ1_S": 32, "IQ1_M": 16, "IQ2_XXS": 32, "IQ2_XS": 16, "IQ2_S": 16, "IQ3_XXS": 32, "IQ3_S": 32}
DIVISOR = {"IQ2_XXS": 8, "IQ2_XS": 8, "IQ2_S": 8, "IQ3_XXS": 4}
SEVEN_SIGNS = ("IQ2_XXS", "IQ2_XS", "IQ3_XXS")  # for 8 weights: the number of minus signs is even
DELTA = 0.125


def grid(kind):
    """f32 [points, 8 or 4]"""
    codec = getattr(gguf.quants, kind)
    codec.init_grid()
    return codec.grid[0, 0]


def word(values, kind):
    return np.ascontiguousarray(values).astype(kind).view(np.uint8).reshape(len(values), -1)


def joined(fields, width):
    """[n, m, fields] → u32 [n, m], the first field lowest"""
    return (fields.astype(np.uint32) << np.arange(0, width * fields.shape[-1], width, dtype=np.uint32)).sum(
        -1, dtype=np.uint32)


def scales(kind, values):
    """d as f16 [n], s [n, sub-blocks]: a sub-block's root mean square is that of the grid."""
    groups = values.reshape(len(values), -1, SUB_BLOCKS[kind])
    steps = np.sqrt((groups ** 2).mean(2) / (grid(kind) ** 2).mean()) * DIVISOR.get(kind, 1)
    most = 2 * (7 if kind.startswith("IQ1") else 15) + 1
    d = (steps.max(1) / most).astype(np.float16)
    ratio = steps / np.maximum(d[:, None].astype(np.float32), 1e-30)
    return d, np.round((ratio - 1) / 2).clip(0, most // 2).astype(np.uint32)


def signs(kind, values):
    """bool [n, 32, 8]: which weights are negative."""
    negative = values.reshape(len(values), -1, 8) < 0
    if kind in SEVEN_SIGNS:
        smallest = np.abs(values).reshape(negative.shape).argmin(2)[..., None]
        odd = negative.sum(2, keepdims=True) % 2 == 1
        np.put_along_axis(negative, smallest, np.take_along_axis(negative, smallest, 2) ^ odd, 2)
    return negative


def nearest(points, runs):
    """Indices [...] of the points nearest to the runs [..., 8 or 4], and the squared distances less |run|²."""
    distance = (points ** 2).sum(1) - 2 * (runs.reshape(-1, points.shape[1]) @ points.T)
    return distance.argmin(1).reshape(runs.shape[:-1]).astype(np.uint32), distance.min(1).reshape(runs.shape[:-1])


def moved(kind, runs):
    """IQ1: indices [n, 32], and whether a run is moved down: IQ1_S moves whole sub-blocks."""
    (up, up_loss), (down, down_loss) = (nearest(grid(kind) + shift, runs) for shift in (DELTA, -DELTA))
    is_down = down_loss < up_loss
    if kind == "IQ1_S":
        is_down = np.repeat((down_loss - up_loss).reshape(len(runs), 8, 4).sum(2) < 0, 4, 1)
    return np.where(is_down, down, up), is_down


def pack_1(kind, d, s, index, is_down):
    low, high = index & 255, index >> 8
    if kind == "IQ1_S":
        fields = joined(high.reshape(-1, 8, 4), 3) | s << 12 | is_down[:, ::4].astype(np.uint32) << 15
        return [word(d, "<f2"), word(low, "u1"), word(fields, "<u2")]
    nibbles = (high | is_down.astype(np.uint32) << 3).reshape(-1, 16, 2)
    of_d = d.view(np.uint16)[:, None].astype(np.uint32) >> np.array([0, 4, 8, 12], np.uint32) & 15
    return [word(low, "u1"), word(joined(nibbles, 4), "u1"), word(joined(s.reshape(-1, 4, 4), 3) | of_d << 12, "<u2")]


def pack(kind, d, s, index, negative):
    low, eight = word(index & 255, "u1"), word(joined(negative, 1), "u1")
    nibbles, seven = s.reshape(len(s), -1, 2), joined(negative[..., :7], 1)
    if kind == "IQ2_XXS":
        words = joined(seven.reshape(-1, 8, 4), 7) | s << 28
        parts = [np.concatenate([low.reshape(-1, 8, 4), word(words, "<u4").reshape(-1, 8, 4)], 2).reshape(len(d), -1)]
    elif kind == "IQ3_XXS":
        parts = [low, word(joined(seven.reshape(-1, 8, 4), 7) | s << 28, "<u4")]
    elif kind == "IQ2_XS":
        parts = [word(index | seven << 9, "<u2"), word(joined(nibbles, 4), "u1")]
    elif kind == "IQ2_S":
        parts = [low, eight, word(joined((index >> 8).reshape(-1, 8, 4), 2), "u1"), word(joined(nibbles, 4), "u1")]
    else:
        parts = [low, word(joined((index >> 8).reshape(-1, 8, 8), 1), "u1"), eight, word(joined(nibbles, 4), "u1")]
    return [word(d, "<f2"), *parts]


def quantize(kind, values):
    d, s = scales(kind, values)
    steps = d[:, None].astype(np.float32) * (2 * s + 1) / DIVISOR.get(kind, 1)
    ratio = values / np.maximum(np.repeat(steps, SUB_BLOCKS[kind], 1), 1e-30)
    points = grid(kind)
    if kind.startswith("IQ1"):
        data = pack_1(kind, d, s, *moved(kind, ratio.reshape(len(values), 32, 8)))
    else:
        negative = signs(kind, values)
        sizes = np.where(negative.reshape(values.shape), -ratio, ratio).reshape(len(values), -1, points.shape[1])
        data = pack(kind, d, s, nearest(points, sizes)[0], negative)
    return np.concatenate(data, 1)
