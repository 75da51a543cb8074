// The local cache of the huggingface_hub package, which `hf download` fills.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

namespace normtweak::model {

// Its path, whether it exists or not. Determined as in that package (huggingface_hub/constants.py): from HF_HUB_CACHE,
// the older HUGGINGFACE_HUB_CACHE, HF_HOME, or XDG_CACHE_HOME; otherwise ~/.cache/huggingface/hub. As there, `~` and
// variables in them are replaced, and an empty value counts: it is the current folder.
std::filesystem::path hub_cache();

// Whether `id` can be that of a hub model: "name" or "organisation/name", by the rules of that package.
bool is_hub_id(const std::string& id);

// The folder of the latest downloaded revision of the model `id`; nullopt if the cache has no folder for the model.
// As that package does without a network, it asks refs/main for the revision. Throws Error naming the snapshots that
// are there if refs/main is missing, is not the name of a revision, or names one that is not there.
std::optional<std::filesystem::path> find_in_hub_cache(const std::string& id);

}  // namespace normtweak::model
