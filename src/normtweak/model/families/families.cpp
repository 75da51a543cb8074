#include "normtweak/model/families/families.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "normtweak/base/error.h"

namespace normtweak::model {
namespace {

// To add a family: its file, and its row here.
constexpr std::array<const Family*, 2> kFamilies = {&kGpt2, &kLlama};

std::string supported_architectures() {
  std::vector<std::string_view> names;
  for (const auto* family : kFamilies) {
    names.insert(names.end(), family->architectures.begin(), family->architectures.end());
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

std::span<const Family* const> families() { return kFamilies; }

const Family& find_family(const Json& config, std::string_view origin) {
  const auto found = config.find("architectures");
  if (found == config.end() || !found->is_array() || found->empty() || !found->front().is_string()) {
    const auto* row = std::ranges::find(kFamilies, config.value("model_type", Json()),
                                        [](const Family* family) { return Json(family->gguf.model_type); });
    if (row != kFamilies.end()) return **row;
    fail("{}: neither `architectures` nor a `model_type` that is supported; supported are {}", origin,
         supported_architectures());
  }
  const auto architecture = found->front().get<std::string>();
  for (const auto* family : kFamilies) {
    if (std::ranges::find(family->architectures, architecture) != family->architectures.end()) return *family;
  }
  fail("{}: architecture {} is not supported; supported are {}", origin, architecture, supported_architectures());
}

const Family& find_gguf_family(std::string_view architecture, std::string_view origin) {
  std::vector<std::string_view> known;
  for (const auto* family : kFamilies) {
    if (family->gguf.architecture == architecture) return *family;
    known.push_back(family->gguf.architecture);
  }
  fail("{}: general.architecture {} is not supported; supported are {}", origin, architecture, fmt::join(known, ", "));
}

}  // namespace normtweak::model
