// The local cache of the huggingface_hub package, which `hf download` fills.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

namespace normtweak::model {

// Its path, whether it exists or not. Determined as in that package: from HF_HUB_CACHE, the older
// HUGGINGFACE_HUB_CACHE, HF_HOME, or XDG_CACHE_HOME; otherwise ~/.cache/huggingface/hub.
std::filesystem::path hub_cache();

// The folder of the latest downloaded revision of the model `id` ("organisation/name"); nullopt if there is none.
std::optional<std::filesystem::path> find_in_hub_cache(const std::string& id);

}  // namespace normtweak::model
