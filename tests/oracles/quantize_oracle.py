"""Expected results of normtweak/quantize from implementations that share nothing with it.

    quantize_oracle.py FOLDER

- round to nearest in NumPy, step by step in float32 as the definition says;
- GPTQ column by column in float64, as the paper writes it (arXiv 2210.17323, algorithm 1): with the inverse of the
  Hessian, updating all columns that remain after each one, without blocks;
- k-means from scikit-learn, ten starts;
- the same GPTQ with codebooks for grids, by a dynamic program over all ends of clusters;
- the least error of blocks over every float that their scale can be, and for each over every integer of a sub-block.

Writes inputs and results as .npy and the list of cases as cases.json.
"""

import itertools
import json
import os
import pathlib
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small matrices: threads would only wait for each other
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from sklearn.cluster import KMeans

DAMPING = 0.01


def store(values, scale_type):
    """Rounds to what a file of that type gives back, as float64."""
    values = np.asarray(values, np.float32)
    if scale_type == "float16":
        return values.astype(np.float16).astype(np.float64)
    if scale_type == "bfloat16":
        bits = np.ascontiguousarray(values).view(np.uint32)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        values = bits.view(np.float32)
    return values.astype(np.float64)


def range_grid(low, high, bits, symmetric, scale_type, float_zeros):
    top = 2**bits - 1
    least = 2.0**-14 if scale_type == "float16" else np.finfo(np.float32).tiny
    scale = store(np.maximum((high - low) / low.dtype.type(top), low.dtype.type(least)), scale_type).astype(low.dtype)
    if symmetric:
        return scale, np.full_like(scale, 2 ** (bits - 1))
    zero = np.clip(-low / scale, 0, top)
    return scale, store(zero, scale_type).astype(low.dtype) if float_zeros else np.rint(zero)


def nearest(values, scale, zero, bits):
    whole = zero == np.rint(zero)  # halves round to even: the even step where zero-points are whole, else the even code
    codes = np.where(whole, np.rint(values / scale) + zero, np.rint(values / scale + zero))
    return np.clip(codes, 0, 2**bits - 1)


def grid(values, bits, symmetric, search, scale_type, float_zeros=False):
    """values [rows, group] -> scale, zero [rows]"""
    low, high = np.minimum(values.min(1), 0), np.maximum(values.max(1), 0)
    if symmetric:
        high = np.maximum(high, -low)
        low = -high
    best_error = None
    for percent in range(100, 20, -1) if search else [100]:
        share = low.dtype.type(percent / 100)
        scale, zero = range_grid(low * share, high * share, bits, symmetric, scale_type, float_zeros)
        if not search:
            return scale, zero
        code = nearest(values, scale[:, None], zero[:, None], bits)
        error = (np.abs((code - zero[:, None]) * scale[:, None] - values) ** 2.4).sum(1)
        if best_error is None:
            best_error, best_scale, best_zero = error, scale, zero
        else:
            better = error < best_error
            best_error = np.where(better, error, best_error)
            best_scale, best_zero = np.where(better, scale, best_scale), np.where(better, zero, best_zero)
    return best_scale, best_zero


def rtn(weight, bits, group, symmetric, search, scale_type, float_zeros=False):
    out, columns = weight.shape
    group = group or columns
    rows = weight.reshape(-1, group)
    scale, zero = grid(rows, bits, symmetric, search, scale_type, float_zeros)
    codes = nearest(rows, scale[:, None], zero[:, None], bits)
    return codes.reshape(weight.shape), scale.reshape(out, -1), zero.reshape(out, -1)


def inverse_factor(hessian, act_order):
    """The order of the columns, and the upper Cholesky factor of the inverse in that order."""
    columns = len(hessian)
    diagonal = np.diag(hessian).copy()
    order = np.argsort(-diagonal, kind="stable") if act_order else np.arange(columns)
    dead = diagonal == 0
    mean = diagonal[~dead].mean()
    damped = hessian + DAMPING * mean * np.eye(columns)
    damped[dead, dead] += mean
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    return order, np.linalg.cholesky(inverse).T


