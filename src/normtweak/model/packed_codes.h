// Blocks whose codes are packed as tightly as their bits allow: half the memory and half the copies at 4 bits. Packed
// codes are i32 words (formats/bit_packing.h) in place of bytes, by which they are known.
#pragma once
#include <cstdint>
#include <vector>

#include "normtweak/model/block.h"

namespace normtweak::model {

// Bytes that packing saves of a weight, whose codes may be without values.
std::int64_t bytes_saved_by_packing(const weights::Weight& weight);

// Looks up which tensors of a block are codes to be packed. The block must outlive it.
class CodesToPack {
 public:
  explicit CodesToPack(const Block& block);

  // The codes packed, on the device where they are; any other tensor, and codes whose rows would not fill whole words,
  // as they are.
  at::Tensor packed(const at::Tensor& tensor) const;

 private:
  struct Codes {
    at::Tensor codes;
    int bits;
  };
  std::vector<Codes> all_;
};

// Whether any codes of it are packed.
bool has_packed_codes(const Block& block);

// The same with codes of a byte, on the device where they are.
Block with_unpacked_codes(const Block& block);
weights::Weight with_unpacked_codes(const weights::Weight& weight);

// The same block, packed or not, with codes that have the shape of unpacked ones and no values (meta device).
Block without_code_values(const Block& block);

}  // namespace normtweak::model
