"""The text of the tweak's CUDA kernels, run on a CPU as C++ (support/emulated_cuda.h), against NumPy in F64."""
import numpy
import pytest

from emulated_kernels import kernel


WARP = 32


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    return kernel(tmp_path_factory.mktemp("kernels"), "tweak/head_loss_kernel.cpp", "loss_of_logits")


def log_softmax(logits):
    shifted = logits.astype(float) - logits.max(-1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(-1, keepdims=True))


def loss(launch, teacher, student, with_gradient=True):
    tokens, vocabulary = teacher.shape
    divergence, gradient = numpy.full(tokens, -1, numpy.float32), numpy.full_like(teacher, -1)
    # A warp more than there are tokens: it has nothing to do.
    launch(tokens + 1, teacher, student, divergence, gradient if with_gradient else None, tokens, vocabulary // 8, 0)
    return divergence, gradient


@pytest.mark.parametrize("vocabulary", [8, 200, 256, 4096])  # less than eight for each lane, and more
@pytest.mark.parametrize("scale", [0.1, 3, 40])
def test_divergence_and_gradient(launch, vocabulary, scale):
    draw = numpy.random.default_rng(vocabulary)
    teacher = (draw.normal(size=(5, vocabulary)) * scale).astype(numpy.float32)
    student = (teacher + draw.normal(size=teacher.shape) * 0.5).astype(numpy.float32)
    log_t, log_s = log_softmax(teacher), log_softmax(student)
    expected = (numpy.exp(log_t) * (log_t - log_s)).sum(-1)
    divergence, gradient = loss(launch, teacher, student)
    numpy.testing.assert_allclose(divergence, expected, rtol=1e-4, atol=1e-6)
    numpy.testing.assert_allclose(gradient, numpy.exp(log_s) - numpy.exp(log_t), rtol=1e-4, atol=1e-7)
    alone, untouched = loss(launch, teacher, student, with_gradient=False)
    assert (alone == divergence).all() and (untouched == -1).all()


def test_what_is_not_finite_shows(launch):
    teacher = numpy.random.default_rng(0).normal(size=(3, 512)).astype(numpy.float32)
    student = teacher.copy()
    student[1, 77], student[2, 300] = numpy.nan, numpy.inf
    divergence, _ = loss(launch, teacher, student)
    assert abs(divergence[0]) < 1e-6 and not numpy.isfinite(divergence[1:]).any()


@pytest.fixture(scope="module")
def decay(tmp_path_factory):
    return kernel(tmp_path_factory.mktemp("kernels"), "tweak/code_positions_kernel.cpp", "decay_mean_squares")


@pytest.fixture(scope="module")
def move(tmp_path_factory):
    return kernel(tmp_path_factory.mktemp("kernels"), "tweak/code_positions_kernel.cpp", "move_positions")


def roots(gradient):
    return [numpy.sqrt((gradient.astype(float)**2).sum(axis)).astype(numpy.float32) for axis in (1, 0)]


def test_mean_squares_decay(decay):
    draw, out, columns, beta = numpy.random.default_rng(1), 45, 24, 0.95
    gradient = draw.normal(size=(out, columns)).astype(numpy.float32)
    of_rows, of_columns = [draw.uniform(size=count).astype(numpy.float32) for count in (out, columns)]
    expected = [of_rows * beta + (1 - beta) * (gradient.astype(float)**2).mean(1),
                of_columns * beta + (1 - beta) * (gradient.astype(float)**2).mean(0)]
    finite = numpy.ones(1, numpy.uint8)
    blocks = (out + columns) // WARP + 1
    decay(blocks, *roots(gradient), of_rows, of_columns, finite, beta, out, columns)
    numpy.testing.assert_allclose(of_rows, expected[0], rtol=1e-5)
    numpy.testing.assert_allclose(of_columns, expected[1], rtol=1e-5)
    assert finite[0] == 1
    for bad in (numpy.inf, numpy.nan):
        finite[0], gradient[7, 3] = 1, bad
        decay(blocks, *roots(gradient), of_rows, of_columns, finite, beta, out, columns)
        assert finite[0] == 0


CURVE = numpy.array([1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241], numpy.uint8)


@pytest.mark.parametrize("points, first, curve", [(4, 0, None), (16, 120, None), (16, 0, CURVE)])
@pytest.mark.parametrize("back", [0, 0.3])
def test_positions_move(move, points, first, curve, back):
    draw, out, columns, beta, rate, squares = numpy.random.default_rng(points), 7, 40, 0.9, 0.4, 1.7
    codes_of = (lambda at: at + first) if curve is None else (lambda at: curve[at])
    at = draw.integers(points, size=(out, columns))
    codes, before = codes_of(at).astype(numpy.uint8), draw.integers(-32767, 32768, (out, columns)).astype(numpy.int16)
    first_at = draw.integers(points, size=(out, columns))
    first_codes, first_fractions = codes_of(first_at).astype(numpy.uint8), before[::-1].copy()
    gradient, momentum = draw.normal(size=(2, out, columns)).astype(numpy.float32)
    gradient[2], momentum[2] = 0, 0  # no token reached this row
    rows, of_columns = [draw.uniform(0.1, 2, size).astype(numpy.float32) for size in (out, columns)]
    rows[2] = 0
    mean = rows.mean(keepdims=True)

    moved = momentum.astype(float) * beta + gradient.astype(float) * (1 - beta)
    second = numpy.maximum(rows[:, None] / mean, 1e-30) * of_columns * squares
    start = at + before / 65534
    change = -rate * moved / numpy.sqrt(second) - back * (start - first_at - first_fractions / 65534)
    expected = numpy.clip(start + change, -0.5, points - 0.5)

    def run(finite):
        state = [momentum.copy(), codes.copy(), before.copy()]
        start_of = [first_codes, first_fractions] if back else [None, None]
        eights, factors = out * columns // 8, numpy.array([rate, squares, back], numpy.float32)
        move(eights // WARP + 1, gradient, *state, *start_of, rows, of_columns, mean, numpy.full(1, finite, numpy.uint8),
             curve, factors, first, points, beta, eights, columns // 8, 0)
        return state

    found_momentum, found_codes, fractions = run(True)
    numpy.testing.assert_allclose(found_momentum, moved, rtol=1e-5, atol=1e-6)
    found = (found_codes.astype(int) - first if curve is None else numpy.searchsorted(curve, found_codes))
    assert found.min() >= 0 and found.max() < points and (codes_of(found) == found_codes).all()
    numpy.testing.assert_allclose(found + fractions / 65534, expected, atol=5e-5)
    assert (found != at).mean() > 0.1
    if not back:
        assert (found_codes[2] == codes[2]).all()
    _, kept, same = run(False)
    assert (kept == codes).all() and (abs(same.astype(int) - before) <= 1).all()
