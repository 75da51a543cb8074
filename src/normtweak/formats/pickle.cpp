#include "normtweak/formats/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <limits>
#include <new>

#include "normtweak/base/error.h"
#include "normtweak/formats/byte_cursor.h"

namespace normtweak::formats {
namespace {

using Kind = PickleValue::Kind;

constexpr std::uint8_t kOldest = 2, kNewest = 5;  // protocols

PickleValue number(std::int64_t value, Kind kind = Kind::integer) {
  PickleValue made;
  made.kind = kind;
  made.integer = value;
  return made;
}

class Machine {
 public:
  Machine(std::span<const std::byte> bytes, std::string_view origin, PickleNames& names, PickleMemory& memory)
      : cursor_(bytes, origin), names_(names), memory_(memory) {}

  Pickle run() {
    if (next<std::uint8_t>() != kProtocol) fail("{}: not a pickle of protocol 2 to 5", cursor_.origin());
    read_protocol();
    for (;;) {
      at_ = cursor_.position();
      const auto opcode = next<std::uint8_t>();
      if (opcode == kStop) return {pop(), cursor_.position()};
      if (!constant(opcode) && !text(opcode) && !collection(opcode) && !stack(opcode) && !object(opcode)) {
        fail(
            "{}: pickle opcode 0x{:02x} at byte {} is not read; the file is damaged, or not of torch.save with pickle "
            "protocol 2 to 5",
            cursor_.origin(), opcode, at_);
      }
    }
  }

 private:
  static constexpr std::uint8_t kProtocol = 0x80, kStop = '.';

  template <class Number>
  Number next() {
    return cursor_.number<Number>("a pickle");
  }

  [[noreturn]] void refuse(std::string_view problem) const {
    fail("{}: the pickle {} at byte {}; the file is damaged", cursor_.origin(), problem, at_);
  }

  void read_protocol() {
    const auto protocol = next<std::uint8_t>();
    if (protocol >= kOldest && protocol <= kNewest) return;
    fail("{}: pickle protocol {} is not read, only {} to {}", cursor_.origin(), protocol, kOldest, kNewest);
  }

  // Numbers and other scalars.
  bool constant(std::uint8_t opcode) {
    switch (opcode) {
      case 'N':
        push({});
        return true;
      case 0x88:
        push(number(1, Kind::boolean));
        return true;
      case 0x89:
        push(number(0, Kind::boolean));
        return true;
      case 'J':
        push(number(next<std::int32_t>()));
        return true;
      case 'K':
        push(number(next<std::uint8_t>()));
        return true;
      case 'M':
        push(number(next<std::uint16_t>()));
        return true;
      case 'G':
        push(real());
        return true;
      case 0x8a:
        push(long_integer(next<std::uint8_t>()));
        return true;
      case 0x8b:
        push(long_integer(next<std::uint32_t>()));
        return true;
      default:
        return false;
    }
  }

  PickleValue real() {  // the only big-endian number
    PickleValue made;
    made.kind = Kind::real;
    made.real = std::bit_cast<double>(__builtin_bswap64(next<std::uint64_t>()));
    return made;
  }

  PickleValue long_integer(std::uint64_t size) {
    const auto bytes = cursor_.take(size, "an integer of a pickle");
    if (size > sizeof(std::int64_t)) return view(bytes, Kind::large_integer);
    const bool is_negative = size > 0 && (std::to_integer<unsigned>(bytes.back()) & 0x80U) != 0;
    std::int64_t value = is_negative ? -1 : 0;
    std::memcpy(&value, bytes.data(), size);
    return number(value);
  }

  PickleValue view(std::span<const std::byte> bytes, Kind kind) const {
    if (bytes.size() > std::numeric_limits<std::uint32_t>::max()) refuse("has a text of more than 4 GiB");
    PickleValue made;
    made.kind = kind;
    made.size = static_cast<std::uint32_t>(bytes.size());
    made.text = reinterpret_cast<const char*>(bytes.data());
    return made;
  }

  template <class Length>
  bool push_view(Kind kind) {
    push(view(cursor_.take(next<Length>(), "a text of a pickle"), kind));
    return true;
  }

