#include "normtweak/text/merges.h"

#include <bit>
#include <queue>
#include <utility>

#include "normtweak/text/metaspace.h"

namespace normtweak::text {
namespace {

std::uint64_t pair_key(std::int64_t left, std::int64_t right) {
  return (static_cast<std::uint64_t>(left) << 32) | static_cast<std::uint64_t>(right);
}

std::pair<std::string_view, std::string_view> read_merge(const JsonPart& part) {
  if (part.is_array()) {
    const auto halves = part.elements();
    if (halves.size() != 2) part.fail("expected two tokens, found {}", halves.size());
    return {halves[0].text(), halves[1].text()};
  }
  const std::string_view line = part.text();
  const auto space = line.find(' ');
  if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
    part.fail("expected two tokens with a space between them, found \"{}\"", line);
  }
  return {line.substr(0, space), line.substr(space + 1)};
}

bool has_space_within(std::string_view token) {
  while (token.starts_with(kMetaspace)) token.remove_prefix(kMetaspace.size());
  return token.find(kMetaspace) != std::string_view::npos;
}

}  // namespace

Merges::Merges(const JsonPart& part, const Vocabulary& vocabulary, std::size_t prefix) {
  if (!part.is_array()) part.fail("expected an array of merges");
  const auto elements = part.elements();
  slots_.resize(std::bit_ceil(2 * elements.size() + 1));
  std::uint32_t rank = 0;
  std::string whole;
  for (const auto line : elements) {
    // Lists that were copied from a merges.txt start with its first line.
    if (line.is_string() && line.text().starts_with("#version")) continue;
    const auto [left, right] = read_merge(line);
    const auto id_of = [&](std::string_view token) {
      const auto id = vocabulary.id_of(token);
      if (!id) line.fail("the token {} is not in the vocabulary", token);
      return *id;
    };
    if (right.size() < prefix) line.fail("the token {} has no continuing_subword_prefix", right);
    whole.assign(left).append(right.substr(prefix));
    join_words_ = join_words_ || has_space_within(whole);
    const Merge merge = {rank++, static_cast<std::int32_t>(id_of(whole))};
    put(pair_key(id_of(left), id_of(right)), merge);
  }
}

// The upper bits of a product depend on all bits of the pair.
std::size_t Merges::first_slot(std::uint64_t pair) const {
  return static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15) >> 32) & (slots_.size() - 1);
}

void Merges::put(std::uint64_t pair, Merge merge) {
  auto i = first_slot(pair);
  while (slots_[i].pair != kEmpty && slots_[i].pair != pair) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = {pair, merge};
}

const Merges::Merge* Merges::find(std::int64_t left, std::int64_t right) const {
  const auto pair = pair_key(left, right);
  for (auto i = first_slot(pair);; i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i].pair == pair) return &slots_[i].merge;
    if (slots_[i].pair == kEmpty) return nullptr;
  }
}

// A linked list of the word's symbols, and a priority queue of possible merges. Queue entries are not removed when a
// neighbour is merged away; stale entries are recognised when popped.
struct Merges::Symbol {
  std::int64_t id = 0;
  std::size_t previous = 0, next = 0;
  bool alive = true;
};

class Merges::Work {
 public:
  Work(const Merges& merges, const std::vector<std::int64_t>& ids) : merges_(merges), symbols_(ids.size()) {
    for (std::size_t i = 0; i < ids.size(); ++i) symbols_[i] = {ids[i], i - 1, i + 1, true};
    for (std::size_t i = 0; i < ids.size(); ++i) consider(i);
  }

  void run(std::vector<std::int64_t>& ids) {
    while (!queue_.empty()) {
      const auto candidate = queue_.top();
      queue_.pop();
      if (is_current(candidate)) merge(candidate);
    }
    ids.clear();
    for (const auto& symbol : symbols_) {
      if (symbol.alive) ids.push_back(symbol.id);
    }
  }

 private:
  struct Candidate {
    std::uint32_t rank;
    std::size_t left;
    std::int64_t result;
    bool operator<(const Candidate& other) const {  // the top of the queue is the largest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  bool exists(std::size_t place) const { return place < symbols_.size(); }  // the predecessor of the first is SIZE_MAX

  void consider(std::size_t left) {
    if (!exists(left) || !exists(symbols_[left].next)) return;
    const auto* merge = merges_.find(symbols_[left].id, symbols_[symbols_[left].next].id);
    if (merge != nullptr) queue_.push({merge->rank, left, merge->result});
  }

  // The current pair must merge to the same result; its rank may differ, as in the `tokenizers` package.
  bool is_current(const Candidate& candidate) const {
    const auto& left = symbols_[candidate.left];
    if (!left.alive || !exists(left.next)) return false;
    const auto* merge = merges_.find(left.id, symbols_[left.next].id);
    return merge != nullptr && merge->result == candidate.result;
  }

  void merge(const Candidate& candidate) {
    auto& left = symbols_[candidate.left];
    auto& right = symbols_[left.next];
    left.id = candidate.result;
    left.next = right.next;
    right.alive = false;
    if (exists(left.next)) symbols_[left.next].previous = candidate.left;
    consider(left.previous);
    consider(candidate.left);
  }

  const Merges& merges_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> queue_;
};

void Merges::apply(std::vector<std::int64_t>& ids) const {
  if (ids.size() > 1) Work(*this, ids).run(ids);
}

}  // namespace normtweak::text
