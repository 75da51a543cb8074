// Python pickles, protocols 2 to 5, as data: a program for a small stack machine, run here without ever calling what it
// names. Who reads one decides by a table what the names in it stand for (PickleNames).
//
//     80 02                     PROTO 2
//     7d 71 00                  EMPTY_DICT, BINPUT 0: keep the top of the stack as number 0
//     58 01 00 00 00 61         BINUNICODE, u32 length, "a"
//     63 m o d \n n a m e \n    GLOBAL: the Python object module.name
//     28 … 74 52                MARK … TUPLE, REDUCE: call it with this tuple
//     73 2e                     SETITEM, STOP: what is on the stack is the result
//
// Traps: an object may be used many times through its number (BINGET), or hold itself. Of each value a few bytes of
// pickle can make dozens of memory, so that memory has a limit. Text of Python 2 has opcodes of its own.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory_resource>
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

// Holds what values point to, until it goes.
class PickleMemory {
 public:
  // Throws Error naming `origin` beyond `most_bytes`.
  PickleMemory(std::uint64_t most_bytes, std::string_view origin) : left_(most_bytes), origin_(origin) {}

  PickleValue tuple(std::span<const PickleValue> values);
  PickleValue items(PickleValue::Kind kind);  // an empty list or dict
  void append(PickleItems& items, std::span<const PickleValue> values);
  void spend(std::uint64_t bytes);  // counts bytes that others take

 private:
  std::uint64_t left_;
  std::string_view origin_;
  std::pmr::monotonic_buffer_resource tuples_;
  std::deque<PickleItems> items_;
};

// What stands behind the Python objects that a pickle names. All throw Error for what they do not know.
class PickleNames {
 public:
  virtual ~PickleNames() = default;
  virtual PickleValue global(std::string_view module, std::string_view name) = 0;
  virtual PickleValue call(const PickleValue& function, std::span<const PickleValue> arguments,
                           PickleMemory& memory) = 0;
  virtual PickleValue persistent(const PickleValue& id, PickleMemory& memory) = 0;
};

struct Pickle {
  PickleValue value;
  std::size_t size = 0;  // bytes up to its end
};

// The pickle that `bytes` begin with; more may follow. Texts are views of `bytes`, all else is in `memory`. Throws
// Error naming `origin` and the place: an opcode that is unknown or of protocols 0 and 1, one that the stack does not
// suffice for, a pickle that is cut short, what PickleMemory or PickleNames refuse.
Pickle read_pickle(std::span<const std::byte> bytes, std::string_view origin, PickleNames& names, PickleMemory& memory);

}  // namespace normtweak::formats
