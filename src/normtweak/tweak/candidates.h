// The states that could be kept after a training, and the choice among them on rows that no step has seen.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "normtweak/tweak/student.h"

namespace normtweak::tweak {

using State = std::vector<at::Tensor>;  // the change of every group of tunables

State state_of(const Student& student);
void set_state(Student& student, const State& state);
State zeros_like(const State& state);

// A state that could be kept, and its score on the selection rows.
struct Candidate {
  std::string name;       // "untouched", "last", "best on the way", "0.6 of the way", "without scales", ...
  double divergence = 0;  // nats per token
};

// Collects candidates; the first of the least divergence leads.
class Candidates {
 public:
  // score: the divergence of the student as it is. The untouched state, divergence `untouched`, leads at first.
  Candidates(Student& student, double untouched, std::function<double()> score);

  // Scores `state`; what is not finite never leads. The student is left in it.
  void consider(const std::string& name, const State& state);

  // Considers points between the untouched state and `from`, and `from` with one group taken back.
  void consider_parts_of(const State& from);

  const State& leader() const { return leader_; }
  const std::string& leader_name() const { return leader_name_; }
  const std::vector<Candidate>& all() const { return all_; }

 private:
  Student& student_;
  std::function<double()> score_;
  std::vector<Candidate> all_;
  State leader_;
  std::string leader_name_ = "untouched";
  double least_;
};

}  // namespace normtweak::tweak