  bool text(std::uint8_t opcode) {
    switch (opcode) {
      case 'X':
        return push_view<std::uint32_t>(Kind::text);
      case 0x8c:
        return push_view<std::uint8_t>(Kind::text);
      case 0x8d:
        return push_view<std::uint64_t>(Kind::text);
      case 'T':
        return push_view<std::uint32_t>(Kind::text);  // of Python 2
      case 'U':
        return push_view<std::uint8_t>(Kind::text);
      case 'B':
        return push_view<std::uint32_t>(Kind::bytes);
      case 'C':
        return push_view<std::uint8_t>(Kind::bytes);
      case 0x8e:
        return push_view<std::uint64_t>(Kind::bytes);
      case 0x96:
        return push_view<std::uint64_t>(Kind::bytes);  // a bytearray
      default:
        return false;
    }
  }

  bool collection(std::uint8_t opcode) {
    switch (opcode) {
      case ')':
        push(memory_.tuple({}));
        return true;
      case 't':
        push(memory_.tuple(above_mark()));
        return true;
      case 0x85:
        push_tuple(1);
        return true;
      case 0x86:
        push_tuple(2);
        return true;
      case 0x87:
        push_tuple(3);
        return true;
      case ']':
      case 0x8f:
        push(memory_.items(Kind::list));
        return true;  // also a set
      case '}':
        push(memory_.items(Kind::dict));
        return true;
      case 0x91:
        push_list(above_mark());
        return true;  // a frozen set
      case 'a':
        add(Kind::list, take(1));
        return true;
      case 's':
        add(Kind::dict, take(2));
        return true;
      case 'e':
      case 0x90:
        add(Kind::list, above_mark());
        return true;
      case 'u':
        add(Kind::dict, above_mark());
        return true;
      default:
        return false;
    }
  }

  void push_tuple(std::size_t count) { push(memory_.tuple(take(count))); }

  void push_list(std::span<const PickleValue> values) {
    const auto list = memory_.items(Kind::list);
    memory_.append(*list.items, values);
    push(list);
  }

  void add(Kind kind, std::span<const PickleValue> values) {
    if (stack_.size() <= fence() || !stack_.back().is(kind)) refuse("adds to what is no list or dict");
    if (kind == Kind::dict && values.size() % 2 != 0) refuse("adds a key without a value");
    memory_.append(*stack_.back().items, values);
  }

  bool stack(std::uint8_t opcode) {
    switch (opcode) {
      case '(':
        push_mark();
        return true;
      case '0':
        pop();
        return true;
      case '1':
        above_mark();
        return true;
      case '2':
        push(top());
        return true;
      case 'q':
        keep(next<std::uint8_t>());
        return true;
      case 'r':
        keep(next<std::uint32_t>());
        return true;
      case 0x94:
        keep(kept_.size());
        return true;
      case 'h':
        push(kept(next<std::uint8_t>()));
        return true;
      case 'j':
        push(kept(next<std::uint32_t>()));
        return true;
      default:
        return false;
    }
  }

  bool object(std::uint8_t opcode) {
    switch (opcode) {
      case kProtocol:
        read_protocol();
        return true;
      case 0x95:
        cursor_.count(next<std::uint64_t>(), 1, "bytes of a frame of a pickle");
        return true;
      case 'c':
        push_global();
        return true;
      case 0x93:
        push_stack_global();
        return true;
      case 'R':
      case 0x81:
        push_call();
        return true;
      case 'b':
        build();
        return true;
      case 'Q':
        push(names_.persistent(pop(), memory_));
        return true;
      default:
        return false;
    }
  }

  std::string_view line() {
    const auto rest = cursor_.rest();
    const auto length = std::string_view(reinterpret_cast<const char*>(rest.data()), rest.size()).find('\n');
    if (length == std::string_view::npos) refuse("has a name without an end");
    return view(cursor_.take(length + 1, "a name").first(length), Kind::text).as_text();
  }

  void push_global() {
    const auto module = line();
    push(names_.global(module, line()));
  }

  void push_stack_global() {
    const auto names = take(2);
    if (!names[0].is(Kind::text) || !names[1].is(Kind::text)) refuse("names an object by what is no text");
    push(names_.global(names[0].as_text(), names[1].as_text()));
  }

  void push_call() {
    const auto pair = take(2);
    if (!pair[0].is(Kind::named) || !pair[1].is(Kind::tuple)) refuse("calls what cannot be called");
    push(names_.call(pair[0], pair[1].as_tuple(), memory_));
  }

