#include "normtweak/formats/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/formats/byte_cursor.h"

namespace normtweak::formats {
namespace {

using Bytes = std::span<const std::byte>;
using Kind = PickleValue::Kind;

constexpr std::uint8_t kOldest = 2, kNewest = 5;  // protocols
constexpr std::uint8_t kProtocol = 0x80, kStop = '.', kGet = 'h', kLongGet = 'j';
constexpr std::uint64_t kNodeBytes = 64;  // of a map, with a value

// What follows an opcode: so many bytes; or a length of 1, 4 or 8 bytes, and then so many bytes; or two lines.
constexpr int kLength1 = -1, kLength4 = -4, kLength8 = -8, kTwoLines = -9;

std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// A little-endian number of up to eight bytes.
std::uint64_t number_of(Bytes bytes) {
  std::uint64_t number = 0;
  std::memcpy(&number, bytes.data(), bytes.size());
  return number;
}

PickleValue integer(std::int64_t value, Kind kind = Kind::integer) {
  PickleValue made;
  made.kind = kind;
  made.integer = value;
  return made;
}

class Machine {
 public:
  Machine(Bytes bytes, std::string_view origin, PickleNames& names, PickleMemory& memory)
      : bytes_(bytes), cursor_(bytes, origin), names_(names), memory_(memory) {}

  Pickle run() {
    find_used();
    while (!result_) {
      at_ = cursor_.position();
      const auto next = instruction(cursor_);
      was_latest_ = std::exchange(is_latest_, false);
      (this->*next.opcode->act)(next.argument);
    }
    return {*result_, cursor_.position()};
  }

 private:
  struct Opcode {
    std::uint8_t code = 0;
    int follows = 0;
    void (Machine::*act)(Bytes argument) = nullptr;
  };
  static const std::array<Opcode, 50> kOpcodes;

  struct Instruction {
    const Opcode* opcode = nullptr;
    Bytes argument;  // without its length
  };

  static Instruction instruction(ByteCursor& cursor) {
    const auto at = cursor.position();
    const auto code = cursor.number<std::uint8_t>("a pickle");
    const auto* const found = std::ranges::find(kOpcodes, code, &Opcode::code);
    if (found != kOpcodes.end()) return {found, argument(cursor, found->follows)};
    fail(
        "{}: pickle opcode 0x{:02x} at byte {} is not read; the file is damaged, or not written by torch.save with "
        "pickle protocol {} to {}",
        cursor.origin(), code, at, kOldest, kNewest);
  }

  static Bytes argument(ByteCursor& cursor, int follows) {
    constexpr auto* kWhat = "a value in a pickle";
    if (follows >= 0) return cursor.take(static_cast<std::size_t>(follows), kWhat);
    if (follows != kTwoLines) {
      return cursor.take(number_of(cursor.take(static_cast<std::size_t>(-follows), kWhat)), kWhat);
    }
    const auto rest = text_of(cursor.rest());
    const auto first = rest.find('\n');
    const auto second = first == std::string_view::npos ? first : rest.find('\n', first + 1);
    if (second != std::string_view::npos) return cursor.take(second + 1, kWhat);
    fail("{}: a pickle has a name without an end at byte {}; the file is damaged", cursor.origin(), cursor.position());
  }

  // Makes room for the objects whose numbers are used. Also checks that the pickle begins and ends.
  void find_used() {
    ByteCursor cursor(bytes_, cursor_.origin());
    if (!bytes_.empty() && bytes_.front() != std::byte{kProtocol}) {
      fail("{}: not a pickle of protocol {} to {}", cursor.origin(), kOldest, kNewest);
    }
    for (auto next = instruction(cursor); next.opcode->code != kStop; next = instruction(cursor)) {
      if (next.opcode->code != kGet && next.opcode->code != kLongGet) continue;
      if (kept_.try_emplace(number_of(next.argument)).second) memory_.spend(kNodeBytes);
    }
  }

  [[noreturn]] void refuse(std::string_view problem) const {
    fail("{}: the pickle in it {} at byte {}; the file is damaged", cursor_.origin(), problem, at_);
  }

  void check_protocol(Bytes argument) {
    const auto protocol = number_of(argument);
    if (protocol >= kOldest && protocol <= kNewest) return;
    fail("{}: pickle protocol {} is not read, only {} to {}", cursor_.origin(), protocol, kOldest, kNewest);
  }

  void check_frame(Bytes argument) { cursor_.count(number_of(argument), 1, "bytes of a frame of a pickle"); }

  void stop(Bytes) { result_ = pop(); }

  // Scalars.
  void push_none(Bytes) { push({}); }
  void push_true(Bytes) { push(integer(1, Kind::boolean)); }
  void push_false(Bytes) { push(integer(0, Kind::boolean)); }
  void push_unsigned(Bytes argument) { push(integer(static_cast<std::int64_t>(number_of(argument)))); }

