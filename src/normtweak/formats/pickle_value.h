// What a pickle builds, as data: numbers, texts, tuples, lists, dicts, and what stands for objects that it names.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace normtweak::formats {

struct PickleItems;

struct PickleValue {
  enum class Kind : std::uint8_t { none, boolean, integer, large_integer, real, text, bytes, tuple, list, dict, named };
  Kind kind = Kind::none;
  std::uint32_t size = 0;  // of a text, in bytes; of a tuple, in values; what PickleNames wants it to be for `named`
  union {
    std::int64_t integer = 0;  // also 0 or 1 for a boolean, and a number of PickleNames for `named`
    double real;
    const char* text;          // also of bytes, and the little-endian bytes of an integer of more than 64 bits
    const PickleValue* tuple;  // `size` values
    PickleItems* items;        // of a list, set or dict
  };

  bool is(Kind wanted) const { return kind == wanted; }
  std::string_view as_text() const { return {text, size}; }
  std::span<const PickleValue> as_tuple() const { return {tuple, size}; }
};

struct PickleItems {
  std::vector<PickleValue> values;  // of a dict: key, value, key, value ...
};

// Holds what values point to, until it goes. What they may take is limited: a few bytes of pickle make dozens of
// memory.
class PickleMemory {
 public:
  PickleMemory(std::uint64_t most_bytes, std::string_view origin) : left_(most_bytes), origin_(origin) {}

  // All throw Error naming `origin` where more bytes are needed than are allowed.
  PickleValue tuple(std::span<const PickleValue> values);
  PickleValue items(PickleValue::Kind kind);  // an empty list or dict
  void append(PickleItems& items, std::span<const PickleValue> values);
  void spend(std::uint64_t bytes);  // counts bytes that others take

  void drop_latest(const PickleValue& tuple);  // nothing must use it; without effect if another one is later

  void allow(std::uint64_t bytes) { left_ += bytes; }  // besides those of the constructor

 private:
  std::uint64_t left_;
  std::string_view origin_;
  std::vector<std::unique_ptr<PickleValue[]>> blocks_;  // of tuples
  std::span<PickleValue> free_;                         // the rest of the latest
  std::deque<PickleItems> items_;
};

}  // namespace normtweak::formats
