// The table of tasks.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/evaluate/task.h"

namespace normtweak::evaluate {

struct TaskRow {
  std::string_view name, description;
  std::string_view fields;  // of the rows of its file of JSON lines; empty: it reads a text
  // Reads and tokenizes the file, so that what is wrong with it is said before any model is loaded.
  std::unique_ptr<Task> (*read)(const TaskOrder& order, const TaskInput& input, ProgressSink& progress);
};

const std::vector<TaskRow>& tasks();

std::vector<TaskRow> example_tasks();  // those that read JSON lines

// Throws UsageError listing the names if there is none of that name.
const TaskRow& find_task(std::string_view name);

}  // namespace normtweak::evaluate