  void push_signed(Bytes argument) {  // of any size, and of none
    if (argument.size() > sizeof(std::int64_t)) return push(view(argument, Kind::large_integer));
    const bool is_negative = !argument.empty() && (argument.back() & std::byte{0x80}) != std::byte{0};
    std::int64_t value = is_negative ? -1 : 0;
    std::memcpy(&value, argument.data(), argument.size());
    push(integer(value));
  }

  void push_real(Bytes argument) {  // the only big-endian number
    PickleValue made;
    made.kind = Kind::real;
    made.real = std::bit_cast<double>(__builtin_bswap64(number_of(argument)));
    push(made);
  }

  void push_text(Bytes argument) { push(view(argument, Kind::text)); }
  void push_bytes(Bytes argument) { push(view(argument, Kind::bytes)); }

  PickleValue view(Bytes bytes, Kind kind) const {
    if (bytes.size() > std::numeric_limits<std::uint32_t>::max()) refuse("has a text of more than 4 GiB");
    PickleValue made;
    made.kind = kind;
    made.size = static_cast<std::uint32_t>(bytes.size());
    made.text = text_of(bytes).data();
    return made;
  }

  // Tuples, lists (also for sets), dicts.
  template <std::size_t count>
  void push_tuple(Bytes) {
    push_tuple_of(take(count));
  }
  void push_marked_tuple(Bytes) { push_tuple_of(above_mark()); }

  void push_tuple_of(std::span<const PickleValue> values) {
    push(memory_.tuple(values));
    is_latest_ = true;
  }
  void push_list(Bytes) { push(memory_.items(Kind::list)); }
  void push_dict(Bytes) { push(memory_.items(Kind::dict)); }

  void push_marked_list(Bytes) {
    const auto list = memory_.items(Kind::list);
    memory_.append(*list.items, above_mark());
    push(list);
  }

  void append(Bytes) { add(Kind::list, take(1)); }
  void append_marked(Bytes) { add(Kind::list, above_mark()); }
  void set_item(Bytes) { add(Kind::dict, take(2)); }
  void set_marked_items(Bytes) { add(Kind::dict, above_mark()); }

  void add(Kind kind, std::span<const PickleValue> values) {
    if (!top().is(kind)) refuse("adds to what is no list or dict");
    if (kind == Kind::dict && values.size() % 2 != 0) refuse("adds a key without a value");
    memory_.append(*top().items, values);
  }

  // Objects that are kept under a number.
  void keep(Bytes argument) { keep_as(number_of(argument)); }
  void keep_next(Bytes) { keep_as(numbered_); }

  void keep_as(std::uint64_t number) {
    ++numbered_;
    const auto found = kept_.find(number);
    if (found != kept_.end()) found->second = top();
    is_latest_ = was_latest_ && found == kept_.end();
  }

  void push_kept(Bytes argument) {
    const auto& value = kept_.at(number_of(argument));
    if (!value) refuse("uses an object that it has not kept");
    push(*value);
  }

  // Python objects.
  void push_global(Bytes argument) {
    const auto lines = text_of(argument);
    const auto end = lines.find('\n');
    push(names_.global(lines.substr(0, end), lines.substr(end + 1, lines.size() - end - 2)));
  }

  void push_stack_global(Bytes) {
    const auto names = take(2);
    if (!names[0].is(Kind::text) || !names[1].is(Kind::text)) refuse("names an object by what is no text");
    push(names_.global(names[0].as_text(), names[1].as_text()));
  }

  void push_call(Bytes) {
    const auto pair = take(2);
    if (!pair[0].is(Kind::named) || !pair[1].is(Kind::tuple)) refuse("calls what cannot be called");
    const auto arguments = pair[1];
    const auto made = names_.call(pair[0], arguments.as_tuple(), memory_);
    if (was_latest_) memory_.drop_latest(arguments);
    push(made);
  }

  // Sets attributes of an object: those of an OrderedDict, a tensor or a parameter hold no weights.
  void build(Bytes) {
    pop();
    if (!top().is(Kind::dict) && !top().is(Kind::named)) refuse("sets attributes of what has none");
  }

  void push_persistent(Bytes) {
    const auto id = pop();
    const auto made = names_.persistent(id, memory_);
    if (was_latest_ && id.is(Kind::tuple)) memory_.drop_latest(id);
    push(made);
  }

  // The stack.
  void push_mark(Bytes) {
    memory_.spend(sizeof(std::size_t));
    marks_.push_back(stack_.size());
  }
  void drop(Bytes) { pop(); }
  void drop_marked(Bytes) { above_mark(); }
  void duplicate(Bytes) { push(top()); }

  std::size_t fence() const { return marks_.empty() ? 0 : marks_.back(); }

