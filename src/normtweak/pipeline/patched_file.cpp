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
#include "normtweak/formats/safetensors_widened.h"
#include "normtweak/formats/sharded.h"
#include "normtweak/pipeline/wide_norms.h"

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
    add_of_norm(norm.name + ".weight", norm.weight);
    add_of_norm(norm.name + ".bias", norm.bias);
  }

  // By the path of the file.
  std::map<std::string, Patches> take() { return std::move(patches_); }
  std::map<std::string, formats::WidenedTensors> take_widened() { return std::move(widened_); }

 private:
  void add_of_norm(const std::string& family_name, const at::Tensor& values) {
    const auto name = stored_name(original_, family_name);
    if (!values.defined() || !is_widened(original_, name)) return add(family_name, values);
    const auto& tensors = *original_.tensors;
    widened_[tensors.file_of(name)][tensors.name_in_file(name)] = values.detach().cpu().to(at::kFloat).contiguous();
  }

  void add_patches(const std::string& name, Patches more) {
    for (auto& patch : more) {
      auto& file = patches_[patch.file.empty() ? original_.tensors->file_of(name) : patch.file];
      file.push_back(std::move(patch));
    }
  }

  const model::Checkpoint& original_;
  std::map<std::string, Patches> patches_;
  std::map<std::string, formats::WidenedTensors> widened_;  // by file as well
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

// `path`: the file that `file` is about. Both must outlive the result.
ChangedFile changed_file(const formats::FileChanges& file, const fs::path& path,
                         const formats::WidenedTensors& widened) {
  if (widened.empty()) {
    return {file.name, [&](std::ostream& stream) { formats::write_patched(file.base, file.patches, stream); }};
  }
  return {file.name, [&file, &path, widened](std::ostream& stream) {
            formats::write_widened(file.base, path.string(), file.patches, widened, stream);
          }};
}

// The index of a folder whose tensors are in files that it names; empty: there is none.
fs::path index_of(const model::Checkpoint& original) {
  const auto files = original.tensors->files();
  const auto place = original.tensors->file_of({});
  const bool is_index = fs::is_directory(original.path) && std::ranges::find(files, place) == files.end();
  return is_index ? fs::path(place) : fs::path();
}

}  // namespace

BaseFiles::BaseFiles(const model::Checkpoint& checkpoint) {
  for (const auto& path : checkpoint.tensors->files()) files_.emplace_back(path);
}

std::int64_t copied_bytes(const model::Checkpoint& original) {
  std::int64_t bytes = widening_bytes(original);
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
  auto widened = changes.take_widened();
  const bool widens = !widened.empty();
  std::vector<formats::FileChanges> files;
  for (const auto& file : base.all()) {
    files.push_back({.name = file.path().filename().string(),
                     .base = file.bytes(),
                     .patches = formats::changes_only(file.bytes(), std::move(patches[file.path().string()]))});
  }
  std::vector<ChangedFile> changed;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const auto& path = base.all()[i].path();
    changed.push_back(changed_file(files[i], path, widened[path.string()]));
  }
  if (const auto index = index_of(original); widens && !index.empty()) {
    changed.push_back({index.filename().string(), [index, &original](std::ostream& stream) {
                         stream << formats::index_of_larger(index, widening_bytes(original));
                       }});
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
    formats::check_base(change, file.bytes(), path, patch);
    changed.push_back({change.name, [&file, &change, &patch](std::ostream& stream) {
                         formats::write_result(change, file.bytes(), file.path(), stream, patch);
                       }});
    for (const auto& part : change.patches) bytes += static_cast<std::int64_t>(part.bytes.size());
  }
  write_result(base, output, changed);
  return bytes;
}

}  // namespace normtweak::pipeline
