#include "normtweak/formats/sharded.h"

#include <algorithm>
#include <climits>
#include <map>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/base/json/json.h"
#include "normtweak/base/json/json_events.h"
#include "normtweak/formats/name_index.h"

namespace normtweak::formats {
namespace fs = std::filesystem;
namespace {

// Hands each name and file of the weight map on.
class IndexReader : public JsonReceiver {
 public:
  using Add = std::function<void(const std::string& name, const std::string& file_name)>;

  IndexReader(const fs::path& index, Add add) : index_(index), add_(std::move(add)) {}

  bool has_weight_map() const { return has_weight_map_; }

  void key(std::string name) override {
    if (depth_ == 1) in_weight_map_ = name == "weight_map";
    if (depth_ == 1 && in_weight_map_ && has_weight_map_) fail("{}: `weight_map` occurs twice", index_.string());
    if (depth_ == 2 && in_weight_map_) name_ = std::move(name);
  }

  void value(Json scalar) override {
    if (depth_ == 0) refuse_whole(scalar.type_name());
    if (!in_weight_map_ || depth_ == 0) return;
    if (depth_ == 1) refuse_map();
    if (!scalar.is_string()) refuse_entry();
    add_(name_, scalar.get_ref<const std::string&>());
  }

  void open(bool is_object) override {
    if (depth_ == 0 && !is_object) refuse_whole("array");
    if (in_weight_map_ && depth_ == 1 && !is_object) refuse_map();
    if (in_weight_map_ && depth_ > 1) refuse_entry();
    has_weight_map_ |= in_weight_map_;
    ++depth_;
  }

  void close() override { --depth_; }

  [[noreturn]] void refuse_map() const {
    fail("{}: `weight_map` must be an object of tensor and file names", index_.string());
  }

 private:
  [[noreturn]] void refuse_whole(std::string_view found) const {
    fail("{}: expected a JSON object, found {}", index_.string(), found);
  }
  [[noreturn]] void refuse_entry() const {
    fail("{}: weight_map.{} must be the name of a file", index_.string(), name_);
  }

  const fs::path& index_;
  Add add_;
  int depth_ = 0;
  bool in_weight_map_ = false, has_weight_map_ = false;
  std::string name_;
};

class Sharded : public TensorSource {
 public:
  Sharded(const fs::path& index, OpenShard open);

  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string& name) const override { return places_.find(names_, name).has_value(); }
  TensorInfo info(const std::string& name) const override { return shard(name).info(name); }
  at::Tensor read(const std::string& name) const override { return shard(name).read(name); }
  bool is_patchable() const override {
    return std::ranges::all_of(shards_, [](const auto& shard) { return shard.second->file->is_patchable(); });
  }
  using TensorSource::patch;
  std::vector<BytePatch> patch(const std::string& name, const at::Tensor& values) const override {
    return shard(name).patch(name, values);
  }
  std::vector<std::string> files() const override {
    std::vector<std::string> all;
    for (const auto& [file_name, shard] : shards_) all.push_back(shard->file->file_of({}));
    return all;
  }
  std::string file_of(const std::string& name) const override {
    return contains(name) ? shard(name).file_of(name) : index_.string();
  }

 private:
  struct Shard {
    explicit Shard(std::unique_ptr<TensorSource> source) : file(std::move(source)), listed(file->names().size()) {
      places.build(file->names());
    }
    std::unique_ptr<TensorSource> file;
    NameIndex places;
    std::vector<bool> listed;  // which of its tensors the index names
  };

  Shard& find_shard(const std::string& file_name, const std::string& tensor);
  void add(const std::string& name, const std::string& file_name);
  void collect_names();

  const TensorSource& shard(const std::string& name) const {
    const auto place = places_.find(names_, name);
    if (!place) fail("{}: has no tensor {} among its {}", index_.string(), name, names_.size());
    return *shard_of_[*place];
  }

  fs::path index_;
  OpenShard open_;
  std::map<std::string, std::unique_ptr<Shard>> shards_;  // by file name
  std::vector<std::string> names_;
  std::vector<const TensorSource*> shard_of_;  // of each name
  NameIndex places_;
};

// The shard of that name, which is opened the first time. `tensor`: the first that it is said to hold.
Sharded::Shard& Sharded::find_shard(const std::string& file_name, const std::string& tensor) {
  auto& found = shards_[file_name];
  if (found) return *found;
  // A name from a downloaded file must not reach outside the folder, nor be cut short by the system.
  const bool is_name = !file_name.empty() && file_name.size() <= NAME_MAX && file_name.find('\0') == std::string::npos;
  if (!is_name || fs::path(file_name).filename() != file_name) {
    fail("{}: tensor {} is said to be in `{}`, which is not the name of a file beside it", index_.string(), tensor,
         file_name);
  }
  const auto path = index_.parent_path() / file_name;
  if (!path_exists(path)) {
    fail("{}: missing, {} says that it holds {}; complete the download", path.string(), index_.filename().string(),
         tensor);
  }
  found = std::make_unique<Shard>(open_(path));
  return *found;
}

void Sharded::add(const std::string& name, const std::string& file_name) {
  auto& shard = find_shard(file_name, name);
  const auto place = shard.places.find(shard.file->names(), name);
  if (!place) {
    fail("{}: has no tensor {}, which {} places there; the files belong to different checkpoints",
         shard.file->file_of(name), name, index_.filename().string());
  }
  if (shard.listed[*place]) fail("{}: weight_map names tensor {} twice; the file is damaged", index_.string(), name);
  shard.listed[*place] = true;
}

void Sharded::collect_names() {
  for (const auto& [file_name, shard] : shards_) {
    for (std::size_t i = 0; i < shard->listed.size(); ++i) {
      if (!shard->listed[i]) continue;
      names_.push_back(shard->file->names()[i]);
      shard_of_.push_back(shard->file.get());
    }
  }
  if (const auto twice = places_.build(names_)) {
    fail("{}: weight_map names two files for tensor {}; the file is damaged", index_.string(), *twice);
  }
}

Sharded::Sharded(const fs::path& index, OpenShard open) : index_(index), open_(std::move(open)) {
  IndexReader reader(index_, [this](const std::string& name, const std::string& file_name) { add(name, file_name); });
  read_json_events(read_file(index), index.string(), reader);
  if (!reader.has_weight_map()) reader.refuse_map();
  collect_names();
}

}  // namespace

std::unique_ptr<TensorSource> open_sharded(const fs::path& index, const OpenShard& open) {
  return std::make_unique<Sharded>(index, open);
}

std::string index_of_larger(const fs::path& index, std::uint64_t more_bytes) {
  auto text = read_file(index);
  auto json = parse_json(text, index.string());
  const auto metadata = json.find("metadata");
  if (metadata == json.end() || !metadata->is_object()) return text;
  const auto size = metadata->find("total_size");
  if (size == metadata->end() || !size->is_number_unsigned()) return text;
  *size = size->get<std::uint64_t>() + more_bytes;
  return json.dump(2) + '\n';
}

}  // namespace normtweak::formats