  // Sets attributes of an object: those of an OrderedDict, a tensor or a parameter hold no weights.
  void build() {
    pop();
    if (!top().is(Kind::dict) && !top().is(Kind::named)) refuse("sets attributes of what has none");
  }

  std::size_t fence() const { return marks_.empty() ? 0 : marks_.back(); }

  void push(const PickleValue& value) {
    if (stack_.size() == stack_.capacity()) memory_.spend(2 * (stack_.size() + 1) * sizeof value);
    stack_.push_back(value);
  }

  void push_mark() {
    if (marks_.size() == marks_.capacity()) memory_.spend((marks_.size() + 1) * sizeof(std::size_t));
    marks_.push_back(stack_.size());
  }

  const PickleValue& top() const {
    if (stack_.size() <= fence()) refuse("takes a value from an empty stack");
    return stack_.back();
  }

  PickleValue pop() {
    const auto value = top();
    stack_.pop_back();
    return value;
  }

  // The topmost values, in the order in which they were pushed; valid until the next call.
  std::span<const PickleValue> take(std::size_t count) {
    if (stack_.size() < fence() + count) refuse("takes a value from an empty stack");
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(count);
    taken_.assign(first, stack_.end());
    stack_.erase(first, stack_.end());
    return taken_;
  }

  std::span<const PickleValue> above_mark() {
    if (marks_.empty()) refuse("looks for a mark that is not there");
    const auto count = stack_.size() - marks_.back();
    const auto values = take(count);
    marks_.pop_back();
    return values;
  }

  void keep(std::size_t number) {
    // Python numbers objects in their order, so that there are fewer than bytes.
    if (number > cursor_.position()) refuse("keeps an object under a number that is too large");
    if (number >= kept_.size()) {
      if (number >= kept_.capacity()) {
        const auto capacity = std::max(number + 1, 2 * kept_.capacity());
        memory_.spend((capacity - kept_.capacity()) * sizeof(PickleValue));
        kept_.reserve(capacity);
        is_kept_.reserve(capacity);
      }
      kept_.resize(number + 1);
      is_kept_.resize(number + 1);
    }
    kept_[number] = top();
    is_kept_[number] = true;
  }

  const PickleValue& kept(std::size_t number) const {
    if (number >= kept_.size() || !is_kept_[number]) refuse("uses an object that it has not kept");
    return kept_[number];
  }

  ByteCursor cursor_;
  PickleNames& names_;
  PickleMemory& memory_;
  std::size_t at_ = 0;  // of the opcode
  std::vector<PickleValue> stack_, taken_, kept_;
  std::vector<bool> is_kept_;
  std::vector<std::size_t> marks_;  // heights of the stack
};

}  // namespace

void PickleMemory::spend(std::uint64_t bytes) {
  if (bytes > left_) {
    fail(
        "{}: the pickle in it makes far more objects than its tensors need; the file is damaged, or made to fill the "
        "memory",
        origin_);
  }
  left_ -= bytes;
}

PickleValue PickleMemory::tuple(std::span<const PickleValue> values) {
  PickleValue made;
  made.kind = Kind::tuple;
  made.size = static_cast<std::uint32_t>(values.size());
  made.tuple = nullptr;
  if (values.empty()) return made;
  spend(values.size_bytes());
  auto* copy = static_cast<PickleValue*>(tuples_.allocate(values.size_bytes(), alignof(PickleValue)));
  std::uninitialized_copy(values.begin(), values.end(), copy);
  made.tuple = copy;
  return made;
}

PickleValue PickleMemory::items(Kind kind) {
  spend(sizeof(PickleItems));
  PickleValue made;
  made.kind = kind;
  made.items = &items_.emplace_back();
  return made;
}

void PickleMemory::append(PickleItems& items, std::span<const PickleValue> values) {
  auto& all = items.values;
  const auto needed = all.size() + values.size();
  if (needed > all.capacity()) {
    const auto capacity = std::max(needed, 2 * all.capacity());
    spend((capacity - all.capacity()) * sizeof(PickleValue));
    all.reserve(capacity);
  }
  all.insert(all.end(), values.begin(), values.end());
}

Pickle read_pickle(std::span<const std::byte> bytes, std::string_view origin, PickleNames& names,
                   PickleMemory& memory) {
  return Machine(bytes, origin, names, memory).run();
}

}  // namespace normtweak::formats
