#include "normtweak/base/json.h"

#include "normtweak/base/error.h"
#include "normtweak/base/file.h"

namespace normtweak {

Json parse_json(std::string_view text, std::string_view origin) {
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    fail("{}: not valid JSON: {}", origin, error.what());
  }
}

Json read_json(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

}  // namespace normtweak
