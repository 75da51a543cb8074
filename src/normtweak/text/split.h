// Splitting text at regex matches; the names of the behaviours are those of the `tokenizers` package.
#pragma once
#include <string_view>
#include <vector>

#include "normtweak/text/regex.h"

namespace normtweak::text {

enum class SplitBehavior {
  isolated,              // a piece of its own
  removed,               // dropped
  contiguous,            // neighbouring matches become one piece
  merged_with_previous,  // joined to the piece before it
  merged_with_next,      // joined to the piece after it
};

struct SplitRule {
  Regex regex;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  // the non-matching parts count as matches
};

// Appends the pieces of `text`, none of them empty.
void split(std::string_view text, const SplitRule& rule, std::vector<std::string_view>& pieces);

}  // namespace normtweak::text
