"""Rows of data sets of multiple choice, with the fields that they have on the Hugging Face hub, and what lm_eval's tasks
make of them without examples: the pairs of a context and its continuation, the answers whose characters are counted,
and the index of the right one."""
import random

import cli_models


LONGER = 1  # times as many words in every field; 5 makes HellaSwag's about as long as the real ones


def words(seed, count):
    draw = random.Random(seed)
    return " ".join(draw.choice(cli_models.WORDS) for _ in range(LONGER * count))


def after(context, choices):
    return [(context, f" {choice}") for choice in choices]


def hellaswag(seed, right):
    first, second, ends = words(seed, 5), words(seed + 1, 3), [words(seed + i, 2 + i) for i in range(2, 6)]
    row = {"activity_label": "Old Bridges", "ctx_a": first, "ctx_b": second.upper(),
           "endings": [f"[substeps] {ends[0]}  [title] Stones", f" {ends[1]} [step] ", ends[2], f"{ends[3]}."],
           "label": str(right)}
    # A mark goes and what it leaves between two words becomes one space; " [title]" ends a sentence.
    choices = [f" {ends[0]} . Stones", f"{ends[1]} ", ends[2], f"{ends[3]}."]
    return row, after(f"Old Bridges: {first} {second[0].upper()}{second[1:].lower()}", choices), choices


def piqa(seed, right):
    goal, choices = words(seed, 6), [words(seed + 1, 3), words(seed + 2, 5)]
    return ({"goal": goal, "sol1": choices[0], "sol2": choices[1], "label": right},
            after(f"Question: {goal}\nAnswer:", choices), choices)


def arc(seed, right):
    question, choices, labels = words(seed, 7), [words(seed + i, i) for i in range(1, 5)], list("ABCD" if seed % 2 else "1234")
    return ({"id": "x", "question": question, "choices": {"text": choices, "label": labels}, "answerKey": labels[right]},
            after(f"Question: {question}\nAnswer:", choices), choices)


def winogrande(seed, right):
    before, rest, options = words(seed, 4), words(seed + 1, 5), [words(seed + 2, 1), words(seed + 3, 2)]
    row = {"sentence": f"{before} _ {rest} . ", "option1": options[0], "option2": options[1], "answer": str(right + 1)}
    contexts = [f"{before} {option}" for option in options]
    return row, [(context, f" {rest} .") for context in contexts], contexts


def boolq(seed, right):
    passage, question = words(seed, 12), words(seed + 1, 4)
    return ({"passage": passage, "question": question, "idx": 0, "label": right},
            after(f"{passage}\nQuestion: {question}?\nAnswer:", ["no", "yes"]), ["no", "yes"])


def openbookqa(seed, right):
    stem, choices = words(seed, 5), [words(seed + i, 6 - i) for i in range(1, 5)]
    return ({"question_stem": stem, "choices": {"text": choices, "label": list("ABCD")}, "answerKey": "ABCD"[right]},
            after(stem, choices), choices)


def entailment(premise, hypothesis):
    def make(seed, right):
        texts = [words(seed, 8), words(seed + 1, 4)]
        return ({premise: texts[0], hypothesis: texts[1], "label": right},
                after(f"{texts[0]}\nQuestion: {texts[1]} True or False?\nAnswer:", ["True", "False"]), ["True", "False"])
    return make


def storycloze(seed, right):
    story, choices = [words(seed + i, 4) for i in range(4)], [words(seed + 5, 4), words(seed + 6, 3)]
    row = {f"input_sentence_{i + 1}": sentence for i, sentence in enumerate(story)}
    return (row | {"sentence_quiz1": choices[0], "sentence_quiz2": choices[1], "answer_right_ending": right + 1},
            after(" ".join(story), choices), choices)


# name of the task → a function of a seed and the right answer, and the number of answers
FORMATS = {"hellaswag": (hellaswag, 4), "piqa": (piqa, 2), "arc_easy": (arc, 4), "arc_challenge": (arc, 4),
           "winogrande": (winogrande, 2), "boolq": (boolq, 2), "openbookqa": (openbookqa, 4),
           "rte": (entailment("sentence1", "sentence2"), 2), "sglue_rte": (entailment("premise", "hypothesis"), 2),
           "storycloze_2016": (storycloze, 2)}


def examples(name, count):
    """Rows with their pairs, answers and the index of the right one."""
    make, answers = FORMATS[name]
    draw = random.Random(name)
    for i in range(count):
        right = draw.randrange(answers)
        yield *make(10 * i, right), right
