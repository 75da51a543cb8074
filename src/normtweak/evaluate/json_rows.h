// Data sets as JSON lines: one object a line, with the fields of the original data set.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"

namespace normtweak::evaluate {

// One row, or an object in it. Every access throws Error naming file, line and field if the field is missing or of
// another kind.
class JsonRow {
 public:
  JsonRow(Json row, std::string origin, std::string within = "")
      : row_(std::move(row)), origin_(std::move(origin)), within_(std::move(within)) {}

  const std::string& origin() const { return origin_; }  // "FILE:LINE"

  std::string text(std::string_view field) const;
  std::vector<std::string> texts(std::string_view field) const;  // a list, not empty
  JsonRow object(std::string_view field) const;

  // A number, or a text with its digits, in [first, first + count): as an index from 0.
  std::size_t index(std::string_view field, std::size_t count, std::int64_t first = 0) const;

  [[noreturn]] void refuse(std::string_view field, std::string_view why) const;

 private:
  const Json& field(std::string_view name, std::string_view kind) const;

  Json row_;
  std::string origin_, within_;  // the path of the object in the row, with a dot at its end
};

// Calls `work` for each line that is not blank, at most `most` times; 0: for all. Throws Error naming file and line if
// one is no JSON.
void for_json_rows(const std::filesystem::path& path, std::int64_t most,
                   const std::function<void(const JsonRow&)>& work);

}  // namespace normtweak::evaluate
