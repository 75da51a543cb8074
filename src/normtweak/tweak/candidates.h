// Candidate states after training, and the choice among them on the selection rows.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "normtweak/tweak/student.h"

namespace normtweak::tweak {

struct State {
  std::vector<at::Tensor> changes;     // one per group of tunables
  std::vector<at::Tensor> codes = {};  // u8, in the order of CodePositions::codes(); empty if codes are not learned
};

State state_of(const Student& student);
void set_state(Student& student, const State& state);
State untouched_state(const Student& student);

// A candidate state and its score on the selection rows.
struct Candidate {
  std::string name;       // "untouched", "last", "best on the way", "0.6 of the way", "last, 0.75 of norms", ...
  double divergence = 0;  // nats per token
};

// Collects candidates; the one with the lowest divergence leads, the earliest on ties. The one with the lowest
// divergence among those that differ from the untouched state is remembered as well, should that state lead.
class Candidates {
 public:
  // score: returns the divergence of the student's current state. The untouched state, with divergence `untouched`,
  // leads initially.
  Candidates(Student& student, double untouched, std::function<double()> score);

  // Sets the student to `state`, scores it, and leaves it set. A non-finite score never leads.
  void consider(const std::string& name, const State& state);

  // Considers interpolations between the untouched state and `from`, with the codes of `from`, and `from` with one
  // group or the codes reset.
  void consider_parts_of(State from);

  // Considers the best change so far with each group scaled by itself: by steps of a quarter, in the direction that
  // lowers the divergence and as long as it does. What short text teaches the norms may be too much, while the scales
  // could go further.
  void search_by_group();

  const State& leader() const { return leader_; }
  const std::string& leader_name() const { return leader_name_; }
  const std::vector<Candidate>& all() const { return all_; }

  // The best candidate that is not the untouched state; empty if there is none, or none with a finite score.
  const State& best_change() const { return best_change_; }
  const std::string& best_change_name() const { return best_change_name_; }

 private:
  State scaled(const State& state, TunableGroup kind, double share) const;
  bool search_along(TunableGroup kind, const State& from, const std::string& name, double step);

  Student& student_;
  std::function<double()> score_;
  std::vector<Candidate> all_;
  State untouched_, leader_;
  std::string leader_name_ = "untouched";
  double least_;
  State best_change_;
  std::string best_change_name_;
  double least_of_changes_ = std::numeric_limits<double>::infinity();
};

}  // namespace normtweak::tweak
