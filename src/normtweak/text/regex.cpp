#include "normtweak/text/regex.h"

#include "normtweak/base/error.h"
#include "normtweak/text/regex_syntax.h"
#include "normtweak/text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace normtweak::text {
namespace {

// Ruby syntax: ^ and $ match at every line, and lines end with \n.
constexpr std::uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;

// Heap limit in bytes for matches that exceed the JIT stack: enough to backtrack at every byte of the text, for a regex
// of a few groups. PCRE2's own limit is 20 GB.
constexpr std::size_t kHeapPerByte = 256, kHeapBeside = 32 << 20;

std::string describe(int code) {
  std::array<PCRE2_UCHAR, 256> message = {};
  pcre2_get_error_message(code, message.data(), message.size());
  return {message.begin(), std::find(message.begin(), message.end(), 0)};
}

// A pattern as messages show it: some tokenizers have regexes of many hundred characters.
std::string abridged(std::string_view pattern) {
  constexpr std::size_t kMost = 80;
  if (pattern.size() <= kMost) return std::string(pattern);
  auto end = kMost;
  while ((static_cast<std::uint8_t>(pattern[end]) & 0xC0) == 0x80) --end;  // not within a character
  return fmt::format("{}...", pattern.substr(0, end));
}

// Per-thread match state, created once.
struct Workspace {
  Workspace()
      : match(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(std::size_t{32} << 10, std::size_t{16} << 20, nullptr)) {
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(match);
  }

  pcre2_match_data* match;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

Workspace& workspace() {
  thread_local Workspace instance;
  return instance;
}

}  // namespace

struct Regex::Code {
  explicit Code(pcre2_code* compiled) : code(compiled) {}
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }

  pcre2_code* code;
};

Regex::Regex(std::string_view pattern) : Regex(pattern, to_pcre2(pattern), kOptions) {}

Regex Regex::literal(std::string_view text) {
  Regex regex(text, text, PCRE2_UTF | PCRE2_LITERAL);
  regex.literal_ = text;
  return regex;
}

Regex::Regex(std::string_view shown, std::string_view pattern, unsigned options) : shown_(abridged(shown)) {
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE place = 0;
  auto* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &place,
                                 context.get());
  if (compiled == nullptr) fail("the regex {} does not compile: {}", shown_, describe(error));
  code_ = std::make_shared<const Code>(compiled);
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // without JIT, pcre2_match interprets
}

// PCRE2 would compare the whole literal at each place. memmem's work is linear.
void Regex::find_literal(std::string_view text, std::vector<Span>& matches) const {
  const auto* const end = text.data() + text.size();
  for (const auto* at = text.data(); at != end;) {
    const auto* const found =
        static_cast<const char*>(memmem(at, static_cast<std::size_t>(end - at), literal_.data(), literal_.size()));
    if (found == nullptr) return;
    at = found + literal_.size();
    matches.push_back({static_cast<std::size_t>(found - text.data()), static_cast<std::size_t>(at - text.data())});
  }
}

void Regex::find_all(std::string_view text, std::vector<Span>& matches) const {
  matches.clear();
  if (!literal_.empty()) return find_literal(text, matches);
  auto& space = workspace();
  const auto most_heap = kHeapBeside + kHeapPerByte * text.size();
  pcre2_set_heap_limit(space.context, static_cast<std::uint32_t>(std::min<std::size_t>(most_heap >> 10, UINT32_MAX)));
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto* found = pcre2_get_ovector_pointer(space.match);
  const auto match_from = [&](std::size_t from, std::uint32_t options) {
    return pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | options, space.match,
                       space.context);
  };
  for (std::size_t from = 0; from <= text.size();) {
    int status = match_from(from, 0);
    if (status == PCRE2_ERROR_JIT_STACKLIMIT) status = match_from(from, PCRE2_NO_JIT);  // uses the heap instead
    if (status == PCRE2_ERROR_NOMATCH) return;
    if (status < 0) fail("the regex {} gave up on a text of {} bytes: {}", shown_, text.size(), describe(status));
    const Span match = {found[0], found[1]};
    if (match.empty() && !matches.empty() && matches.back().end == match.end) {
      from += from < text.size() ? code_point_at(text, from).length : 1;
      continue;
    }
    matches.push_back(match);
    from = match.end;
  }
}

}  // namespace normtweak::text
