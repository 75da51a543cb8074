#include "normtweak/tweak/candidates.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace normtweak::tweak {
namespace {

bool differs(const State& state) {
  return std::ranges::any_of(state, [](const at::Tensor& change) { return change.any().item<bool>(); });
}

}  // namespace

State state_of(const Student& student) {
  State state;
  for (const auto& group : student.tunables().groups()) state.push_back(group.change.clone());
  return state;
}

void set_state(Student& student, const State& state) {
  const c10::NoGradGuard no_gradients;
  const auto groups = student.tunables().groups();
  for (std::size_t i = 0; i < groups.size(); ++i) groups[i].change.copy_(state[i]);
  student.tunables().refresh();
}

State zeros_like(const State& state) {
  State zeros;
  for (const auto& change : state) zeros.push_back(at::zeros_like(change));
  return zeros;
}

Candidates::Candidates(Student& student, double untouched, std::function<double()> score)
    : student_(student),
      score_(std::move(score)),
      all_({{"untouched", untouched}}),
      leader_(zeros_like(state_of(student))),
      least_(untouched) {}

void Candidates::consider(const std::string& name, const State& state) {
  set_state(student_, state);
  const double divergence = score_();
  all_.push_back({name, divergence});
  // What rounds to the untouched state scores exactly as it does.
  if (divergence < least_of_changes_ && divergence != all_.front().divergence && differs(state)) {
    least_of_changes_ = divergence;
    best_change_ = state;
    best_change_name_ = name;
  }
  if (!(divergence < least_)) return;
  least_ = divergence;
  leader_ = state;
  leader_name_ = name;
}

void Candidates::consider_parts_of(const State& from) {
  const auto whole = from;  // a copy: `from` may be the leader, which changes
  for (const double share : {0.8, 0.6, 0.3}) {
    auto state = whole;
    for (auto& change : state) change = change * share;
    consider(fmt::format("{} of the way", share), state);
  }
  const auto groups = student_.tunables().groups();  // one group may have several buffers, one per dtype
  std::set<TunableGroup> kinds;
  for (const auto& group : groups) kinds.insert(group.group);
  for (const auto kind : kinds) {
    if (kinds.size() == 1) break;
    auto state = whole;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      if (groups[i].group == kind) state[i] = at::zeros_like(state[i]);
    }
    consider(fmt::format("without {}", group_name(kind)), state);
  }
}

}  // namespace normtweak::tweak
