#include "normtweak/pipeline/untouched_copy.h"

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

#include "normtweak/base/files/file.h"
#include "normtweak/base/files/stale_outputs.h"
#include "normtweak/base/files/temporary_path.h"
#include "normtweak/base/files/writable.h"
#include "normtweak/base/strings/library_messages.h"
#include "normtweak/pipeline/preflight.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kUntouched = ".untouched", kUnfinished = ".unfinished";

// OUT.untouched.gguf -> OUT.unfinished.gguf; empty if a link leads to another name.
std::string unfinished_name(std::string name) {
  const auto at = name.rfind(kUntouched);
  return at == std::string::npos ? std::string() : name.replace(at, kUntouched.size(), kUnfinished);
}

// Where a copy at `place` is moved to, to become the result at `output`: in the same folder, if nothing is there.
// Otherwise empty.
fs::path unfinished_place(const fs::path& place, const fs::path& output) {
  const auto name = unfinished_name(place.filename().string());
  if (name.empty() || place.parent_path() != resolve_output(output).parent_path()) return {};
  auto taken = place.parent_path() / name;
  std::error_code error;
  return fs::exists(fs::symlink_status(taken, error)) ? fs::path() : taken;
}

}  // namespace

std::int64_t room_for_copy(const fs::path& place, const fs::path& output, const CopySizes& sizes) {
  const bool is_moved = sizes.becomes_result && !unfinished_place(place, output).empty();
  return sizes.copy + (is_moved || !on_one_disk(place, output) ? 0 : sizes.result);
}

fs::path untouched_place(const fs::path& output, OutputKind kind) {
  auto place = resolve_output(output);
  place += kUntouched;
  if (kind == OutputKind::file) place += ".gguf";
  return resolve_output(place);
}

UntouchedCopy::UntouchedCopy(const fs::path& place, OutputKind kind, const std::function<std::int64_t()>& bytes,
                             std::function<void(const fs::path& place)> save, c10::Device device,
                             ProgressSink& progress)
    : progress_(progress), place_(place) {
  finish([&] {
    check_output(place, kind, {}, bytes());
    if (device.is_cpu()) {
      save(place);
    } else {
      const c10::impl::VirtualGuardImpl gpu(device.type());
      const auto quantized = std::make_shared<c10::Event>(device.type());
      quantized->record(gpu.getStream(device));
      saving_ = std::async(std::launch::async, [place, save = std::move(save), quantized, device] {
        const auto own = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
        const c10::StreamGuard on_the_side(own);
        quantized->block(own);
        save(place);
      });
    }
    progress.note(fmt::format(
        "quantized; while the tweak runs, the model as it is now is kept in {}, from which `normtweak tweak` can go on "
        "should this run end early",
        place.string()));
  });
}

void UntouchedCopy::finish(const std::function<void()>& saving) {
  try {
    saving();
  } catch (const std::exception& error) {  // whatever it is: the run itself is sound
    place_.clear();
    progress_.note(
        fmt::format("no copy of the quantized model is kept while the tweak runs: {}", library_message(error)));
  }
}

void UntouchedCopy::wait() {
  if (saving_.valid()) finish([&] { saving_.get(); });
}

fs::path UntouchedCopy::take_for(const fs::path& output) {
  wait();
  if (place_.empty()) return {};
  const auto taken = unfinished_place(place_, output);
  if (taken.empty()) return {};
  std::error_code error;
  fs::rename(place_, taken, error);
  if (error) return {};  // it may be gone: the result is written without it
  place_ = taken;
  return taken;
}

void UntouchedCopy::remove() {
  wait();
  if (place_.empty()) return;
  const TemporaryPath gone(staging_name(place_));
  std::error_code ignored;
  fs::rename(place_, gone.path(), ignored);  // at once, so that no half of it stays
}

}  // namespace normtweak::pipeline
