#include "normtweak/evaluate/tasks.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/evaluate/choice_formats.h"
#include "normtweak/evaluate/drift.h"
#include "normtweak/evaluate/lambada.h"
#include "normtweak/evaluate/multiple_choice.h"
#include "normtweak/evaluate/perplexity.h"

namespace normtweak::evaluate {
namespace {

constexpr TaskRow kTasks[] = {
    {.name = "perplexity",
     .description = "of a text, and with a reference the divergence from it",
     .fields = "",
     .read = perplexity_task},
    {.name = "drift",
     .description = "of the outputs of each block from those of a reference, on a text",
     .fields = "",
     .read = drift_task},
    {.name = "lambada_openai",
     .description = "each text's last word, with OpenAI's punctuation and capitals",
     .fields = "text",
     .read = lambada_task},
    {.name = "lambada_standard",
     .description = "each text's last word, of the original data set",
     .fields = "text",
     .read = lambada_task},
};

std::vector<TaskRow> all_tasks() {
  std::vector<TaskRow> rows(std::begin(kTasks), std::end(kTasks));
  for (const auto& format : choice_formats()) {
    rows.push_back(
        {.name = format.name, .description = "multiple choice", .fields = format.fields, .read = multiple_choice_task});
  }
  return rows;
}

}  // namespace

const std::vector<TaskRow>& tasks() {
  static const auto rows = all_tasks();
  return rows;
}

std::vector<TaskRow> example_tasks() {
  std::vector<TaskRow> rows;
  for (const auto& row : tasks()) {
    if (!row.fields.empty()) rows.push_back(row);
  }
  return rows;
}

const TaskRow& find_task(std::string_view name) {
  const auto found = std::ranges::find(tasks(), name, &TaskRow::name);
  if (found != tasks().end()) return *found;
  std::vector<std::string_view> names;
  for (const auto& row : example_tasks()) names.push_back(row.name);
  fail_usage("--task {}: not one of {}", name, fmt::join(names, ", "));
}

}  // namespace normtweak::evaluate
