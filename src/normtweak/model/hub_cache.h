// The local cache of the huggingface_hub package, which `hf download` fills.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

namespace normtweak::model {

// Where it is, there or not. As that package does, looks at HF_HUB_CACHE, at the older HUGGINGFACE_HUB_CACHE, at
// HF_HOME and at XDG_CACHE_HOME, and takes ~/.cache/huggingface/hub where none is set.
std::filesystem::path hub_cache();

// The folder with the newest revision that was downloaded of the model `id` ("organisation/name"); nothing if there is
// none.
std::optional<std::filesystem::path> find_in_hub_cache(const std::string& id);

}  // namespace normtweak::model
