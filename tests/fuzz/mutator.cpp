#include "mutator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <string_view>
#include <utility>

#include "json_values.h"

namespace normtweak::fuzz {
namespace {

// The standard's distributions differ between libraries; the generator does not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : generator_(seed) {}

  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : generator_() % limit; }
  std::size_t up_to(std::size_t limit) { return 1 + below(limit); }

  template <class List>
  const auto& of(const List& list) {
    return list[below(std::size(list))];
  }

 private:
  std::mt19937_64 generator_;
};

// Most blocks are short, as fields are; some go on to the end.
Stretch any_block(std::string_view text, Random& random) {
  const auto begin = random.below(text.size());
  const auto rest = text.size() - begin;
  return {begin, std::min(rest, random.up_to(random.below(4) == 0 ? rest : 16))};
}

void flip_bits(std::string& text, const std::string&, Random& random) {
  for (auto left = random.up_to(8); left > 0 && !text.empty(); --left) {
    auto& byte = text[random.below(text.size())];
    byte = static_cast<char>(byte ^ (1 << random.below(8)));
  }
}

void set_byte(std::string& text, const std::string&, Random& random) {
  constexpr std::string_view kBytes("\0\1\x7f\x80\xff\"\\{[:, \n\x1b", 14);
  if (!text.empty()) text[random.below(text.size())] = random.of(kBytes);
}

void cut(std::string& text, const std::string&, Random& random) { text.resize(random.below(text.size() + 1)); }

void erase_block(std::string& text, const std::string&, Random& random) {
  const auto block = any_block(text, random);
  text.erase(block.begin, block.size);
}

void repeat_block(std::string& text, const std::string&, Random& random) {
  constexpr std::size_t kLongest = 1 << 16;  // grown inputs take time and tell nothing new
  const auto block = any_block(text, random);
  const auto copy = text.substr(block.begin, block.size);
  for (auto left = random.up_to(16); left > 0 && text.size() < kLongest; --left) text.insert(block.begin, copy);
}

void splice(std::string& text, const std::string& other, Random& random) {
  const auto block = any_block(other, random);
  const auto place = random.below(text.size() + 1);
  text.replace(place, random.below(2) == 0 ? 0 : block.size, other, block.begin, block.size);
}

// Over a length or an offset, wherever one may be.
void write_number(std::string& text, const std::string&, Random& random) {
  constexpr std::array<std::uint64_t, 14> kNumbers = {0,
                                                      1,
                                                      2,
                                                      0x7f,
                                                      0xffff,
                                                      0x10000,
                                                      0x7fffffff,
                                                      0x80000000,
                                                      0xffffffff,
                                                      0x100000000,
                                                      0xfffffffff,
                                                      0x3fffffffffffffff,
                                                      0x8000000000000000,
                                                      0xffffffffffffffff};
  const auto number = random.of(kNumbers);
  const std::size_t size = random.below(2) == 0 ? 4 : 8;
  if (text.size() >= size) std::memcpy(text.data() + random.below(text.size() - size + 1), &number, size);
}

void replace_value(std::string& text, const std::string& other, Random& random) {
  static const std::array<std::string, 28> kValues = {"null",
                                                      "true",
                                                      "false",
                                                      "0",
                                                      "-1",
                                                      "1.5",
                                                      "1e308",
                                                      "1e999",
                                                      "255",
                                                      "2147483647",
                                                      "4294967296",
                                                      "9223372036854775807",
                                                      "-9223372036854775808",
                                                      "18446744073709551615",
                                                      R"("")",
                                                      R"("\n\u001b[2J")",
                                                      R"("\u0000")",
                                                      R"("\ud83d\ude00")",
                                                      R"("..")",
                                                      R"("re:((a*)*)*$")",
                                                      R"("(\\w|\\w\\w)*\\K$")",
                                                      "[]",
                                                      "{}",
                                                      "[null]",
                                                      R"({"":{}})",
                                                      '"' + std::string(5000, 'a') + '"',
                                                      std::string(50'000, '[') + std::string(50'000, ']'),
                                                      "[1" + std::string(500, ',') + "1]"};
  const auto values = json_values(text);
  if (values.empty()) return;
  const auto value = random.of(values);
  const auto others = json_values(other);
  if (others.empty() || random.below(2) == 0) {
    text.replace(value.begin, value.size, random.of(kValues));
  } else {
    const auto theirs = random.of(others);
    text.replace(value.begin, value.size, other, theirs.begin, theirs.size);
  }
}

void swap_values(std::string& text, const std::string&, Random& random) {
  const auto values = json_values(text);
  if (values.empty()) return;
  auto first = random.of(values), second = random.of(values);
  if (first.begin > second.begin) std::swap(first, second);
  if (first.begin + first.size > second.begin) return;  // one lies within the other
  const auto moved = text.substr(first.begin, first.size);
  text.replace(first.begin, first.size, text, second.begin, second.size);
  text.replace(second.begin + second.size - first.size, second.size, moved);
}

using Mutation = void (*)(std::string& text, const std::string& other, Random& random);
constexpr std::array<Mutation, 7> kOfBytes = {&flip_bits,    &set_byte, &cut,         &erase_block,
                                              &repeat_block, &splice,   &write_number};
constexpr std::array<Mutation, 2> kOfJson = {&replace_value, &swap_values};

}  // namespace

std::string Mutator::input(std::uint64_t run) const {
  Random random((seed_ << 32) ^ run);
  auto text = random.of(seeds_);
  const bool stays_json = random.below(2) == 0;  // the other half rarely gets past the parser
  for (auto left = random.up_to(4); left > 0; --left) {
    const auto mutation = stays_json ? random.of(kOfJson) : random.of(kOfBytes);
    mutation(text, random.of(seeds_), random);
  }
  return text;
}

}  // namespace normtweak::fuzz
