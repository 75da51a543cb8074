#include "normtweak/pipeline/patched_file.h"

#include <algorithm>
#include <iterator>

#include "normtweak/base/files/file.h"
#include "normtweak/base/files/writable.h"
#include "normtweak/formats/patch_file.h"

namespace normtweak::pipeline {
namespace {

// What differs from the file.
class Changes {
 public:
  explicit Changes(const model::Checkpoint& original) : original_(original) {}

  void add(const std::string& family_name, const at::Tensor& values) {
    if (!values.defined()) return;
    const auto name = stored_name(original_, family_name);
    const auto before = original_.tensors->read(name).to(at::kFloat), after = values.detach().cpu().to(at::kFloat);
    if (!after.equal(before)) add(original_.tensors->patch(name, after));
  }

  void add(const model::Block& block) {
    for (const auto& [role, norm] : block.norms) add(norm);
    for (const auto& [role, expert, linear] : block.linears) {
      add(linear.name + ".bias", linear.bias);
      if (!weights::is_quantized(linear.weight)) continue;
      const auto name = stored_name(original_, linear.name + ".weight");
      add(original_.tensors->patch(name, linear.weight));
    }
  }

  void add(const model::Norm& norm) {
    add(norm.name + ".weight", norm.weight);
    add(norm.name + ".bias", norm.bias);
  }

  std::vector<formats::BytePatch> take() { return std::move(patches_); }

 private:
  void add(std::vector<formats::BytePatch> more) { std::ranges::move(more, std::back_inserter(patches_)); }

  const model::Checkpoint& original_;
  std::vector<formats::BytePatch> patches_;
};

void write_file(const std::filesystem::path& path, std::span<const std::byte> base,
                const std::vector<formats::BytePatch>& patches) {
  write_file_atomically(path, [&](std::ostream& stream) { formats::write_patched(base, patches, stream); });
}

}  // namespace

void save_patched(const model::Checkpoint& original, std::span<const std::byte> base, const model::Decoder& decoder,
                  const PatchTargets& targets) {
  Changes changes(original);
  for (int i = 0; i < decoder.blocks.size(); ++i) changes.add(*decoder.blocks.stored(i));
  changes.add(decoder.final_norm);
  const auto patches = formats::changes_only(base, changes.take());
  if (!targets.file.empty()) write_file(targets.file, base, patches);
  if (!targets.patch.empty()) formats::save_patch(targets.patch, base, patches);
}

std::int64_t apply_patch(const std::filesystem::path& base, const std::filesystem::path& patch,
                         const std::filesystem::path& output) {
  const auto changes = formats::load_patch(patch);
  const MappedFile file(base);
  check_room(output, static_cast<std::int64_t>(file.bytes().size()));
  formats::check_base(changes, file.bytes(), base, patch);
  write_file(output, file.bytes(), changes.patches);
  std::int64_t bytes = 0;
  for (const auto& change : changes.patches) bytes += static_cast<std::int64_t>(change.bytes.size());
  return bytes;
}

}  // namespace normtweak::pipeline
