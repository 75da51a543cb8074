// Texts in as few tokens as they take: a beginning that several share is computed once.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "normtweak/evaluate/continuations.h"
#include "normtweak/evaluate/token_figures.h"

namespace normtweak::evaluate {

// What a model reads of a text: all but the last token, which predicts nothing.
std::span<const std::int64_t> inputs_of(const Continuation& text);

// Texts that are read off one row: each branch is the longest of its texts, and the others begin it. With one branch
// the row is that text; with more, its first `beginning` tokens stand once, and then the rest of each (see
// model/branched_rows.h).
struct TextRow {
  std::vector<std::vector<std::size_t>> branches;  // indices of texts, the longest of a branch first
  std::size_t beginning = 0;                       // of the inputs of all; with one branch, all of them
  std::size_t tokens = 0;                          // in the row
};

// The rows of all texts, the one of most tokens first. A text joins the row of others where that saves a quarter of its
// tokens or more, up to rows that attention is quick on. Every text is in one row.
std::vector<TextRow> share_rows(const std::vector<Continuation>& texts);

// Consecutive ones of these rows, padded to the first of them. The positions are those that texts predict from, row
// after row, branch after branch, text after text.
Pass make_pass(const std::vector<Continuation>& texts, std::span<const TextRow> rows, c10::Device device);

}  // namespace normtweak::evaluate
