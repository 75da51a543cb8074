// How much longer a text may become on its way through a tokenizer: each step of a tokenizer.json may double it.
#pragma once
#include <algorithm>
#include <cstddef>

namespace normtweak::text {

// Each piece of a text may grow by a factor, and all of them together by a further number of bytes: else a text of many
// pieces, or a file of many tokens, could be made any length.
class Growth {
 public:
  // Unicode normalisation expands one byte to at most eleven.
  explicit Growth(std::size_t factor = 16) : factor_(factor) {}

  std::size_t most(std::size_t size) const { return factor_ * size + beside_; }  // for a piece of that size, in bytes

  // A piece of `size` bytes has become `grown`, at most most(size).
  void take(std::size_t size, std::size_t grown) { beside_ -= std::max(grown, factor_ * size) - factor_ * size; }

 private:
  std::size_t factor_;
  std::size_t beside_ = std::size_t{1} << 20;
};

}  // namespace normtweak::text
