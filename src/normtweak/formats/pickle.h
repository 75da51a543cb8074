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
// Traps: an object may be used many times through its number (BINGET), or hold itself. Python numbers nearly all
// objects and uses few of the numbers: only those are kept. Text of Python 2 has opcodes of its own.
#pragma once
#include "normtweak/formats/pickle_value.h"

namespace normtweak::formats {

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
