#include "normtweak/evaluate/text_rows.h"

#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <numeric>

namespace normtweak::evaluate {
namespace {

// Attention costs the square of a row's tokens; up to here that is little beside the linears of any model.
constexpr std::size_t kShortRow = 512;

using Branch = std::vector<std::size_t>;

std::size_t length(const std::vector<Continuation>& texts, const Branch& branch) {
  return inputs_of(texts[branch.front()]).size();
}

// In alphabetical order, texts that begin with others follow them.
std::vector<Branch> branches_of(const std::vector<Continuation>& texts) {
  std::vector<std::size_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](auto a, auto b) {
    return std::ranges::lexicographical_compare(inputs_of(texts[a]), inputs_of(texts[b]));
  });
  std::vector<Branch> branches;
  for (auto next = order.rbegin(); next != order.rend(); ++next) {
    const auto inputs = inputs_of(texts[*next]);
    const auto begins_last = [&] {
      const auto last = inputs_of(texts[branches.back().back()]);
      return inputs.size() <= last.size() && std::ranges::equal(inputs, last.first(inputs.size()));
    };
    if (branches.empty() || !begins_last()) branches.emplace_back();
    branches.back().push_back(*next);
  }
  return branches;
}

// Tokens that both begin with.
std::size_t common_beginning(std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

// Whether the branch, whose text has these inputs, is to stand in the row; if so, it does afterwards.
bool join(TextRow& row, const Branch& branch, std::span<const std::int64_t> first,
          std::span<const std::int64_t> inputs) {
  const auto count = row.branches.size();
  const auto beginning = std::min(row.beginning, common_beginning(first, inputs));
  // Each branch that was there gets longer by what the common beginning loses.
  const auto tokens = row.tokens + (count - 1) * (row.beginning - beginning) + inputs.size() - beginning;
  const bool saves = 4 * (row.tokens + inputs.size()) >= 4 * tokens + inputs.size();
  const auto most = std::max(kShortRow, 2 * std::max(first.size(), inputs.size()));
  if (beginning == 0 || !saves || tokens > most) return false;
  row.branches.push_back(branch);
  row.beginning = beginning;
  row.tokens = tokens;
  return true;
}

// Fills one row of a pass.
struct RowWriter {
  std::int64_t *ids, *positions, *branches;
  std::size_t at = 0;

  void write(std::span<const std::int64_t> inputs, std::size_t begin, std::size_t end, std::int64_t branch) {
    for (auto i = begin; i < end; ++i, ++at) {
      ids[at] = inputs[i];
      positions[at] = static_cast<std::int64_t>(i);
      branches[at] = branch;
    }
  }
};

}  // namespace

std::span<const std::int64_t> inputs_of(const Continuation& text) {
  return std::span(text.ids).first(text.ids.size() - 1);
}

std::vector<TextRow> share_rows(const std::vector<Continuation>& texts) {
  std::vector<TextRow> rows;
  for (const auto& branch : branches_of(texts)) {
    const auto inputs = inputs_of(texts[branch.front()]);
    if (!rows.empty() && join(rows.back(), branch, inputs_of(texts[rows.back().branches.front().front()]), inputs)) {
      continue;
    }
    rows.push_back({.branches = {branch}, .beginning = inputs.size(), .tokens = inputs.size()});
  }
  std::ranges::stable_sort(rows, std::ranges::greater(), &TextRow::tokens);
  return rows;
}

Pass make_pass(const std::vector<Continuation>& texts, std::span<const TextRow> rows, c10::Device device) {
  const auto width = static_cast<std::int64_t>(rows.front().tokens);
  const auto ids = at::zeros({std::ssize(rows), width}, at::kLong), positions = at::zeros_like(ids);
  const auto branches = at::ones_like(ids);
  std::vector<std::int64_t> places, next;
  std::int64_t start = 0;
  std::size_t longest = 0;
  for (const auto& row : rows) {
    RowWriter writer = {ids.mutable_data_ptr<std::int64_t>() + start,
                        positions.mutable_data_ptr<std::int64_t>() + start,
                        branches.mutable_data_ptr<std::int64_t>() + start};
    writer.write(inputs_of(texts[row.branches.front().front()]), 0, row.beginning, 0);
    std::int64_t number = 0;
    for (const auto& branch : row.branches) {
      const auto offset = static_cast<std::int64_t>(writer.at - row.beginning);  // of the branch's own tokens
      writer.write(inputs_of(texts[branch.front()]), row.beginning, length(texts, branch), ++number);
      longest = std::max(longest, length(texts, branch));
      for (const auto i : branch) {
        const auto& text = texts[i];
        const auto count = std::ssize(text.ids) - 1;
        for (auto at = count - text.predicted; at < count; ++at) {
          places.push_back(start + at + (at < static_cast<std::int64_t>(row.beginning) ? 0 : offset));
          next.push_back(text.ids[static_cast<std::size_t>(at) + 1]);
        }
      }
    }
    start += width;
  }
  Pass pass = {.ids = ids.to(device),
               .places = at::tensor(places, at::kLong).to(device),
               .next = at::tensor(next, at::kLong).to(device)};
  if (std::ranges::any_of(rows, [](const TextRow& row) { return row.branches.size() > 1; })) {
    pass.branches = {.positions = positions.to(device),
                     .branches = branches.to(device),
                     .length = static_cast<std::int64_t>(longest)};
  }
  return pass;
}

}  // namespace normtweak::evaluate
