#include "normtweak/tweak/candidates.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace normtweak::tweak {
namespace {

bool equal(const std::vector<at::Tensor>& some, const std::vector<at::Tensor>& others) {
  return std::ranges::equal(some, others, [](const at::Tensor& one, const at::Tensor& two) { return one.equal(two); });
}

bool differs(const State& state, const State& other) {
  return !equal(state.changes, other.changes) || !equal(state.codes, other.codes);
}

std::set<TunableGroup> kinds_of(const Student& student) {
  std::set<TunableGroup> kinds;
  for (const auto& group : student.tunables().groups()) kinds.insert(group.group);
  return kinds;
}

}  // namespace

State state_of(const Student& student) {
  State state;
  for (const auto& group : student.tunables().groups()) state.changes.push_back(group.change.clone());
  if (student.codes() != nullptr) state.codes = student.codes()->codes();
  return state;
}

void set_state(Student& student, const State& state) {
  const c10::NoGradGuard no_gradients;
  const auto groups = student.tunables().groups();
  for (std::size_t i = 0; i < groups.size(); ++i) groups[i].change.copy_(state.changes[i]);
  if (student.codes() != nullptr) student.codes()->set_codes(state.codes);
  student.tunables().refresh();
}

State untouched_state(const Student& student) {
  State state;
  for (const auto& group : student.tunables().groups()) state.changes.push_back(at::zeros_like(group.change));
  if (student.codes() != nullptr) state.codes = student.codes()->start_codes();
  return state;
}

Candidates::Candidates(Student& student, double untouched, std::function<double()> score)
    : student_(student),
      score_(std::move(score)),
      all_({{"untouched", untouched}}),
      untouched_(untouched_state(student)),
      leader_(untouched_),
      least_(untouched) {}

void Candidates::consider(const std::string& name, const State& state) {
  set_state(student_, state);
  const double divergence = score_();
  all_.push_back({name, divergence});
  // What rounds to the untouched state scores exactly as it does.
  if (divergence < least_of_changes_ && divergence != all_.front().divergence && differs(state, untouched_)) {
    least_of_changes_ = divergence;
    best_change_ = state;
    best_change_name_ = name;
  }
  if (!(divergence < least_)) return;
  least_ = divergence;
  leader_ = state;
  leader_name_ = name;
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): `from` may be the leader, which changes
void Candidates::consider_parts_of(State from) {
  for (const double share : {0.8, 0.6, 0.3}) {
    auto state = from;
    for (auto& change : state.changes) change = change * share;
    consider(fmt::format("{} of the way", share), state);
  }
  const auto kinds = kinds_of(student_);
  for (const auto kind : kinds) {
    if (kinds.size() > 1) consider(fmt::format("without {}", group_name(kind)), scaled(from, kind, 0));
  }
  if (!from.codes.empty()) consider("without codes", {from.changes, untouched_.codes});
}

void Candidates::search_by_group() {
  const auto kinds = kinds_of(student_);
  if (kinds.size() < 2) return;
  for (const auto kind : kinds) {
    if (best_change_.changes.empty()) return;
    const auto from = best_change_;
    const auto name = best_change_name_;
    if (!differs(scaled(from, kind, 0), from)) continue;
    if (!search_along(kind, from, name, -0.25)) search_along(kind, from, name, 0.25);
  }
}

// Whether the first step helped.
bool Candidates::search_along(TunableGroup kind, const State& from, const std::string& name, double step) {
  bool helped = false;
  for (double share = 1 + step; share > 0 && share <= 2; share += step) {
    const double least = least_of_changes_;
    consider(fmt::format("{}, {} of {}", name, share, group_name(kind)), scaled(from, kind, share));
    if (!(least_of_changes_ < least)) break;
    helped = true;
  }
  return helped;
}

State Candidates::scaled(const State& state, TunableGroup kind, double share) const {
  auto result = state;
  const auto groups = student_.tunables().groups();  // one kind may have several buffers, one per dtype
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (groups[i].group == kind) result.changes[i] = result.changes[i] * share;
  }
  return result;
}

}  // namespace normtweak::tweak
