#include "normtweak/model/hub_cache.h"

#include <cctype>
#include <cstdlib>

#include "normtweak/base/file.h"

namespace normtweak::model {
namespace fs = std::filesystem;

fs::path hub_cache() {
  if (const char* cache = std::getenv("HF_HUB_CACHE")) return cache;
  if (const char* cache = std::getenv("HUGGINGFACE_HUB_CACHE")) return cache;
  if (const char* home = std::getenv("HF_HOME")) return fs::path(home) / "hub";
  if (const char* caches = std::getenv("XDG_CACHE_HOME")) return fs::path(caches) / "huggingface" / "hub";
  const char* home = std::getenv("HOME");
  return fs::path(home == nullptr ? "." : home) / ".cache" / "huggingface" / "hub";
}

// "organisation/name" → hub/models--organisation--name/snapshots/REVISION, where refs/main contains REVISION.
std::optional<fs::path> find_in_hub_cache(const std::string& id) {
  auto folder = "models--" + id;
  if (const auto slash = folder.find('/'); slash != std::string::npos) folder.replace(slash, 1, "--");
  const auto cached = hub_cache() / folder;
  if (!fs::exists(cached / "refs" / "main")) return std::nullopt;
  auto revision = read_file(cached / "refs" / "main");
  while (!revision.empty() && std::isspace(static_cast<unsigned char>(revision.back())) != 0) revision.pop_back();
  return cached / "snapshots" / revision;
}

}  // namespace normtweak::model
