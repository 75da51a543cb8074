#include "normtweak/evaluate/protocols.h"

#include <ATen/ops/tensor.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"

namespace normtweak::evaluate {
namespace {

constexpr Protocol kProtocols[] = {
    {.name = "gptq", .description = "windows of 2048 tokens, every token predicted", .context = 2048},
    {.name = "llama.cpp",
     .description = "windows of 512 tokens, each begun anew, the second half predicted",
     .context = 512,
     .special_as_text = true,
     .own_begin = true,
     .second_half = true},
    {.name = "lm-eval",
     .description = "documents as lm_eval's task wikitext has them, each token predicted once; per word and per byte",
     .documents = true},
};

}  // namespace

std::span<const Protocol> protocols() { return kProtocols; }

const Protocol& find_protocol(std::string_view name) {
  const auto* found = std::ranges::find(kProtocols, name, &Protocol::name);
  if (found != std::end(kProtocols)) return *found;
  std::string names;
  for (const auto& protocol : kProtocols) names += fmt::format("{}{}", names.empty() ? "" : ", ", protocol.name);
  fail_usage("--protocol {}: not one of {}", name, names);
}

Windows cut(const Protocol& protocol, const std::vector<std::int64_t>& ids, const std::vector<std::int64_t>& prefix,
            const WindowOptions& options, std::string_view origin) {
  const auto [context, max_tokens] = options;
  const std::int64_t least = protocol.second_half ? 3 : 2;
  if (context < least) {
    fail_usage("--context {}: at least {} tokens are needed by protocol {}", context, least, protocol.name);
  }
  if (max_tokens > 0 && max_tokens < context) {
    fail_usage("--max-tokens {}: less than one window of {}; give more or a smaller --context", max_tokens, context);
  }
  const auto found = static_cast<std::int64_t>(ids.size());
  if (found < context) {
    fail("{}: {}, shorter than one window of {}; give more text or a smaller --context", origin,
         counted(found, "token"), context);
  }
  const auto count = (max_tokens > 0 ? std::min(found, max_tokens) : found) / context;
  const auto all = at::tensor(ids, at::kLong).narrow(0, 0, count * context).view({count, context});
  if (protocol.own_begin && !prefix.empty()) all.select(1, 0).fill_(prefix.front());
  Windows windows = {.rows = {.ids = all, .mask = {}, .provenance = {}}, .scored = {}};
  if (protocol.second_half) windows.scored = {.first = context / 2, .last = false};
  return windows;
}

}  // namespace normtweak::evaluate
