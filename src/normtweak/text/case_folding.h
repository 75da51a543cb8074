// Characters that match several characters when case is ignored: ß and ss, İ and i with a dot above, ﬁ and fi.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::text {

// Unicode's full case folding of one character, as UTF-8.
std::string case_folded(char32_t point);

// All characters that fold to more than one, in order, and what they fold to.
struct WideFolding {
  char32_t point = 0;
  std::string folded;
};
const std::vector<WideFolding>& wide_foldings();

}  // namespace normtweak::text
