#include "normtweak/tweak/teacher_states.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_file.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/scalar_tensor.h>
#include <c10/util/accumulate.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "normtweak/base/device/memory.h"
#include "normtweak/base/error.h"
#include "normtweak/model/forward_pass.h"

namespace normtweak::tweak {
namespace {
namespace fs = std::filesystem;

constexpr std::int64_t kTokensAtATimeCpu = 1024, kTokensAtATimeGpu = 32768;  // with more, passes are no faster

// Backed by an unlinked file: the disk space is released with the tensor, or when the process ends.
at::Tensor empty_on_disk(at::IntArrayRef shape, std::int64_t count, at::ScalarType type) {
  auto path = (fs::temp_directory_path() / "normtweak-hidden-XXXXXX").string();
  const int file = ::mkstemp(path.data());
  if (file < 0) fail("{}: cannot be written; name another folder in TMPDIR", path);
  const auto bytes = static_cast<off_t>(count) * static_cast<off_t>(c10::elementSize(type));
  const bool fits = ::posix_fallocate(file, 0, bytes) == 0;  // a sparse file would raise SIGBUS on a full disk
  ::close(file);
  if (!fits) {
    fs::remove(path);
    fail(
        "{}: the float model's hidden states take {:.1f} GiB and the disk has less; use fewer --samples, or name "
        "another folder in TMPDIR",
        path, static_cast<double>(bytes) / (1 << 30));
  }
  auto tensor = at::from_file(path, /*shared=*/true, count, at::TensorOptions(type)).view(shape);
  fs::remove(path);
  return tensor;
}

std::vector<std::int64_t> hidden_shape(const model::Decoder& teacher, std::int64_t rows, std::int64_t tokens) {
  return {rows, tokens, teacher.config.embedding};
}

std::int64_t hidden_bytes(const model::Decoder& teacher, const calibrate::TokenBatch& text) {
  return c10::multiply_integers(hidden_shape(teacher, text.samples(), text.tokens())) *
         static_cast<std::int64_t>(c10::elementSize(teacher.type));
}

// Where a GPU has room, the hidden states never leave it. Of the workspace, passes leave a quarter (pass_size.cpp),
// and the logits take a part of that.
bool stay_on_device(const model::Decoder& teacher, const calibrate::TokenBatch& text, const Processes& processes) {
  constexpr std::int64_t kShare = 16;
  return teacher.device.is_cuda() && processes.size() == 1 && hidden_bytes(teacher, text) <= teacher.workspace / kShare;
}

// Whether the hidden states go to disk. Machines may differ; all processes must take the same path.
bool go_to_disk(const model::Decoder& teacher, const calibrate::TokenBatch& text, std::int64_t memory_bytes,
                const Processes& processes) {
  if (stay_on_device(teacher, text, processes)) return false;
  const bool too_large = hidden_bytes(teacher, text) > memory_bytes;
  const auto count = at::scalar_tensor(too_large ? 1 : 0, at::kLong);
  processes.all_reduce_sum({count});
  return count.item<std::int64_t>() > 0;
}

// On disk, each process keeps the states of all rows, and reads none of another's.
Share rows_to_pass(const calibrate::TokenBatch& text, bool on_disk, const Processes& processes) {
  return on_disk ? Share{0, text.samples()} : processes.share(text.samples());
}

}  // namespace

std::int64_t TeacherStates::tokens_to_pass(const model::Decoder& teacher, const calibrate::TokenBatch& text,
                                           std::int64_t memory_bytes, const Processes& processes) {
  const bool on_disk = go_to_disk(teacher, text, memory_bytes, processes);
  return rows_to_pass(text, on_disk, processes).count * text.tokens();
}

std::int64_t TeacherStates::share_of_memory(const Processes& processes) {
  return available_memory(at::kCPU) / 4 / processes.on_machine();
}

TeacherStates::TeacherStates(const model::Decoder& teacher, const calibrate::TokenBatch& text, Stage& stage,
                             std::int64_t memory_bytes, const Processes& processes)
    : text_(text), on_disk_(go_to_disk(teacher, text, memory_bytes, processes)), head_(head_of(teacher)) {
  const auto share = rows_to_pass(text, on_disk_, processes);
  const auto shape = hidden_shape(teacher, share.count, text.tokens());
  const auto options =
      at::TensorOptions(teacher.type).device(stay_on_device(teacher, text, processes) ? teacher.device : at::kCPU);
  const auto mine =
      on_disk_ ? empty_on_disk(shape, c10::multiply_integers(shape), teacher.type) : at::empty(shape, options);
  fill(teacher, share, mine, stage, processes);
}

std::int64_t TeacherStates::tokens_to_replace(const Processes& processes) const {
  return rows_to_pass(text_, on_disk_, processes).count * row_tokens();
}

void TeacherStates::replace(const model::Decoder& teacher, const calibrate::TokenBatch& text, Stage& stage,
                            const Processes& processes) {
  text_ = text;
  const auto share = rows_to_pass(text, on_disk_, processes);
  const bool in_place = on_disk_ || processes.size() == 1;
  const auto mine =
      in_place ? hidden_ : at::empty(hidden_shape(teacher, share.count, text.tokens()), hidden_.options());
  hidden_ = at::Tensor();  // before those of all processes are gathered
  fill(teacher, share, mine, stage, processes);
}

void TeacherStates::fill(const model::Decoder& teacher, Share rows, const at::Tensor& mine, Stage& stage,
                         const Processes& processes) {
  const c10::NoGradGuard no_gradients;
  compute_hidden(teacher, rows, mine, stage);
  hidden_ = on_disk_ ? mine : processes.gather_rows(mine);
}

void TeacherStates::compute_hidden(const model::Decoder& teacher, Share rows, at::Tensor hidden, Stage& stage) const {
  const auto step =
      rows_in_one_pass(teacher, text_.tokens(), teacher.device.is_cuda() ? kTokensAtATimeGpu : kTokensAtATimeCpu);
  for (std::int64_t done = 0; done < rows.count; done += step) {
    const auto count = std::min(step, rows.count - done);
    const auto ids = text_.ids.narrow(0, rows.begin + done, count);
    hidden.narrow(0, done, count).copy_(last_hidden_state(teacher, ids.to(teacher.device)));
    stage.advance(ids.numel());
  }
}

DistillationBatch TeacherStates::pick(const at::Tensor& rows, c10::Device device) const {
  const auto picked = [&](const at::Tensor& all) {
    if (!all.defined()) return all;
    if (!all.is_cpu()) return all.index_select(0, rows.to(all.device()));
    // Copies from pinned memory overlap with the host's preparation of the next rows.
    auto shape = all.sizes().vec();
    shape[0] = rows.numel();
    auto chosen = at::empty(shape, all.options().pinned_memory(device.is_cuda()));
    at::index_select_out(chosen, all, 0, rows);
    return chosen.to(device, /*non_blocking=*/device.is_cuda());
  };
  return {picked(text_.ids), picked(text_.mask), picked(hidden_), head_};
}

double TeacherStates::counted_tokens() const {
  return text_.mask.defined() ? text_.mask.sum().item<double>() : static_cast<double>(text_.ids.numel());
}

double TeacherStates::counted_tokens(const at::Tensor& rows) const {
  return text_.mask.defined() ? text_.mask.index_select(0, rows).sum().item<double>()
                              : static_cast<double>(rows.numel() * row_tokens());
}

}  // namespace normtweak::tweak
