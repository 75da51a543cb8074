#include "normtweak/formats/bit_packing.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

constexpr int kWordBits = 32;

// A task needs a few thousand codes to be worth a thread.
std::int64_t rows_per_task(std::int64_t columns) { return std::max<std::int64_t>(1, 32768 / (columns + 1)); }

// Returns the bitwise OR of all codes, which shows whether any was too large.
unsigned int pack_row(const std::uint8_t* codes, std::int64_t columns, int bits, std::uint32_t* words) {
  std::uint64_t waiting = 0;
  int filled = 0;
  unsigned int seen = 0;
  for (std::int64_t i = 0; i < columns; ++i) {
    seen |= codes[i];
    waiting |= std::uint64_t{codes[i]} << filled;
    filled += bits;
    if (filled >= kWordBits) {
      *words++ = static_cast<std::uint32_t>(waiting);
      waiting >>= kWordBits;
      filled -= kWordBits;
    }
  }
  if (filled > 0) *words = static_cast<std::uint32_t>(waiting);
  return seen;
}

void unpack_row(const std::uint32_t* words, std::int64_t columns, int bits, std::uint8_t* codes) {
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  std::uint64_t waiting = 0;
  int filled = 0;
  for (std::int64_t i = 0; i < columns; ++i) {
    if (filled < bits) {
      waiting |= std::uint64_t{*words++} << filled;
      filled += kWordBits;
    }
    codes[i] = static_cast<std::uint8_t>(waiting & mask);
    waiting >>= bits;
    filled -= bits;
  }
}

void check_bits(int bits) {
  if (bits < 1 || bits > 8) fail("{} bits cannot be packed; 1 to 8 can", bits);
}

}  // namespace

std::int64_t packed_columns(std::int64_t columns, int bits) { return (columns * bits + kWordBits - 1) / kWordBits; }

at::Tensor pack_rows(const at::Tensor& codes, int bits) {
  check_bits(bits);
  const auto source = codes.contiguous();
  const auto rows = source.size(0), columns = source.size(1), words = packed_columns(columns, bits);
  auto packed = at::empty({rows, words}, at::kInt);
  const auto* from = source.const_data_ptr<std::uint8_t>();
  auto* to = reinterpret_cast<std::uint32_t*>(packed.mutable_data_ptr<std::int32_t>());
  at::parallel_for(0, rows, rows_per_task(columns), [&](std::int64_t begin, std::int64_t end) {
    for (auto row = begin; row < end; ++row) {
      if (pack_row(from + row * columns, columns, bits, to + row * words) >> bits != 0) {
        fail("row {} holds a code that needs more than {} bits", row, bits);
      }
    }
  });
  return packed;
}

at::Tensor unpack_rows(const at::Tensor& packed, int bits, std::int64_t columns) {
  check_bits(bits);
  if (packed.dim() != 2 || packed.scalar_type() != at::kInt || packed.size(1) != packed_columns(columns, bits)) {
    fail("{} codes of {} bits a row are {} words of 32 bits; found {} of shape {}", columns, bits,
         packed_columns(columns, bits), type_name(packed.scalar_type()), c10::str(packed.sizes()));
  }
  const auto source = packed.contiguous();
  const auto rows = source.size(0), words = source.size(1);
  auto codes = at::empty({rows, columns}, at::kByte);
  const auto* from = reinterpret_cast<const std::uint32_t*>(source.const_data_ptr<std::int32_t>());
  auto* to = codes.mutable_data_ptr<std::uint8_t>();
  at::parallel_for(0, rows, rows_per_task(columns), [&](std::int64_t begin, std::int64_t end) {
    for (auto row = begin; row < end; ++row) unpack_row(from + row * words, columns, bits, to + row * columns);
  });
  return codes;
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
