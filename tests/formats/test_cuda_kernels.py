"""The text of the CUDA kernels of formats/, run on a CPU as C++ (support/emulated_cuda.h), against NumPy."""
import numpy
import pytest

from emulated_kernels import kernel

WARP = 32


@pytest.fixture(scope="module")
def unpack(tmp_path_factory):
    return kernel(tmp_path_factory.mktemp("kernels"), "formats/unpacking_kernel.cpp", "unpack_codes")


def packed_words(codes, bits):
    """Bit i of a code at bit column * bits + i of its row, whose words are filled up with zeros."""
    rows, columns = codes.shape
    words = -(-columns * bits // 32)
    stream = numpy.zeros((rows, words * 32), numpy.uint8)
    stream[:, :columns * bits] = (codes[:, :, None] >> numpy.arange(bits, dtype=numpy.uint8) & 1).reshape(rows, -1)
    return numpy.packbits(stream, axis=1, bitorder="little")


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("columns", [1, 8, 11, 32, 64, 67, 200])  # whole words and not, whole eights and not
def test_every_code_comes_back(unpack, bits, columns):
    codes = numpy.random.default_rng(columns).integers(0, 1 << bits, (5, columns), numpy.uint8)
    packed = packed_words(codes, bits)
    eights = -(-columns // 8)
    threads = 5 * eights
    found = numpy.full(5 * columns + 8, 99, numpy.uint8)  # eight more, which nothing may write
    unpack(-(-threads // WARP), packed, found, threads, eights, packed.shape[1], columns, bits)
    assert (found[:5 * columns].reshape(codes.shape) == codes).all() and (found[5 * columns:] == 99).all()
