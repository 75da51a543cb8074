// What tests/oracles/text_oracle.py wrote.
#pragma once
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::tests {

inline std::filesystem::path oracle_folder() {
  const auto* folder = std::getenv("NORMTWEAK_TEXT_ORACLE");
  return folder == nullptr ? "NORMTWEAK_TEXT_ORACLE-is-not-set" : folder;
}

inline Json read_oracle(const std::string& name) { return read_json(oracle_folder() / name); }

inline text::Tokenizer open_tokenizer(const std::string& name) {
  const auto path = oracle_folder() / (name + ".json");
  return {read_json(path), path.string()};
}

using Ids = std::vector<std::int64_t>;

}  // namespace normtweak::tests
