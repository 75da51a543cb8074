#include "normtweak/model/families/families.h"

#include <algorithm>
#include <array>

#include "normtweak/base/error.h"
#include "normtweak/model/families/check_family.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

// To add a family: its file, and its row here.
constexpr auto kFamilies = std::to_array<const Family*>(
    {&kBloom, &kChatglm, &kCohere, &kErnie45, &kFalcon, &kGemma,    &kGemma2,  &kGemma3,  &kGlm,      &kGlm4,
     &kGpt2,  &kGptNeox, &kGptj,   &kGranite, &kLlama,  &kMistral,  &kMixtral, &kMpt,     &kOlmo2,    &kOlmo3,
     &kOpt,   &kPhi,     &kPhi3,   &kQwen2,   &kQwen3,  &kQwen3Moe, &kSeedOss, &kSmollm3, &kStablelm, &kStarcoder2});

// They are too many for a message of one line.
std::string supported_families() {
  return fmt::format("the {} families that normtweak --help lists", kFamilies.size());
}

}  // namespace

UnsupportedFamily::UnsupportedFamily(std::string_view file, std::string_view found, std::string_view supported)
    : Error(fmt::format("{}: {}; supported are {}; `normtweak inspect` lists its tensors", file, found, supported)),
      file_(file),
      problem_(fmt::format("{}: {}; supported are {}", file, found, supported)) {}

std::span<const Family* const> families() {
  static const bool checked = [] {  // once, when the first model is opened
    for (const auto* family : kFamilies) check_family(*family);
    return true;
  }();
  static_cast<void>(checked);
  return kFamilies;
}

const Family& find_family(const Json& config, std::string_view origin) {
  const auto found = config.find("architectures");
  if (found == config.end() || !found->is_array() || found->empty() || !found->front().is_string()) {
    const auto row = std::ranges::find(families(), config.value("model_type", Json()),
                                       [](const Family* family) { return Json(family->name); });
    if (row != families().end()) return **row;
    throw UnsupportedFamily(origin, "neither `architectures` nor a `model_type` that is supported",
                            supported_families());
  }
  const auto architecture = found->front().get<std::string>();
  for (const auto* family : families()) {
    if (std::ranges::find(family->architectures, architecture) != family->architectures.end()) return *family;
  }
  throw UnsupportedFamily(origin, fmt::format("architecture {} is not supported", architecture), supported_families());
}

const Family& find_gguf_family(const GgufMetadata& metadata, std::string_view origin) {
  const Family* usual = nullptr;
  for (const auto* family : families()) {
    const auto& facts = family->gguf;
    if (facts.architecture.empty()) continue;
    if (facts.architecture != metadata.architecture()) continue;
    if (facts.owns == nullptr) {
      usual = family;
    } else if (facts.owns(metadata)) {
      return *family;
    }
  }
  if (usual != nullptr) return *usual;
  throw UnsupportedFamily(origin, fmt::format("general.architecture {} is not supported", metadata.architecture()),
                          supported_families());
}

}  // namespace normtweak::model
