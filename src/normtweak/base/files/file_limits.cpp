#include "normtweak/base/files/file_limits.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "normtweak/base/device/memory.h"

namespace normtweak {
namespace {

constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB;

struct FileLimit {
  std::string_view name;  // the end of the path
  std::uint64_t bytes;
};

// The largest known: a config.json that names 50,000 linears has 8 MB, a tokenizer.json with 262,000 tokens 34 MB, the
// index of a million tensors 100 MB.
constexpr std::array<FileLimit, 18> kLimits = {{{"refs/main", 4 * kKiB},
                                                {"config.json", 16 * kMiB},
                                                {"generation_config.json", kMiB},
                                                {"tokenizer.json", 256 * kMiB},
                                                {"tokenizer_config.json", 64 * kMiB},
                                                {"special_tokens_map.json", 64 * kMiB},
                                                {"added_tokens.json", 64 * kMiB},
                                                {"vocab.json", 64 * kMiB},
                                                {"merges.txt", 64 * kMiB},
                                                {"tokenizer.model", 64 * kMiB},
                                                {"tiktoken.model", 64 * kMiB},
                                                {".tiktoken", 64 * kMiB},
                                                {"tekken.json", 64 * kMiB},
                                                {"LICENSE", 16 * kMiB},
                                                {"chat_template.jinja", 16 * kMiB},
                                                {"chat_template.json", 16 * kMiB},
                                                {"model.safetensors.index.json", 256 * kMiB},
                                                {"pytorch_model.bin.index.json", 256 * kMiB}}};

bool is_named(std::string_view path, std::string_view name) {
  const bool is_ending = name.starts_with('.');
  return path.ends_with(name) &&
         (is_ending || path.size() == name.size() || path[path.size() - name.size() - 1] == '/');
}

}  // namespace

std::uint64_t most_bytes_of(const std::filesystem::path& path) {
  const auto* row =
      std::ranges::find_if(kLimits, [&](const auto& limit) { return is_named(path.native(), limit.name); });
  if (row != kLimits.end()) return row->bytes;
  return static_cast<std::uint64_t>(std::max<std::int64_t>(available_host_memory(), 0)) / 2;
}

}  // namespace normtweak
