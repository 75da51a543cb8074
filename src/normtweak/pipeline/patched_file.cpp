#include "normtweak/pipeline/patched_file.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <ostream>
#include <span>

#include "normtweak/base/error.h"
#include "normtweak/base/files/writable.h"
#include "normtweak/formats/gguf_split.h"
#include "normtweak/formats/patch_file.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
namespace {

using Patches = std::vector<formats::BytePatch>;

// What differs from the files.
class Changes {
 public:
  explicit Changes(const model::Checkpoint& original) : original_(original) {}

  void add(const std::string& family_name, const at::Tensor& values) {
    if (!values.defined()) return;
    const auto name = stored_name(original_, family_name);
    const auto before = original_.tensors->read(name).to(at::kFloat), after = values.detach().cpu().to(at::kFloat);
    if (!after.equal(before)) add_patches(name, original_.tensors->patch(name, after));
  }

  void add(const model::Block& block) {
    for (const auto& [role, norm] : block.norms) add(norm);
    for (const auto& [role, expert, linear] : block.linears) {
      add(linear.name + ".bias", linear.bias);
      if (!weights::is_quantized(linear.weight)) continue;
      const auto name = stored_name(original_, linear.name + ".weight");
      add_patches(name, original_.tensors->patch(name, linear.weight));
    }
  }

  void add(const model::Norm& norm) {
    add(norm.name + ".weight", norm.weight);
    add(norm.name + ".bias", norm.bias);
  }

  // By the path of the file.
  std::map<std::string, Patches> take() { return std::move(patches_); }

 private:
  void add_patches(const std::string& name, Patches more) {
    for (auto& patch : more) {
      auto& file = patches_[patch.file.empty() ? original_.tensors->file_of(name) : patch.file];
      file.push_back(std::move(patch));
    }
  }

  const model::Checkpoint& original_;
  std::map<std::string, Patches> patches_;
};

// A file of the result.
struct ChangedFile {
  std::string name;  // without folders
  std::function<void(std::ostream&)> write;
};

struct FolderEntries {
  std::vector<fs::path> files, folders;
};
FolderEntries entries_of(const fs::path& folder) {
  FolderEntries found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      found.files.push_back(entry.path());  // or a link to one
    } else if (entry.is_directory()) {
      found.folders.push_back(entry.path());
    }
  }
  std::ranges::sort(found.files);
  return found;
}

// The folder's files, those among `changed` in place of their own. A link to a file becomes the file.
void write_folder(const fs::path& folder, const fs::path& target, const std::vector<ChangedFile>& changed) {
  AtomicDirectory staging(target);
  for (const auto& path : entries_of(folder).files) {
    const auto name = path.filename();
    const auto change = std::ranges::find(changed, name.string(), &ChangedFile::name);
    const auto copy = [&](std::ostream& stream) { formats::write_patched(MappedFile(path).bytes(), {}, stream); };
    write_file_atomically(staging.path() / name, change == changed.end() ? copy : change->write);
  }
  staging.commit();
}

// A folder like `original`, or a model in one file or in several, of which `target` is the first.
void write_result(const fs::path& original, const fs::path& target, const std::vector<ChangedFile>& changed) {
  if (fs::is_directory(original)) return write_folder(original, target, changed);
  write_files_atomically(formats::gguf_parts(target, changed.size()),
                         [&](std::size_t part, std::ostream& stream) { changed[part].write(stream); });
}

}  // namespace

BaseFiles::BaseFiles(const model::Checkpoint& checkpoint) {
  for (const auto& path : checkpoint.tensors->files()) files_.emplace_back(path);
}

std::int64_t copied_bytes(const model::Checkpoint& original) {
  std::int64_t bytes = 0;
  if (!fs::is_directory(original.path)) {
    for (const auto& path : original.tensors->files()) bytes += static_cast<std::int64_t>(fs::file_size(path));
    return bytes;
  }
  for (const auto& path : entries_of(original.path).files) bytes += static_cast<std::int64_t>(fs::file_size(path));
  return bytes;
}

void note_folders_left(const model::Checkpoint& original, ProgressSink& progress) {
  if (!fs::is_directory(original.path)) return;
  for (const auto& folder : entries_of(original.path).folders) {
    progress.note(fmt::format("{}: a folder, which the result will lack", folder.string()));
  }
}

void save_patched(const model::Checkpoint& original, const BaseFiles& base, const model::Decoder& decoder,
                  const PatchTargets& targets) {
  Changes changes(original);
  for (int i = 0; i < decoder.blocks.size(); ++i) changes.add(*decoder.blocks.stored(i));
  changes.add(decoder.final_norm);
  auto patches = changes.take();
  std::vector<formats::FileChanges> files;
  for (const auto& file : base.all()) {
    files.push_back({.name = file.path().filename().string(),
                     .base = file.bytes(),
                     .patches = formats::changes_only(file.bytes(), std::move(patches[file.path().string()]))});
  }
  std::vector<ChangedFile> changed;
  for (const auto& file : files) {
    const auto write = [&file](std::ostream& stream) { formats::write_patched(file.base, file.patches, stream); };
    changed.push_back({file.name, write});
  }
  if (!targets.model.empty()) write_result(original.path, targets.model, changed);
  if (!targets.patch.empty()) formats::save_patch(targets.patch, files);
}

std::int64_t apply_patch(const fs::path& base, const fs::path& patch, const fs::path& output) {
  const auto changes = formats::load_patch(patch);
  const bool is_folder = fs::is_directory(base);
  if (!is_folder && changes.size() > 1 && formats::gguf_parts_by_name(base) != changes.size()) {
    fail("{}: changes {} files; give the folder that they are in, or the first of them, not {}", patch.string(),
         changes.size(), base.string());
  }
  const auto parts = is_folder ? std::vector<fs::path>() : formats::gguf_parts(base, changes.size());
  std::deque<MappedFile> maps;  // whose elements never move
  std::vector<ChangedFile> changed;
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const auto& change = changes[i];
    const auto path = is_folder ? base / change.name : parts[i];
    const auto& file = maps.emplace_back(path);
    formats::check_size(change, file.bytes().size(), path, patch);
    changed.push_back({change.name, [&file, &change, &patch](std::ostream& stream) {
                         formats::write_result(change, file.bytes(), file.path(), stream, patch);
                       }});
    for (const auto& part : change.patches) bytes += static_cast<std::int64_t>(part.bytes.size());
  }
  write_result(base, output, changed);
  return bytes;
}

}  // namespace normtweak::pipeline
