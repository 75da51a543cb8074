// Reads numbers and text from bytes that may be truncated or malicious: every read is checked against the bytes that
// remain.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "normtweak/base/error.h"

namespace normtweak::formats {

class ByteCursor {
 public:
  ByteCursor(std::span<const std::byte> bytes, std::string_view origin) : bytes_(bytes), origin_(origin) {}

  std::size_t position() const { return position_; }
  std::string_view origin() const { return origin_; }
  std::size_t left() const { return bytes_.size() - position_; }
  std::span<const std::byte> rest() const { return bytes_.subspan(position_); }

  // A little-endian number. `what` describes it in error messages.
  template <class Number>
  Number number(std::string_view what) {
    static_assert(std::is_arithmetic_v<Number>);
    Number value;
    std::memcpy(&value, take(sizeof(Number), what).data(), sizeof(Number));
    return value;
  }

  // A u64 length, then that many bytes.
  std::string text(std::string_view what) {
    const auto bytes = take(number<std::uint64_t>(what), what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // The same for a name. Programs written in C would cut it at a zero byte.
  std::string name(std::string_view what) {
    auto name = text(what);
    if (name.find('\0') == std::string::npos) return name;
    fail("{}: {}, {}, holds a zero byte; the file is damaged", origin_, what, name);
  }

  // A count of items of at least `smallest` bytes each: a count that cannot fit is refused before anything is
  // allocated.
  std::uint64_t count(std::uint64_t announced, std::uint64_t smallest, std::string_view what) const {
    if (announced > left() / smallest) {
      fail("{}: {} {} are announced at byte {}, where only {} bytes are left; the file is damaged or cut short",
           origin_, announced, what, position_, left());
    }
    return announced;
  }

  std::span<const std::byte> take(std::uint64_t size, std::string_view what) {
    if (size > left()) {
      fail("{}: {} needs {} bytes at byte {}, where only {} are left; the file is damaged or cut short", origin_, what,
           size, position_, left());
    }
    const auto taken = bytes_.subspan(position_, size);
    position_ += size;
    return taken;
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view origin_;
  std::size_t position_ = 0;
};

}  // namespace normtweak::formats