def gptq(weight, hessian, bits, group, symmetric, search, act_order, scale_type, float_zeros=False):
    out, columns = weight.shape
    group = group or columns
    hessian = hessian.astype(np.float64)
    order, upper = inverse_factor(hessian, act_order)
    current = weight[:, order].astype(np.float64)
    codes = np.zeros((out, columns))
    rounded = np.zeros((out, columns))
    scales, zeros = np.zeros((out, columns // group)), np.zeros((out, columns // group))
    if act_order:
        for g in range(columns // group):
            columns_of_group = slice(g * group, (g + 1) * group)
            values = weight[:, columns_of_group].astype(np.float64)
            scales[:, g], zeros[:, g] = grid(values, bits, symmetric, search, scale_type, float_zeros)
    for place, column in enumerate(order):
        g = column // group
        if not act_order and column % group == 0:
            values = current[:, place : place + group]
            scales[:, g], zeros[:, g] = grid(values, bits, symmetric, search, scale_type, float_zeros)
        value = current[:, place].copy()
        code = nearest(value, scales[:, g], zeros[:, g], bits)
        codes[:, column] = code
        rounded[:, column] = (code - zeros[:, g]) * scales[:, g]
        error = (value - rounded[:, column]) / upper[place, place]
        current[:, place:] -= np.outer(error, upper[place, place:])
    difference = weight.astype(np.float64) - rounded
    return codes, scales, zeros, float(np.sum((difference @ hessian) * difference))


def best_codebook(values, costs, entries):
    """values, costs [columns]: the centres of least sum of costs * (value - centre)^2, by trying all ends of runs."""
    order = np.argsort(values, kind="stable")
    values, costs = values[order], costs[order]
    count = len(values)
    sums = [np.concatenate([[0], np.cumsum(costs * values**power)]) for power in (0, 1, 2)]
    weight, first, second = (part[None, 1:] - part[:-1, None] for part in sums)  # [start, last]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(weight > 0, second - first**2 / weight, np.inf)
    least, starts = spread[0], []
    for _ in range(entries - 1):
        before = np.concatenate([[np.inf], least[:-1]])
        total = before[:, None] + spread
        starts.append(total.argmin(0))
        least = total.min(0)
    centres, last = [], count - 1
    for cluster in reversed(range(entries)):
        start = starts[cluster - 1][last] if cluster > 0 else 0
        centres.append(first[start, last] / weight[start, last])
        last = start - 1
    return np.array(centres[::-1])


def codebook_gptq(weight, hessian, bits, group, act_order, scale_type):
    """As gptq(), with the codebooks that are best for the values when a group's first column is reached. An error costs
    1 / upper[k, k]^2 once the columns after it have made up for it; a dead column next to nothing."""
    out, columns = weight.shape
    group, entries = group or columns, 2**bits
    hessian = hessian.astype(np.float64)
    order, upper = inverse_factor(hessian, act_order)
    costs = np.zeros(columns)
    costs[order] = 1 / np.diag(upper) ** 2
    dead = np.diag(hessian) == 0
    costs[dead] = 0
    costs[dead] = costs.mean() * 1e-3
    current = weight[:, order].astype(np.float64)
    rounded, codebooks = np.zeros((out, columns)), np.zeros((out, columns // group, entries))

    def fit(g, values):
        found = [best_codebook(row, costs[g * group : (g + 1) * group], entries) for row in values]
        codebooks[:, g] = store(np.array(found), scale_type)

    if act_order:
        for g in range(columns // group):
            fit(g, weight[:, g * group : (g + 1) * group].astype(np.float64))
    for place, column in enumerate(order):
        g = column // group
        if not act_order and column % group == 0:
            fit(g, current[:, place : place + group])
        value = current[:, place].copy()
        code = np.abs(value[:, None] - codebooks[:, g]).argmin(1)
        rounded[:, column] = codebooks[np.arange(out), g, code]
        error = (value - rounded[:, column]) / upper[place, place]
        current[:, place:] -= np.outer(error, upper[place, place:])
    difference = weight.astype(np.float64) - rounded
    return rounded, codebooks.reshape(out, -1), float(np.sum((difference @ hessian) * difference))


def correlated_problem(generator, out, columns):
    """A weight with outliers and the Hessian of correlated inputs with two dead columns and two loud ones."""
    weight = (generator.standard_normal((out, columns)) * 0.02).astype(np.float32)
    weight[generator.integers(0, out, 20), generator.integers(0, columns, 20)] *= 12
    mixing = generator.standard_normal((columns, columns)) / np.sqrt(columns) + np.eye(columns)
    inputs = generator.standard_normal((4 * columns, columns)) @ mixing
    inputs[:, [5, columns // 2]] = 0
    inputs[:, [9, columns - 2]] *= 20
    return weight, (inputs.T @ inputs / len(inputs)).astype(np.float32)


class Folder:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.cases = {}

    def save(self, name, values, dtype=np.float32):
        np.save(self.path / f"{name}.npy", np.ascontiguousarray(values, dtype))

    def add(self, suite, **case):
        self.cases.setdefault(suite, []).append(case)


def write_rtn(folder, generator):
    weight = (generator.standard_normal((24, 192)) * 0.05).astype(np.float32)
    weight[3] = 0
    weight[4, 7] = 3
    weight[5] = np.abs(weight[5])
    weight[6] *= 1e-5  # its scales would be subnormal in float16
    folder.save("rtn_weight", weight)
    for bits, group, (symmetric, float_zeros), search, scale_type in itertools.product(
        [2, 3, 4, 6, 8],
        [0, 32, 96],
        [(False, False), (True, False), (False, True)],
        [False, True],
        ["float16", "bfloat16", "float32"],
    ):
        name = f"rtn_{bits}_{group}_{symmetric:d}{float_zeros:d}{search:d}_{scale_type}"
        codes, scales, zeros = rtn(weight, bits, group, symmetric, search, scale_type, float_zeros)
        spread = [np.repeat(part, weight.shape[1] // part.shape[1], axis=1) for part in (scales, zeros)]
        folder.save(name + "_codes", codes, np.uint8)
        folder.save(name + "_scales", scales)
        folder.save(name + "_zeros", zeros)
        folder.save(name + "_values", (codes - spread[1]) * spread[0])
        folder.add("rtn", name=name, bits=bits, group=group, symmetric=symmetric, float_zeros=float_zeros,
                   search=search, scale_type=scale_type)


def write_gptq(folder, generator):
    problems = {"narrow": correlated_problem(generator, 500, 192), "wide": correlated_problem(generator, 200, 384)}
    for name, (weight, hessian) in problems.items():
        folder.save(f"gptq_{name}_weight", weight)
        folder.save(f"gptq_{name}_hessian", hessian)
    # The largest weight of a symmetric group lies half-way between two codes, exactly so where the scale is not rounded:
    # F32 and F64 then disagree. A scale in bfloat16 settles it.
    grids = [(True, "bfloat16", False), (False, "float32", False)]
    switches = [False, True]
    cases = list(itertools.product(["narrow"], [2, 3, 4, 8], [0, 32, 64, 96], grids, switches, switches))
    # groups larger than a block of 128 columns, and groups that cross one
    cases += itertools.product(["wide"], [4], [0, 96, 128, 192], grids, switches, [False])
    cases += itertools.product(["narrow"], [4], [0, 64], [(False, "float16", False)], switches, [True])
    cases += itertools.product(["narrow"], [2, 4], [0, 64], [(False, "float16", True)], switches, switches)
    for problem, bits, group, (symmetric, scale_type, float_zeros), act_order, search in cases:
        name = f"gptq_{problem}_{bits}_{group}_{symmetric:d}{float_zeros:d}{act_order:d}{search:d}_{scale_type}"
        codes, _, _, error = gptq(*problems[problem], bits, group, symmetric, search, act_order, scale_type,
                                  float_zeros)
        folder.save(name + "_codes", codes, np.uint8)
        folder.add("gptq", name=name, problem=problem, bits=bits, group=group, symmetric=symmetric,
                   float_zeros=float_zeros, act_order=act_order, search=search, scale_type=scale_type, damping=DAMPING,
                   layer_error=error)


def write_codebook_gptq(folder, generator):
    weight, hessian = correlated_problem(generator, 60, 192)
    folder.save("codebooks_weight", weight)
    folder.save("codebooks_hessian", hessian)
    for bits, group, act_order, scale_type in itertools.product([2, 3, 4], [0, 32, 96], [False, True],
                                                                ["float16", "float32"]):
        name = f"codebooks_{bits}_{group}_{act_order:d}_{scale_type}"
        values, codebooks, error = codebook_gptq(weight, hessian, bits, group, act_order, scale_type)
        folder.save(name + "_values", values)
        folder.save(name + "_codebooks", codebooks)
        folder.add("codebooks", name=name, bits=bits, group=group, act_order=act_order, scale_type=scale_type,
                   damping=DAMPING, layer_error=error)


def write_kmeans(folder, generator):
    rows = {
        "normal": generator.standard_normal((6, 160)),
        "heavy": generator.standard_t(2, (6, 160)),
        "repeated": np.round(generator.standard_normal((6, 160)) * 8) / 8,
    }
    sensitivity = generator.gamma(0.5, 1.0, 160).astype(np.float32)
    sensitivity[::17] = 0
    folder.save("kmeans_sensitivity", sensitivity)
    for (kind, weight), bits, weighted in itertools.product(rows.items(), [2, 3, 4, 6], [False, True]):
        weight = weight.astype(np.float32)
        folder.save(f"kmeans_{kind}_weight", weight)
        inertia = []
        for row in weight.astype(np.float64):
            clusters = min(2**bits, len(np.unique(row)))
            sample_weight = sensitivity if weighted else None
            found = KMeans(clusters, n_init=10, random_state=0).fit(row[:, None], sample_weight=sample_weight)
            inertia.append(found.inertia_)
        name = f"kmeans_{kind}_{bits}_{weighted:d}"
        folder.save(name + "_inertia", inertia)
        folder.add("kmeans", name=name, kind=kind, bits=bits, weighted=weighted)


CURVE = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float64)
# block, sub-block, codes, integers of sub-blocks
BLOCK_TYPES = {
    "Q4_0": (32, 32, np.arange(-8, 8), [1]),
    "Q5_0": (32, 32, np.arange(-16, 16), [1]),
    "Q8_0": (32, 32, np.arange(-128, 128), [1]),
    "IQ4_NL": (32, 32, CURVE, [1]),
    "IQ4_XS": (256, 32, CURVE, range(-32, 32)),
    "Q3_K": (256, 16, np.arange(-4, 4), range(-32, 32)),
    "Q6_K": (256, 16, np.arange(-32, 32), range(-128, 128)),
}


def nearest_of(codes, values):
    """The sorted code next to each value."""
    right = np.searchsorted(codes, values).clip(1, len(codes) - 1)
    return np.where(values - codes[right - 1] <= codes[right] - values, codes[right - 1], codes[right])


def least_block_error(values, importance, codes, integers, sub, scales):
    """values, importance [block]; the least error over all scales of the list."""
    groups, weights = values.reshape(-1, sub), importance.reshape(-1, sub)
    least = np.inf
    for scale in scales:
        best = (weights * groups**2).sum(1)  # an integer of 0
        for integer in integers:
            if integer == 0:
                continue
            step = scale * integer
            rounded = nearest_of(codes, groups / step) * step
            best = np.minimum(best, (weights * (groups - rounded) ** 2).sum(1))
        if list(integers) == [1]:
            rounded = nearest_of(codes, groups / scale) * scale
            best = (weights * (groups - rounded) ** 2).sum(1)
        least = min(least, best.sum())
    return least


def write_blocks(folder, generator):
    halves = np.arange(1, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    for name, (block, sub, codes, integers) in BLOCK_TYPES.items():
        count = 4 if block == sub else 2
        values = (generator.standard_t(5, (count, block)) * 0.05).astype(np.float32)
        importance = generator.gamma(1.0, 1.0, (count, block)).astype(np.float32)
        errors = []
        for row, weights in zip(values.astype(np.float64), importance.astype(np.float64)):
            reach = np.abs(row).max() / np.abs(codes).max() / np.abs(integers).max()
            scales = halves[(halves > 0.3 * reach) & (halves < 1.6 * reach)]
            if block > sub:
                scales = scales[:: max(1, len(scales) // 30)]  # of several thousand
            errors.append(least_block_error(row, weights, codes.astype(np.float64), integers, sub,
                                            np.concatenate([scales, -scales])))
        folder.save(f"blocks_{name}_values", values)
        folder.save(f"blocks_{name}_importance", importance)
        folder.save(f"blocks_{name}_errors", errors)
        folder.add("blocks", type=name, every_scale=block == sub)


def main():
    folder = Folder(sys.argv[1])
    cases_file = folder.path / "cases.json"
    if cases_file.exists() and cases_file.stat().st_mtime > pathlib.Path(__file__).stat().st_mtime:
        return  # written last, by this very script
    generator = np.random.default_rng(7)
    write_rtn(folder, generator)
    write_gptq(folder, generator)
    write_kmeans(folder, generator)
    write_blocks(folder, generator)
    write_codebook_gptq(folder, generator)
    cases_file.write_text(json.dumps(folder.cases, indent=1))


if __name__ == "__main__":
    main()
