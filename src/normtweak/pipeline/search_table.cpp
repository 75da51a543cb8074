#include "normtweak/pipeline/search_table.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/path_exists.h"

namespace normtweak::pipeline {
namespace {

// "--bits 4, and now 3"; empty if they are the same.
std::string difference(const Json& earlier, const Json& now) {
  for (const auto* one : {&earlier, &now}) {
    for (const auto& [key, value] : one->items()) {
      const auto had = earlier.find(key), has = now.find(key);
      if (had != earlier.end() && has != now.end() && *had == *has) continue;
      const auto text = [](const Json& of, Json::const_iterator at) { return at == of.end() ? "none" : show(*at); };
      const bool nested = had != earlier.end() && has != now.end() && had->is_object() && has->is_object();
      if (nested) return difference(*had, *has);
      return fmt::format("{} {}, and now {}", key, text(earlier, had), text(now, has));
    }
  }
  return "";
}

Json line_of(const TrialRecord& record) {
  Json line = {{"trial", record.number}, {"flags", record.flags}, {"score", record.score}, {"seconds", record.seconds}};
  line.update(record.figures);
  return line;
}

TrialRecord record_of(Json line, const std::string& origin) {
  TrialRecord record;
  try {
    record.number = line.at("trial").get<std::int64_t>();
    record.flags = line.at("flags");
    record.score = line.at("score").get<double>();
    record.seconds = line.at("seconds").get<double>();
  } catch (const Json::exception&) {
    fail("{}: is no trial of a search; name another folder", origin);
  }
  for (const auto* key : {"trial", "flags", "score", "seconds"}) line.erase(key);
  record.figures = std::move(line);
  return record;
}

// Of the tweaked state, whether the run kept it or not.
double tweaked_score(const TrialRecord& record) {
  const auto rejected = record.figures.find("rejected");
  return rejected == record.figures.end() ? record.score : rejected->at("kld").at("tweaked").get<double>();
}

}  // namespace

SearchTable::SearchTable(std::filesystem::path folder, const Json& settings, ProgressSink& progress)
    : path_(folder / "trials.jsonl") {
  const auto about = folder / "search.json";
  if (!path_exists(about)) {
    std::error_code gone;
    if (std::filesystem::exists(folder) && !std::filesystem::is_empty(folder, gone)) {
      fail("{}: holds other files; name a new folder, or that of an earlier search", folder.string());
    }
    write_file_atomically(about, [&](std::ostream& file) { file << settings.dump(2) << "\n"; });
    return;
  }
  if (const auto found = difference(read_json(about), settings); !found.empty()) {
    fail("{}: an earlier search there had other settings: {}; name another folder", folder.string(), found);
  }
  if (path_exists(path_)) read(progress);
}

void SearchTable::read(ProgressSink& progress) {
  const auto text = read_file(path_);
  std::string whole;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find('\n', at);
    if (end == std::string::npos) {
      progress.note(fmt::format("{}: the last line is unfinished, and its trial runs again", path_.string()));
      write_file_atomically(path_, [&](std::ostream& file) { file << whole; });
      break;
    }
    const auto origin = fmt::format("{}:{}", path_.string(), records_.size() + 1);
    records_.push_back(record_of(parse_json(std::string_view(text).substr(at, end - at), origin), origin));
    whole += text.substr(at, end + 1 - at);
    at = end + 1;
  }
}

void SearchTable::add(TrialRecord record) {
  record.number = static_cast<std::int64_t>(records_.size()) + 1;
  std::ofstream file(path_, std::ios::app);
  file << line_of(record).dump() << std::endl;
  if (!file) fail("{}: cannot be written; check the disk", path_.string());
  records_.push_back(std::move(record));
}

const TrialRecord* SearchTable::find(const Json& flags) const {
  const auto found = std::ranges::find(records_, flags, &TrialRecord::flags);
  return found == records_.end() ? nullptr : &*found;
}

std::vector<const TrialRecord*> SearchTable::ranked() const {
  std::vector<const TrialRecord*> all;
  for (const auto& record : records_) all.push_back(&record);
  std::ranges::stable_sort(all, {},
                           [](const auto* record) { return std::pair(record->score, tweaked_score(*record)); });
  return all;
}

}  // namespace normtweak::pipeline
