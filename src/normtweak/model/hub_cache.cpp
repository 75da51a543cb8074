#include "normtweak/model/hub_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/base/files/user_path.h"

namespace normtweak::model {
namespace fs = std::filesystem;
namespace {

std::string variable(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

// Python's os.path.join.
std::string join(const std::string& folder, std::string_view name) {
  return fmt::format("{}{}{}", folder, folder.empty() || folder.ends_with('/') ? "" : "/", name);
}

std::string expanded(const std::string& path) { return expand_variables(expand_user(path)); }

bool is_plain(std::string_view name) {
  const auto is_plain_letter = [](unsigned char letter) {
    return std::isalnum(letter) != 0 || letter == '-' || letter == '_' || letter == '.';
  };
  const auto is_of_word = [](unsigned char letter) { return std::isalnum(letter) != 0 || letter == '_'; };
  return !name.empty() && std::ranges::all_of(name, is_plain_letter) && is_of_word(name.front()) &&
         is_of_word(name.back());
}

std::vector<std::string> snapshots_in(const fs::path& cached) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (fs::directory_iterator entry(cached / "snapshots", ignored), end; entry != end; entry.increment(ignored)) {
    names.push_back(entry->path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

// What to do about a cached model whose revision is not known.
std::string advice(const std::string& id, const fs::path& cached) {
  const auto names = snapshots_in(cached);
  if (names.empty()) return fmt::format("{} has no snapshot: run `hf download {}`", cached.string(), id);
  auto text = fmt::format("run `hf download {}`, or name a snapshot by its folder: {}", id,
                          (cached / "snapshots" / names.front()).string());
  if (names.size() > 1) text += fmt::format(", or {} beside it", names[1]);
  if (names.size() > 2) text += fmt::format(" and {} more", names.size() - 2);
  return text;
}

// The content of refs/main if it is the name of a folder. It comes from a file that anybody may have written, and must
// not lead out of the cache.
std::optional<std::string> read_revision(const fs::path& reference) {
  constexpr std::uintmax_t kLongest = 256;  // a commit has 40 characters; branches are names of folders too
  std::error_code unknown;
  if (!fs::is_regular_file(reference, unknown) || fs::file_size(reference, unknown) > kLongest) return std::nullopt;
  auto revision = read_file(reference);
  while (!revision.empty() && std::isspace(static_cast<unsigned char>(revision.back())) != 0) revision.pop_back();
  const bool is_name =
      std::ranges::all_of(revision, [](unsigned char letter) { return letter > ' ' && letter != '/'; });
  return !is_name || revision.empty() || revision == "." || revision == ".." ? std::nullopt : std::optional(revision);
}

}  // namespace

fs::path hub_cache() {
  const auto caches = variable("XDG_CACHE_HOME", join(expand_user("~"), ".cache"));
  const auto home = expanded(variable("HF_HOME", join(caches, "huggingface")));
  return expanded(variable("HF_HUB_CACHE", variable("HUGGINGFACE_HUB_CACHE", join(home, "hub"))));
}

bool is_hub_id(const std::string& id) {
  constexpr std::size_t kLongestName = 96;
  const auto slash = id.find('/');
  const auto name = slash == std::string::npos ? id : id.substr(slash + 1);
  return is_plain(name) && name.size() <= kLongestName &&
         (slash == std::string::npos || is_plain(id.substr(0, slash))) && id.find("--") == std::string::npos &&
         id.find("..") == std::string::npos && !id.ends_with(".git");
}

// "organisation/name" → hub/models--organisation--name/snapshots/REVISION, where refs/main contains REVISION.
std::optional<fs::path> find_in_hub_cache(const std::string& id) {
  if (!is_hub_id(id)) return std::nullopt;
  auto folder = "models--" + id;
  if (const auto slash = folder.find('/'); slash != std::string::npos) folder.replace(slash, 1, "--");
  const auto cached = hub_cache() / folder;
  if (!path_exists(cached)) return std::nullopt;
  const auto reference = cached / "refs" / "main";
  if (!path_exists(reference)) {
    fail("{}: refs/main is missing in its hub cache, so its revision is unknown; {}", id, advice(id, cached));
  }
  const auto revision = read_revision(reference);
  if (!revision)
    fail("{}: refs/main of its hub cache does not hold the name of a revision; {}", id, advice(id, cached));
  const auto snapshot = cached / "snapshots" / *revision;
  if (path_exists(snapshot)) return snapshot;
  fail("{}: refs/main of its hub cache names {}, which is not there; {}", id, *revision, advice(id, cached));
}

}  // namespace normtweak::model
