#include "normtweak/evaluate/choice_formats.h"

#include <fmt/format.h>

#include <algorithm>

#include "normtweak/text/characters.h"
#include "normtweak/text/python_strings.h"

namespace normtweak::evaluate {
namespace {

// Of a question whose choices go on from one context.
struct Parts {
  std::string context;
  std::vector<std::string> choices;
  std::size_t right = 0;  // of the choices
};

// The choices, each after one space, follow the context.
Question question(const Parts& parts) {
  Question question = {.answers = {}, .right = parts.right};
  for (const auto& choice : parts.choices) question.answers.push_back({parts.context, " " + choice, choice});
  return question;
}

// ---- HellaSwag ----

// WikiHow's marks, such as "[step]", and what they leave behind.
std::string without_marks(std::string_view text) {
  const auto marked = text::replaced(text::stripped(text), " [title]", ". ");
  std::string plain;
  std::string_view rest = marked;
  for (auto open = rest.find('['); open != std::string_view::npos; open = rest.find('[')) {
    const auto end = std::min(rest.find_first_of("]\n", open + 1), rest.size());
    const bool closes = end < rest.size() && rest[end] == ']';
    plain += rest.substr(0, closes ? open : end);  // on a line without a closing sign, no mark ends
    rest.remove_prefix(closes ? end + 1 : end);
  }
  plain += rest;
  return text::replaced(plain, "  ", " ");
}

Question hellaswag(const JsonRow& row) {
  auto endings = row.texts("endings");
  const auto right = row.index("label", endings.size());
  for (auto& ending : endings) ending = without_marks(ending);
  const auto context =
      fmt::format("{}: {} {}", row.text("activity_label"), row.text("ctx_a"), text::capitalized(row.text("ctx_b")));
  return question({without_marks(context), endings, right});
}

// ---- Questions and answers ----

Question piqa(const JsonRow& row) {
  return question({fmt::format("Question: {}\nAnswer:", row.text("goal")),
                   {row.text("sol1"), row.text("sol2")},
                   row.index("label", 2)});
}

// The choice with the label that the row gives as its answer. choices: {"text": [...], "label": [...]}
Question labelled(const JsonRow& row, std::string context, std::string_view answer) {
  const auto choices = row.object("choices");
  const auto texts = choices.texts("text"), labels = choices.texts("label");
  if (labels.size() != texts.size()) {
    choices.refuse("label", fmt::format("{} labels of {} texts", labels.size(), texts.size()));
  }
  const auto right = std::ranges::find(labels, answer);
  if (right == labels.end())
    row.refuse("answerKey", fmt::format("\"{}\" is none of the labels of the choices", answer));
  return question({std::move(context), texts, static_cast<std::size_t>(right - labels.begin())});
}

Question arc(const JsonRow& row) {
  return labelled(row, fmt::format("Question: {}\nAnswer:", row.text("question")), row.text("answerKey"));
}

Question openbookqa(const JsonRow& row) {
  const auto key = row.text("answerKey");
  return labelled(row, row.text("question_stem"), std::string_view(key).substr(text::leading_white_space(key)));
}

Question boolq(const JsonRow& row) {
  return question({fmt::format("{}\nQuestion: {}?\nAnswer:", row.text("passage"), row.text("question")),
                   {"no", "yes"},
                   row.index("label", 2)});
}

Question entailment(const JsonRow& row, std::string_view premise, std::string_view hypothesis) {
  return question({fmt::format("{}\nQuestion: {} True or False?\nAnswer:", row.text(premise), row.text(hypothesis)),
                   {"True", "False"},
                   row.index("label", 2)});
}

Question rte(const JsonRow& row) { return entailment(row, "sentence1", "sentence2"); }

Question super_glue_rte(const JsonRow& row) { return entailment(row, "premise", "hypothesis"); }

// ---- Sentences that go on ----

// The two options stand in the contexts, before what follows the gap: partial evaluation (arXiv 1806.02847).
Question winogrande(const JsonRow& row) {
  const auto sentence = row.text("sentence");
  const auto gap = sentence.find('_');
  if (gap == std::string::npos) row.refuse("sentence", "has no gap, which is written _");
  const auto rest = text::stripped(std::string_view(sentence).substr(gap + 1));
  if (rest.empty()) row.refuse("sentence", "nothing follows its gap");
  Question question = {.answers = {}, .right = row.index("answer", 2, 1)};
  for (const auto* option : {"option1", "option2"}) {
    const auto context = sentence.substr(0, gap) + row.text(option);
    question.answers.push_back({context, fmt::format(" {}", rest), context});
  }
  return question;
}

Question storycloze(const JsonRow& row) {
  const auto story = fmt::format("{} {} {} {}", row.text("input_sentence_1"), row.text("input_sentence_2"),
                                 row.text("input_sentence_3"), row.text("input_sentence_4"));
  return question(
      {story, {row.text("sentence_quiz1"), row.text("sentence_quiz2")}, row.index("answer_right_ending", 2, 1)});
}

constexpr ChoiceFormat kFormats[] = {
    {.name = "hellaswag", .fields = "activity_label, ctx_a, ctx_b, endings, label", .read = hellaswag},
    {.name = "piqa", .fields = "goal, sol1, sol2, label", .read = piqa},
    {.name = "arc_easy", .fields = "question, choices.text, choices.label, answerKey", .read = arc},
    {.name = "arc_challenge", .fields = "question, choices.text, choices.label, answerKey", .read = arc},
    {.name = "winogrande", .fields = "sentence, option1, option2, answer", .read = winogrande, .by_length = false},
    {.name = "boolq", .fields = "passage, question, label", .read = boolq},
    {.name = "openbookqa", .fields = "question_stem, choices.text, choices.label, answerKey", .read = openbookqa},
    {.name = "rte", .fields = "sentence1, sentence2, label", .read = rte},
    {.name = "sglue_rte", .fields = "premise, hypothesis, label", .read = super_glue_rte},
    {.name = "storycloze_2016",
     .fields = "input_sentence_1 to _4, sentence_quiz1, sentence_quiz2, answer_right_ending",
     .read = storycloze},
};

}  // namespace

std::span<const ChoiceFormat> choice_formats() { return kFormats; }

}  // namespace normtweak::evaluate
