#include "normtweak/formats/bit_packing.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/formats/unpacking_kernel.h"

namespace normtweak::formats {
namespace {

constexpr int kWordBits = 32;
constexpr std::int64_t kWordBytes = 4;

// Of those that are packed at a time on a GPU: what is in between takes little memory.
constexpr std::int64_t kCodesAtOnce = std::int64_t{1} << 24;

// A task needs a few thousand codes to be worth a thread.
std::int64_t rows_per_task(std::int64_t columns) { return std::max<std::int64_t>(1, 32768 / (columns + 1)); }

constexpr std::int64_t kAtOnce = 8;  // codes, bytes of a 64-bit number; packed they are `bits` whole bytes
static_assert(std::endian::native == std::endian::little, "the first code is the lowest byte");

// Eight bytes of `bits` bits become neighbours: in pairs, in fours, and all.
std::uint64_t joined(std::uint64_t bytes, int bits) {
  constexpr std::uint64_t kEvenBytes = 0x00FF00FF00FF00FF, kEvenPairs = 0x0000FFFF0000FFFF, kLowHalf = 0xFFFFFFFF;
  const int gap = 8 - bits;
  bytes = (bytes & kEvenBytes) | ((bytes & ~kEvenBytes) >> gap);
  bytes = (bytes & kEvenPairs) | ((bytes & ~kEvenPairs) >> (2 * gap));
  return (bytes & kLowHalf) | ((bytes & ~kLowHalf) >> (4 * gap));
}

// The inverse, of the lowest 8 * bits bits.
std::uint64_t separated(std::uint64_t packed, int bits) {
  const auto ones = [](int count) { return (std::uint64_t{1} << count) - 1; };
  const int gap = 8 - bits;
  const std::uint64_t four = ones(4 * bits), pairs = ones(2 * bits) * 0x0000000100000001,
                      bytes = ones(bits) * 0x0001000100010001;
  packed = (packed & four) | ((packed & four << (4 * bits)) << (4 * gap));
  packed = (packed & pairs) | ((packed & pairs << (2 * bits)) << (2 * gap));
  return (packed & bytes) | ((packed & bytes << bits) << gap);
}

// size: of what is there, at most 8 bytes.
std::uint64_t load(const std::uint8_t* from, std::int64_t size) {
  std::uint64_t number = 0;
  std::memcpy(&number, from, static_cast<std::size_t>(std::min(size, kAtOnce)));
  return number;
}
void store(std::uint64_t number, std::uint8_t* to, std::int64_t size) {
  std::memcpy(to, &number, static_cast<std::size_t>(std::min(size, kAtOnce)));
}

// Eight codes at a time. The bytes that a store writes beyond its own are zero, and the next one replaces them. Returns
// the bitwise OR of all codes, a byte each, which shows whether any was too large.
std::uint64_t pack_row(const std::uint8_t* codes, std::int64_t columns, int bits, std::uint8_t* bytes,
                       std::int64_t size) {
  std::uint64_t seen = 0;
  std::int64_t begin = 0, place = 0;
  for (; begin + kAtOnce <= columns && place + kAtOnce <= size; begin += kAtOnce, place += bits) {
    const auto eight = load(codes + begin, kAtOnce);
    seen |= eight;
    store(joined(eight, bits), bytes + place, kAtOnce);
  }
  for (; begin < columns; begin += kAtOnce, place += bits) {
    const auto rest = load(codes + begin, columns - begin);
    seen |= rest;
    store(joined(rest, bits), bytes + place, size - place);
  }
  return seen;
}

void unpack_row(const std::uint8_t* bytes, std::int64_t size, int bits, std::uint8_t* codes, std::int64_t columns) {
  std::int64_t begin = 0, place = 0;
  for (; begin + kAtOnce <= columns && place + kAtOnce <= size; begin += kAtOnce, place += bits) {
    store(separated(load(bytes + place, kAtOnce), bits), codes + begin, kAtOnce);
  }
  for (; begin < columns; begin += kAtOnce, place += bits) {
    store(separated(load(bytes + place, size - place), bits), codes + begin, columns - begin);
  }
}

void check_bits(int bits) {
  if (bits < 1 || bits > 8) fail("{} bits cannot be packed; 1 to 8 can", bits);
}

// Codes of a row fill whole bytes in units: 2 codes of 4 bits a byte, 8 codes of 3 bits 3 bytes.
int codes_of_unit(int bits) { return 8 / std::gcd(8, bits); }

// codes: u8 [rows, columns] -> u8 [rows, columns / codes in a unit, rounded up, * bytes of a unit].
at::Tensor packed_bytes(const at::Tensor& codes, int bits) {
  const int in_unit = codes_of_unit(bits), unit_bytes = bits * in_unit / 8;
  const auto rows = codes.size(0), columns = codes.size(1), units = (columns + in_unit - 1) / in_unit;
  const auto whole = units * in_unit == columns ? codes : at::constant_pad_nd(codes, {0, units * in_unit - columns});
  const auto in_units = whole.reshape({rows, units, in_unit});
  auto bytes = at::zeros({rows, units, unit_bytes}, codes.options());
  for (int code = 0; code < in_unit; ++code) {
    const auto values = in_units.select(2, code);
    const int first = code * bits / 8, last = ((code + 1) * bits - 1) / 8;
    for (int byte = first; byte <= last; ++byte) {
      const int shift = code * bits - byte * 8;  // negative: the low bits are in the byte before
      bytes.select(2, byte).bitwise_or_(shift < 0 ? values.bitwise_right_shift(-shift)
                                                  : values.bitwise_left_shift(shift));
    }
  }
  return bytes.flatten(1);
}

[[noreturn]] void fail_too_large(std::int64_t row, int bits) {
  fail("row {} holds a code that needs more than {} bits", row, bits);
}

at::Tensor pack_on_cpu(const at::Tensor& codes, int bits) {
  const auto source = codes.contiguous();
  const auto rows = source.size(0), columns = source.size(1), words = packed_columns(columns, bits);
  const auto size = words * kWordBytes;
  const std::uint64_t too_large = (0xFFU >> bits << bits) * std::uint64_t{0x0101010101010101};
  auto packed = at::empty({rows, words}, at::kInt);
  if (packed.numel() == 0) return packed;  // whose data is a null pointer
  const auto* from = source.const_data_ptr<std::uint8_t>();
  auto* to = static_cast<std::uint8_t*>(packed.mutable_data_ptr());
  at::parallel_for(0, rows, rows_per_task(columns), [&](std::int64_t begin, std::int64_t end) {
    for (auto row = begin; row < end; ++row) {
      auto* bytes = to + row * size;
      std::memset(bytes + std::max<std::int64_t>(size - kWordBytes, 0), 0,
                  static_cast<std::size_t>(std::min(size, kWordBytes)));
      if ((pack_row(from + row * columns, columns, bits, bytes, size) & too_large) != 0) fail_too_large(row, bits);
    }
  });
  return packed;
}

}  // namespace

std::int64_t packed_columns(std::int64_t columns, int bits) { return (columns * bits + kWordBits - 1) / kWordBits; }

at::Tensor pack_rows(const at::Tensor& codes, int bits) {
  check_bits(bits);
  return codes.is_cpu() ? pack_on_cpu(codes, bits) : pack_with_operators(codes, bits);
}

at::Tensor pack_with_operators(const at::Tensor& codes, int bits) {
  check_bits(bits);
  const auto rows = codes.size(0), columns = codes.size(1), words = packed_columns(columns, bits);
  if (codes.numel() == 0) return at::empty({rows, words}, codes.options().dtype(at::kInt));
  const auto largest = codes.amax(1);
  if (largest.max().item<int>() >> bits != 0) fail_too_large(largest.argmax().item<std::int64_t>(), bits);
  auto packed = at::zeros({rows, words * kWordBytes}, codes.options());
  const auto step = std::max<std::int64_t>(1, kCodesAtOnce / columns);
  for (std::int64_t row = 0; row < rows; row += step) {
    const auto count = std::min(step, rows - row);
    const auto bytes = packed_bytes(codes.narrow(0, row, count), bits);
    const auto used = std::min(bytes.size(1), packed.size(1));  // the last word may hold less than a unit, or more
    packed.narrow(0, row, count).narrow(1, 0, used).copy_(bytes.narrow(1, 0, used));
  }
  return packed.view(at::kInt);
}

namespace {

void check_packed(const at::Tensor& packed, int bits, std::int64_t columns) {
  check_bits(bits);
  if (packed.dim() != 2 || packed.scalar_type() != at::kInt || packed.size(1) != packed_columns(columns, bits)) {
    fail("{} codes of {} bits a row are {} words of 32 bits; found {} of shape {}", columns, bits,
         packed_columns(columns, bits), type_name(packed.scalar_type()), c10::str(packed.sizes()));
  }
}

at::Tensor unpack_on_cpu(const at::Tensor& packed, int bits, std::int64_t columns) {
  const auto source = packed.contiguous();
  const auto rows = source.size(0), size = source.size(1) * kWordBytes;
  auto codes = at::empty({rows, columns}, at::kByte);
  const auto* from = static_cast<const std::uint8_t*>(source.const_data_ptr());
  auto* to = codes.mutable_data_ptr<std::uint8_t>();
  at::parallel_for(0, rows, rows_per_task(columns), [&](std::int64_t begin, std::int64_t end) {
    for (auto row = begin; row < end; ++row) unpack_row(from + row * size, size, bits, to + row * columns, columns);
  });
  return codes;
}

}  // namespace

at::Tensor unpack_rows(const at::Tensor& packed, int bits, std::int64_t columns) {
  check_packed(packed, bits, columns);
  if (packed.is_cpu()) return unpack_on_cpu(packed, bits, columns);
  return has_unpacking_kernel(packed.device()) ? unpack_on_gpu(packed, bits, columns)
                                               : unpack_with_operators(packed, bits, columns);
}

at::Tensor unpack_with_operators(const at::Tensor& packed, int bits, std::int64_t columns) {
  check_packed(packed, bits, columns);
  const int in_unit = codes_of_unit(bits), unit_bytes = bits * in_unit / 8;
  const auto rows = packed.size(0), units = (columns + in_unit - 1) / in_unit;
  auto codes = at::empty({rows, units, in_unit}, packed.options().dtype(at::kByte));
  if (codes.numel() == 0) return codes.view({rows, columns});
  auto bytes = packed.contiguous().view(at::kByte);
  const auto missing = units * unit_bytes - bytes.size(1);  // the last unit may end beyond the last word
  if (missing > 0) bytes = at::constant_pad_nd(bytes, {0, missing});
  const auto in_units = bytes.narrow(1, 0, units * unit_bytes).view({rows, units, unit_bytes});
  for (int code = 0; code < in_unit; ++code) {
    const int first = code * bits / 8, last = ((code + 1) * bits - 1) / 8, shift = code * bits - first * 8;
    auto values = in_units.select(2, first).bitwise_right_shift(shift);
    if (last > first) values.bitwise_or_(in_units.select(2, last).bitwise_left_shift(8 - shift));
    codes.select(2, code).copy_(values.bitwise_and_((1 << bits) - 1));
  }
  return codes.flatten(1).narrow(1, 0, columns).contiguous();
}

std::int64_t whole_columns(std::int64_t columns, int bits) {
  const std::int64_t in_word = kWordBits / bits;
  return (columns + in_word - 1) / in_word;
}

at::Tensor unpack_whole_rows(const at::Tensor& packed, int bits, std::int64_t columns) {
  check_bits(bits);
  const auto shifts = at::arange(kWordBits / bits, at::kInt) * bits;
  const auto codes = packed.unsqueeze(2).bitwise_right_shift(shifts).bitwise_and_((1 << bits) - 1);
  return codes.flatten(1).slice(1, 0, columns).to(at::kByte).contiguous();
}

}  // namespace normtweak::formats
