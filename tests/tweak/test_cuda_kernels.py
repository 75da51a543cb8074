"""The text of the CUDA kernel of the loss, run on a CPU as C++ (support/emulated_cuda.h), against NumPy in F64."""
import numpy
import pytest

from emulated_kernels import kernel


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
