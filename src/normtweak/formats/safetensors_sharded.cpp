// A checkpoint of several safetensors files:
//     model.safetensors.index.json   {"metadata": {...}, "weight_map": {tensor name: file name}}
// Trap: a shard may contain tensors that are not in the index; they do not belong to the model.
#include "normtweak/base/error.h"
#include "normtweak/base/presence.h"
#include "normtweak/formats/keyed_json.h"
#include "normtweak/formats/safetensors.h"

namespace normtweak::formats {
namespace fs = std::filesystem;
namespace {

class ShardedSafetensors : public TensorSource {
 public:
  explicit ShardedSafetensors(const fs::path& index);

  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string& name) const override { return shard_of_.contains(name); }
  TensorInfo info(const std::string& name) const override { return shard(name).info(name); }
  at::Tensor read(const std::string& name) const override { return shard(name).read(name); }
  std::string file_of(const std::string& name) const override {
    return contains(name) ? shard(name).file_of(name) : index_.string();
  }

 private:
  void add_shard(const std::string& file_name, const std::string& first_tensor);

  const SafetensorsFile& shard(const std::string& name) const {
    const auto found = shard_of_.find(name);
    if (found == shard_of_.end()) fail("{}: has no tensor {} among its {}", index_.string(), name, names_.size());
    return *found->second;
  }

  fs::path index_;
  std::map<std::string, std::unique_ptr<SafetensorsFile>> shards_;  // by file name
  std::unordered_map<std::string, const SafetensorsFile*> shard_of_;
  std::vector<std::string> names_;
};

void ShardedSafetensors::add_shard(const std::string& file_name, const std::string& first_tensor) {
  // A name from a downloaded file must not reach outside the folder.
  if (file_name.empty() || fs::path(file_name).filename() != file_name) {
    fail("{}: tensor {} is said to be in `{}`, which is not the name of a file beside it", index_.string(),
         first_tensor, file_name);
  }
  const auto path = index_.parent_path() / file_name;
  if (!is_present(path)) {
    fail("{}: missing, {} says that it holds {}; complete the download", path.string(), index_.filename().string(),
         first_tensor);
  }
  shards_.emplace(file_name, std::make_unique<SafetensorsFile>(path));
}

ShardedSafetensors::ShardedSafetensors(const fs::path& index) : index_(index) {
  const auto document = parse_keyed_json(read_file(index), index.string());
  const auto weight_map = document.find("weight_map");
  if (weight_map == document.end() || !weight_map->is_object()) {
    fail("{}: `weight_map` must be an object of tensor and file names", index.string());
  }
  for (const auto& [name, value] : weight_map->items()) {
    if (!value.is_string()) fail("{}: weight_map.{} must be the name of a file", index.string(), name);
    const auto file_name = value.get<std::string>();
    if (!shards_.contains(file_name)) add_shard(file_name, name);
    const auto& file = *shards_.at(file_name);
    if (!file.contains(name)) {
      fail("{}: has no tensor {}, which {} places there; the files belong to different checkpoints", file.file_of(name),
           name, index.filename().string());
    }
    shard_of_.emplace(name, &file);
  }
  for (const auto& [file_name, file] : shards_) {
    for (const auto& name : file->names()) {
      const auto found = shard_of_.find(name);
      if (found != shard_of_.end() && found->second == file.get()) names_.push_back(name);
    }
  }
}

}  // namespace

std::unique_ptr<TensorSource> open_safetensors(const fs::path& path) {
  if (!is_present(path)) fail("{}: no such file or folder", path.string());
  if (!fs::is_directory(path)) return std::make_unique<SafetensorsFile>(path);
  if (const auto whole = path / "model.safetensors"; is_present(whole)) return std::make_unique<SafetensorsFile>(whole);
  const auto index = path / "model.safetensors.index.json";
  if (is_present(index)) return std::make_unique<ShardedSafetensors>(index);
  fail("{}: holds neither model.safetensors nor model.safetensors.index.json", path.string());
}

}  // namespace normtweak::formats
