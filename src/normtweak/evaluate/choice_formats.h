// Data sets of multiple choice: how a row, with the fields of the original data set, becomes a question. Prompts are
// those of lm_eval's tasks of the same names, without examples before them.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/evaluate/json_rows.h"

namespace normtweak::evaluate {

struct Question {
  struct Answer {
    std::string context, continuation;  // which of the continuations, each after its context, is the likeliest?
    std::string choice;                 // the answer itself, whose length normalises its likelihood
  };
  std::vector<Answer> answers;
  std::size_t right = 0;  // index of the right one
};

struct ChoiceFormat {
  std::string_view name;                 // lm_eval's name of the task
  std::string_view fields;               // of a row
  Question (*read)(const JsonRow& row);  // throws Error naming file, line and field
  bool by_length = true;                 // whether likelihoods are also compared by length: not where contexts differ
};

std::span<const ChoiceFormat> choice_formats();

}  // namespace normtweak::evaluate
