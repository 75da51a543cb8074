#include "normtweak/text/case_folding.h"

#include <utf8proc.h>

#include <array>

#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

// CaseFolding.txt (Unicode 14): the rows of status F lie between these; ẞ and U+0130 are among them.
constexpr char32_t kFirst = 0xDF, kLast = 0xFB17;

std::vector<WideFolding> find_wide_foldings() {
  std::vector<WideFolding> found;
  for (char32_t point = kFirst; point <= kLast; ++point) {
    if (point >= 0xD800 && point < 0xE000) continue;
    auto folded = case_folded(point);
    if (code_point_at(folded, 0).length < folded.size()) found.push_back({point, std::move(folded)});
  }
  return found;
}

}  // namespace

std::string case_folded(char32_t point) {
  std::array<utf8proc_int32_t, 8> points = {};
  int boundary = 0;
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(point), points.data(), points.size(),
                                             UTF8PROC_CASEFOLD, &boundary);
  std::string folded;
  for (utf8proc_ssize_t i = 0; i < count; ++i) append_utf8(folded, static_cast<char32_t>(points[i]));
  return folded;
}

const std::vector<WideFolding>& wide_foldings() {
  static const auto all = find_wide_foldings();
  return all;
}

}  // namespace normtweak::text
