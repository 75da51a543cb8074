#include "normtweak/formats/module_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

constexpr std::string_view kRegexPrefix = "re:";
constexpr std::uint32_t kMostSteps = 100'000;  // PCRE2 step limit, since an untrusted pattern may backtrack forever
constexpr std::uint32_t kMostHeap = 48 << 10;  // KiB of matcher memory; each capture group costs some per step

std::shared_ptr<void> compile(std::string_view expression) {
  int code = 0;
  std::size_t position = 0;
  auto* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                                 PCRE2_ANCHORED | PCRE2_UTF, &code, &position, nullptr);
  if (compiled == nullptr) {
    std::array<PCRE2_UCHAR, 128> message = {};
    pcre2_get_error_message(code, message.data(), message.size());
    fail("`re:{}` is no regular expression, at character {}: {}", expression, position,
         reinterpret_cast<const char*>(message.data()));
  }
  return {compiled, [](void* regex) { pcre2_code_free(static_cast<pcre2_code*>(regex)); }};
}

}  // namespace

bool ModulePattern::is_regex(std::string_view target) { return target.starts_with(kRegexPrefix); }

ModulePattern::ModulePattern(std::string text) : text_(std::move(text)) {
  regex_ = compile(std::string_view(text_).substr(kRegexPrefix.size()));
}

bool ModulePattern::matches(std::string_view module) const {
  const auto* regex = static_cast<const pcre2_code*>(regex_.get());
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
      pcre2_match_data_create_from_pattern(regex, nullptr), &pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> context(
      pcre2_match_context_create(nullptr), &pcre2_match_context_free);
  pcre2_set_match_limit(context.get(), kMostSteps);
  pcre2_set_heap_limit(context.get(), kMostHeap);
  const auto result =
      pcre2_match(regex, reinterpret_cast<PCRE2_SPTR>(module.data()), module.size(), 0, 0, data.get(), context.get());
  if (result < 0 && result != PCRE2_ERROR_NOMATCH) fail("`{}` cannot be matched against {}", text_, module);
  return result >= 0;
}

}  // namespace normtweak::formats
