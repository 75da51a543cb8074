// Multiple choice: the answer whose continuation a model finds likeliest.
#pragma once
#include <memory>

#include "normtweak/evaluate/task.h"

namespace normtweak::evaluate {

// Questions of the format that has the task's name. Figures, as lm_eval has them:
//   acc        the share of questions whose right answer has the largest log likelihood, the sum over its tokens
//   acc_norm   the same after division by the number of the answer's characters, where the format has that
// Of equal answers the first counts. Throws Error naming file, line and field if a row is malformed.
std::unique_ptr<Task> multiple_choice_task(const TaskOrder& order, const TaskInput& input, ProgressSink& progress);

}  // namespace normtweak::evaluate
