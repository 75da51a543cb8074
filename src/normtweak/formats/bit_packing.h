// Codes of 2 to 8 bits, packed densely into 32-bit words: code i of a row starts at bit i * bits, lowest bit first.
//
//     3 bits:   word 0  codes 0 .. 9, and the low 2 bits of code 10    (bit 0 of code 0 is bit 0 of the word)
//               word 1  the high bit of code 10, codes 11 .. 20, the low bit of code 21
//               ...     32 codes fill exactly `bits` words; the rest of the last word is zero
//
// Trap: this is the layout of compressed-tensors since 0.18. Before, a code never crossed a word boundary and the top
// bits of words stayed empty: identical for 2, 4 and 8 bits, different for 3, 5, 6 and 7. That one is only read.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak::formats {

// Number of words for a row of `columns` codes.
std::int64_t packed_columns(std::int64_t columns, int bits);

// codes: u8 [rows, columns] -> i32 [rows, packed_columns], on the same device. Throws Error if a code needs more than
// `bits` bits.
at::Tensor pack_rows(const at::Tensor& codes, int bits);

// The same by operators of LibTorch, which run where the codes are; pack_rows() takes a loop of its own on a CPU.
at::Tensor pack_with_operators(const at::Tensor& codes, int bits);

// packed: i32 [rows, packed_columns] -> u8 [rows, columns], on the same device. Throws Error naming the shape if it
// does not match.
at::Tensor unpack_rows(const at::Tensor& packed, int bits, std::int64_t columns);

// The same by operators of LibTorch; unpack_rows() has a loop of its own on a CPU, and a kernel on a GPU that compiles
// it.
at::Tensor unpack_with_operators(const at::Tensor& packed, int bits, std::int64_t columns);

// The same of the older layout, with 32 / bits whole codes in a word.
std::int64_t whole_columns(std::int64_t columns, int bits);
at::Tensor unpack_whole_rows(const at::Tensor& packed, int bits, std::int64_t columns);

}  // namespace normtweak::formats