  void push(const PickleValue& value) {
    memory_.spend(sizeof value);
    stack_.push_back(value);
  }

  const PickleValue& top() const {
    if (stack_.size() <= fence()) refuse("takes a value from an empty stack");
    return stack_.back();
  }

  PickleValue pop() {
    const auto value = top();
    stack_.pop_back();
    memory_.allow(sizeof value);
    return value;
  }

  // The topmost values, in the order in which they were pushed; valid until the next call.
  std::span<const PickleValue> take(std::size_t count) {
    if (stack_.size() < fence() + count) refuse("takes a value from an empty stack");
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(count);
    if (count > taken_.capacity()) memory_.spend((count - taken_.capacity()) * sizeof(PickleValue));
    taken_.assign(first, stack_.end());
    stack_.erase(first, stack_.end());
    memory_.allow(count * sizeof(PickleValue));
    return taken_;
  }

  std::span<const PickleValue> above_mark() {
    if (marks_.empty()) refuse("looks for a mark that is not there");
    const auto values = take(stack_.size() - marks_.back());
    marks_.pop_back();
    memory_.allow(sizeof(std::size_t));
    return values;
  }

  Bytes bytes_;
  ByteCursor cursor_;
  PickleNames& names_;
  PickleMemory& memory_;
  std::size_t at_ = 0;  // of the opcode
  std::optional<PickleValue> result_;
  std::deque<PickleValue> stack_;
  std::vector<PickleValue> taken_;
  std::deque<std::size_t> marks_;  // heights of the stack
  std::uint64_t numbered_ = 0;     // objects so far
  // Whether the top of the stack is a tuple that nothing else holds: after this instruction, and before it.
  bool is_latest_ = false, was_latest_ = false;
  std::unordered_map<std::uint64_t, std::optional<PickleValue>> kept_;  // by number: those that are used
};

const std::array<Machine::Opcode, 50> Machine::kOpcodes = {{
    {'c', kTwoLines, &Machine::push_global},
    {'q', 1, &Machine::keep},
    {'r', 4, &Machine::keep},
    {kGet, 1, &Machine::push_kept},
    {kLongGet, 4, &Machine::push_kept},
    {0x94, 0, &Machine::keep_next},
    {'(', 0, &Machine::push_mark},
    {'t', 0, &Machine::push_marked_tuple},
    {')', 0, &Machine::push_tuple<0>},
    {0x85, 0, &Machine::push_tuple<1>},
    {0x86, 0, &Machine::push_tuple<2>},
    {0x87, 0, &Machine::push_tuple<3>},
    {'X', kLength4, &Machine::push_text},
    {0x8c, kLength1, &Machine::push_text},
    {0x8d, kLength8, &Machine::push_text},
    {'U', kLength1, &Machine::push_text},  // Python 2
    {'T', kLength4, &Machine::push_text},  // Python 2
    {'C', kLength1, &Machine::push_bytes},
    {'B', kLength4, &Machine::push_bytes},
    {0x8e, kLength8, &Machine::push_bytes},
    {0x96, kLength8, &Machine::push_bytes},  // a bytearray
    {'K', 1, &Machine::push_unsigned},
    {'M', 2, &Machine::push_unsigned},
    {'J', 4, &Machine::push_signed},
    {0x8a, kLength1, &Machine::push_signed},
    {0x8b, kLength4, &Machine::push_signed},
    {'G', 8, &Machine::push_real},
    {'N', 0, &Machine::push_none},
    {0x88, 0, &Machine::push_true},
    {0x89, 0, &Machine::push_false},
    {'Q', 0, &Machine::push_persistent},
    {'R', 0, &Machine::push_call},
    {0x81, 0, &Machine::push_call},
    {0x93, 0, &Machine::push_stack_global},
    {'b', 0, &Machine::build},
    {'}', 0, &Machine::push_dict},
    {'s', 0, &Machine::set_item},
    {'u', 0, &Machine::set_marked_items},
    {']', 0, &Machine::push_list},
    {0x8f, 0, &Machine::push_list},         // a set
    {0x91, 0, &Machine::push_marked_list},  // a frozen set
    {'a', 0, &Machine::append},
    {'e', 0, &Machine::append_marked},
    {0x90, 0, &Machine::append_marked},  // to a set
    {'0', 0, &Machine::drop},
    {'1', 0, &Machine::drop_marked},
    {'2', 0, &Machine::duplicate},
    {kProtocol, 1, &Machine::check_protocol},
    {0x95, 8, &Machine::check_frame},
    {kStop, 0, &Machine::stop},
}};

}  // namespace

Pickle read_pickle(Bytes bytes, std::string_view origin, PickleNames& names, PickleMemory& memory) {
  return Machine(bytes, origin, names, memory).run();
}

}  // namespace normtweak::formats
