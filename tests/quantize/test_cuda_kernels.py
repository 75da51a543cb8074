"""The text of the CUDA kernels of quantize/, run on a CPU as C++ (support/emulated_cuda.h), against NumPy. The C++ tests
run them on a GPU where there is one; this is so that a change is checked where there is none."""
import itertools

import numpy
import pytest

from emulated_kernels import kernel

TOP, GRIDS, ENTRIES = 15, 3, 16  # the largest code, grids that columns share, and entries of a codebook


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    return {"round_gptq_block": kernel(folder, "quantize/gptq_block_kernel.cpp", "round_gptq_block"),
            "search_grids": kernel(folder, "quantize/grid_search_kernel.cpp", "search_grids")}


def random_floats(draw, *shape, scale=1.0):
    return (draw.normal(size=shape) * scale).astype(numpy.float32)


def random_grids(draw, kind, out):
    """scales, lowest, highest, phase, curve, codebooks; None: the kernel is to get a null pointer."""
    if kind == "codebooks":
        return [None] * 5 + [numpy.sort(random_floats(draw, GRIDS, ENTRIES, out), axis=1)]
    scales = (draw.random((GRIDS, out)) * 0.2 + 0.1).astype(numpy.float32)
    if kind == "curve":
        return [scales, None, None, None, numpy.sort(random_floats(draw, 16, scale=5)), None]
    zeros = (draw.random((GRIDS, out)) * TOP if kind == "float zeros" else draw.integers(0, TOP + 1, (GRIDS, out)))
    zeros = zeros.astype(numpy.float32)
    phase = (numpy.round(zeros) - zeros).astype(numpy.float32) if kind == "float zeros" else None
    return [scales, -zeros, TOP - zeros, phase, None, None]


def rounded(wanted, grid, scales, lowest, _, phase, curve, codebooks):
    """Steps and values of a column of these channels."""
    if codebooks is not None:
        place = numpy.abs(wanted - codebooks[grid]).argmin(0)
        return place, codebooks[grid][place, numpy.arange(len(wanted))]
    if curve is not None:
        step = curve[numpy.abs(wanted[:, None] / scales[grid][:, None] - curve).argmin(1)]
    else:
        zero = -lowest[grid]
        step = numpy.clip(numpy.round(wanted / scales[grid] + zero), 0, TOP) - zero
    return step, step * scales[grid]


@pytest.mark.parametrize("columns", [100, 1])
@pytest.mark.parametrize("kind", ["whole zeros", "float zeros", "curve", "codebooks"])
def test_columns_are_rounded_with_the_errors_of_those_before(launch, kind, columns):
    out = 3
    for descends, pulled in itertools.product((False, True), repeat=2):
        draw = numpy.random.default_rng(columns)
        weight, pull = random_floats(draw, columns, out), random_floats(draw, columns, out, scale=0.1)
        grids, grid_of = random_grids(draw, kind, out), draw.integers(0, GRIDS, columns).astype(numpy.int32)
        wide = random_floats(draw, columns, columns + 5, scale=0.1)
        feedback = wide[:, 2:]  # of a larger matrix
        steps, errors = numpy.empty_like(weight), random_floats(draw, columns, out)
        before = weight + random_floats(draw, columns, out, scale=0.1) if descends else weight
        earlier, values = errors.astype(float), before.copy()
        launch["round_gptq_block"](out, weight, pull if pulled else None, *grids, grid_of, feedback, steps, errors,
                                   values if descends else None, columns, out, ENTRIES, wide.shape[1])

        target = weight.astype(float) + (pull if pulled else 0)
        expected_steps, expected = numpy.empty_like(target), numpy.empty_like(target)
        for j in range(columns):
            expected_steps[j], expected[j] = rounded(target[j], grid_of[j], *grids)
            target[j + 1:] += feedback[j, j + 1:columns, None] * (before[j] - expected[j])
        # After a value that F32 rounds to the other side, all is different.
        agreeing = (numpy.abs(steps - expected_steps) < 1e-3).all(0)
        assert agreeing.sum() >= out - 1
        wanted = earlier + before - expected if descends else weight - expected
        assert numpy.abs(errors - wanted)[:, agreeing].max() < 1e-4
        if descends:
            assert numpy.abs(values - expected)[:, agreeing].max() < 1e-4


@pytest.mark.parametrize("float_zeros", [False, True])
def test_the_grid_of_least_error_is_found(launch, float_zeros):
    draw, rows, size, candidates = numpy.random.default_rng(5), 6, 64, 45
    groups = random_floats(draw, rows, size)
    scales = (draw.random((candidates, rows)) * 0.3 + 0.1).astype(numpy.float32)
    zeros = (draw.random((candidates, rows)) * TOP).astype(numpy.float32)
    if not float_zeros:
        zeros = numpy.round(zeros)
    best = numpy.full(rows, -1, numpy.int64)
    launch["search_grids"](rows, groups, scales, zeros, best, rows, size, candidates, float(TOP), int(float_zeros))
    codes = numpy.clip(numpy.round(groups / scales[..., None].astype(float) + zeros[..., None]), 0, TOP)
    missed = numpy.abs((codes - zeros[..., None]) * scales[..., None] - groups)
    assert best.tolist() == (missed**2.4).sum(2).argmin(0).tolist()
