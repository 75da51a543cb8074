"""What is wrong is said in one line, and nothing is left half-written."""
import functools
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import time

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file

import cli_models
import cli_program


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Everything that the calls below name; `out` is the result of an earlier run."""
    folder = tmp_path_factory.mktemp("bad")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "good")
    cli_program.save_ids(folder / "ids.safetensors", cli_models.ids(8, 32))
    cli_program.save_ids(folder / "ids_too_large.safetensors", cli_models.ids(8, 32) + 200)
    cli_program.save_ids(folder / "few_ids.safetensors", cli_models.ids(3, 32))
    cli_program.save_ids(folder / "short_rows.safetensors", cli_models.ids(8, 1))
    cli_program.save_ids(folder / "long_ids.safetensors", cli_models.ids(4, cli_models.CONTEXT + 1))
    save_file({"tokens": cli_models.ids(8, 32)}, folder / "other_name.safetensors")
    (folder / "text.txt").write_text(cli_models.text(400), encoding="utf-8")
    (folder / "short.txt").write_text("A few words.", encoding="utf-8")
    for name, rows in CHOICES.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, content in ROW_FILES.items():
        (folder / name).write_bytes(content)
    (folder / "elsewhere").mkdir()
    shutil.copy(folder / "two_answers.jsonl", folder / "elsewhere")
    for name, lines in LAMBADA.items():
        (folder / name).write_text(lines, encoding="utf-8")
    (folder / "file").write_text("in the way", encoding="utf-8")
    cli_program.save_earlier_result(folder / "out")
    for name in ("noted", "nested", "linked", "holds_text"):
        cli_program.save_earlier_result(folder / name)
    (folder / "noted" / "notes.txt").write_text("what I found", encoding="utf-8")
    (folder / "nested" / "runs").mkdir()
    (folder / "linked" / "tokenizer.json").symlink_to(folder / "good" / "tokenizer.json")
    (folder / "holds_text" / "merges.txt").write_text(cli_models.text(400), encoding="utf-8")
    (folder / "way_in").symlink_to(folder / "holds_text" / "merges.txt")
    (folder / "good_by_another_name").symlink_to(folder / "good")
    os.mkfifo(folder / "pipe")
    (folder / "ids_link").symlink_to("ids.safetensors")
    (folder / "endless").symlink_to("endless")
    (folder / "precious").mkdir()
    (folder / "precious" / "thesis").write_text("not a result of this program", encoding="utf-8")
    (folder / "empty").mkdir()
    for name, harm in HARM.items():
        shutil.copytree(folder / "good", folder / name)
        harm(folder / name)
    writer = gguf.GGUFWriter(folder / "other.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    (folder / "truncated.gguf").write_bytes((folder / "other.gguf").read_bytes()[:30])
    (folder / "wrong_magic.gguf").write_bytes(b"GGML" + bytes(60))
    return folder


def edit_tensors(edit):
    def harm(folder):
        path = folder / "model.safetensors"
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path, metadata={"format": "pt"})
    return harm


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def garble(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)


def set_large(name):
    """Beyond F16's 65504."""
    def edit(tensors):
        tensors[name].view(-1)[7] = -70000
    return edit_tensors(edit)


def set_nan(tensors):
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = torch.nan


GOOD_ROW = '{"text": "The bridge is old"}\n'
LAMBADA = {
    "rows.jsonl": GOOD_ROW,
    "no_rows.jsonl": "\n \n",
    "no_text.jsonl": GOOD_ROW + '{"words": "The bridge is old"}\n',
    "no_string.jsonl": GOOD_ROW + '{"text": 5}\n',
    "no_object.jsonl": "\n" + GOOD_ROW + '"The bridge is old"\n',
    "not_json.jsonl": GOOD_ROW + GOOD_ROW + "The bridge is old\n",
    "one_word.jsonl": GOOD_ROW + "\n" + '{"text": "Bridge"}',
    "only_spaces_before.jsonl": '{"text": " \\n Bridge"}',
    "no_last_word.jsonl": '{"text": "The bridge is old "}',
    "long_word.jsonl": json.dumps({"text": "The " + 200 * "z"}),
}
PIQA = {"goal": "Light", "sol1": "turns", "sol2": "stones", "label": 1}
ARC = {"question": "Light", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
CHOICES = {
    "no_field.jsonl": [PIQA, {key: PIQA[key] for key in ("goal", "sol1", "label")}],
    "label.jsonl": [PIQA | {"label": 2}],
    "number.jsonl": [PIQA | {"sol1": 5}],
    "no_list.jsonl": [{"activity_label": "Light", "ctx_a": "a", "ctx_b": "b", "endings": "turns", "label": "0"}],
    "no_choices.jsonl": [ARC | {"choices": ["a", "b"]}],
    "labels.jsonl": [ARC | {"choices": {"text": ["a", "b"], "label": ["A"]}}],
    "answer.jsonl": [ARC | {"answerKey": "C"}],
    "no_gap.jsonl": [{"sentence": "It turns", "option1": "a", "option2": "b", "answer": "1"}],
    "long_answer.jsonl": [PIQA | {"sol2": 200 * "z"}],
    "array.jsonl": [[PIQA, PIQA]],
    "no_endings.jsonl": [PIQA, {"activity_label": "Light", "ctx_a": "a", "ctx_b": "b", "endings": [], "label": 0}],
    "number_among.jsonl": [{"activity_label": "Light", "ctx_a": "a", "ctx_b": "b", "endings": ["a", 5], "label": 0}],
    "label_below.jsonl": [PIQA | {"label": -1}],
    "label_text.jsonl": [PIQA | {"label": "one"}],
    "label_share.jsonl": [PIQA | {"label": 0.5}],
    "label_null.jsonl": [PIQA | {"label": None}],
    "no_label.jsonl": [PIQA, PIQA | {"label": "1"}, {key: PIQA[key] for key in ("goal", "sol1", "sol2")}],
    "no_stem.jsonl": [{"question_stem": " ", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}],
    "no_tokens.jsonl": [PIQA, PIQA | {"sol1": ""}],
    "two_answers.jsonl": [PIQA],
}
ROW = json.dumps(PIQA).encode()
ROW_FILES = {  # bytes of files of piqa
    "bad_utf8.jsonl": ROW + b"\n" + ROW.replace(b"stones", b"st\xffnes") + b"\n",
    "bom.jsonl": b"\xef\xbb\xbf" + ROW + b"\n",
    "truncated.jsonl": ROW + b"\n" + ROW[:-9],
    "two_in_a_line.jsonl": ROW + b" " + ROW + b"\n",
    "list_of_rows.json": b"[\n" + ROW + b",\n" + ROW + b"\n]\n",
}
UP = "model.layers.1.mlp.up_proj.weight"
BIAS = "model.layers.1.self_attn.q_proj.bias"
HARM = {
    "copy": lambda folder: None,
    "truncated": truncate,
    "garbled": garble,
    "no_weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no_tensor": edit_tensors(lambda tensors: tensors.pop(UP)),
    "wrong_shape": edit_tensors(lambda tensors: tensors.update({UP: tensors[UP][:-2].clone()})),
    "bias": edit_tensors(lambda tensors: tensors.update({BIAS: torch.ones(64)})),
    "nan": edit_tensors(set_nan),
    "overflowing": edit_tensors(lambda tensors: tensors[UP].fill_(1e38)),
    "large_norm": set_large("model.norm.weight"),
    "large_embedding": set_large("model.embed_tokens.weight"),
    "large_skipped": set_large("model.layers.0.mlp.down_proj.weight"),
    "no_tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "bad_tokenizer": lambda folder: (folder / "tokenizer.json").write_text('{"model": {"type": "Syllables"}}'),
    "bad_json": lambda folder: (folder / "config.json").write_text('{"hidden_size": '),
    "unsupported": lambda folder: cli_models.edit_config(
        folder, lambda config: config.update(architectures=["MambaForCausalLM"])),
    "no_hidden": lambda folder: cli_models.edit_config(folder, lambda config: config.pop("hidden_size")),
    "unknown_scaling": lambda folder: cli_models.edit_config(
        folder, lambda config: config["rope_parameters"].update(rope_type="ntk", factor=2.0)),
}

QUANTIZE = "--method rtn --group-size 32 --tweak none --calibration ids.safetensors -o out"

# arguments, exit status, words that the line must have
CASES = [
    # what was typed
    ("", 2, ["a subcommand is needed", "quantize", "inspect", "`normtweak --help`"]),
    ("frobnicate", 2, ["frobnicate: no such subcommand; there are quantize, tweak", "`normtweak --help`"]),
    ("quantise good -o out", 2, ["quantise: no such subcommand", "did you mean quantize?"]),
    ("--quite inspect good", 2, ["--quite: no such option"]),
    ("logits good --tokens ids.safetensors -o out/x --nonsense", 2, ["--nonsense: no such option; see `normtweak log"]),
    ("logits good --tokens ids.safetensors --jsn=out/x", 2, ["--jsn: no such option", "did you mean --json?"]),
    ("eval good --foo", 2, ["--foo: no such option; see `normtweak eval --help`"]),
    ("eval good --foo 3 --text text.txt", 2, ["--foo: no such option"]),
    ("eval good --txt text.txt", 2, ["--txt: no such option", "did you mean --text?"]),
    ("quantize good --group 32 -o out", 2, ["--group: no such option", "did you mean --group-size?"]),
    ("inspect good out", 2, ["out: one argument too many"]),
    ("inspect good --device tpu", 2, ["--device: tpu: not a device", "cpu, cuda or cuda:N"]),
    ("inspect good --device cuda:x", 2, ["--device: cuda:x: not a device", "cpu, cuda or cuda:N"]),
    ("inspect good --device ''", 2, ["--device: an empty name: not a device", "cpu, cuda or cuda:N"]),
    ("inspect good --device mps", 2, ["--device: mps: not a device", "cpu, cuda or cuda:N"]),
    ("generate good -o out/x --languages xx", 2, ["xx", "known are en, de", "zh"]),
    ("generate good -o out/x --languages en,,de", 2, ["known are en, de", "zh"]),
    ("eval good --text text.txt --context 1", 2, ["--context: 1 is too small; at least 2"]),
    ("eval good --text text.txt --context 100 --max-tokens 50", 2, ["--max-tokens 50", "100", "--context"]),
    ("eval good --text short.txt --context 100 --max-tokens 50", 2, ["--max-tokens 50", "100", "--context"]),
    (f"quantize good {QUANTIZE} --eval-text text.txt --context 100 --max-tokens 50", 2, ["--max-tokens 50", "100"]),
    ("logits good --tokens ids.safetensors -o ''", 2, ["output is empty"]),
    ("logits good -o out/x", 2, ["--tokens"]),
    ("eval good", 2, ["--text", "--rows", "--lambada"]),
    ("eval good --text text.txt --rows text.txt", 2, ["--text", "--rows"]),
    ("eval good --text text.txt --protocol lm_eval", 2, ["lm_eval", "gptq"]),
    ("eval good --text text.txt --drift", 2, ["--drift", "--reference"]),
    ("eval good --reference copy --lambada rows.jsonl --drift", 2, ["--drift", "--text"]),
    ("eval good --reference copy --text text.txt --protocol lm-eval --drift", 2, ["--drift", "lm-eval"]),
    ("eval good --task hellaswag", 2, ["--task hellaswag", "NAME=FILE"]),
    ("eval good --task mmlu=piqa.jsonl", 2, ["--task mmlu", "hellaswag", "storycloze_2016"]),
    ("eval good --task drift=text.txt", 2, ["--task drift", "--text"]),
    ("eval good --text text.txt --protocol lm-eval --max-tokens 5", 2, ["--max-tokens 5", "text.txt"]),
    (f"quantize good {QUANTIZE} --bits 5", 2, ["5", "2,3,4,6,8"]),
    (f"quantize good {QUANTIZE} --symmetric --float-zeros", 2, ["--symmetric", "--float-zeros"]),
    (f"quantize good {QUANTIZE} --token-weights all", 2, ["all", "fisher"]),
    (f"quantize good {QUANTIZE} --bits four", 2, ["four", "2,3,4,6,8"]),
    (f"quantize good {QUANTIZE} --method magic", 2, ["magic", "gptq"]),
    (f"quantize good {QUANTIZE} --format exl2", 2, ["exl2", "compressed-tensors"]),
    (f"quantize good {QUANTIZE} --rule *=bits:5", 2, ["*=bits:5"]),
    (f"quantize good {QUANTIZE} --tune everything", 2, ["everything", "norms"]),
    (f"quantize good {QUANTIZE} --tweak magic", 2, ["--tweak", "magic", "{none,end-to-end,layerwise}"]),
    ("tweak copy --reference good -o out --method magic", 2, ["--method", "magic", "{end-to-end,layerwise}"]),
    (f"quantize good {QUANTIZE} --store-dtype int8", 2, ["int8"]),
    (f"quantize good {QUANTIZE} --dtype f8", 2, ["f8", "bf16"]),
    # one file for two things
    ("logits good --tokens ids.safetensors -o ids.safetensors", 2, ["-o ", "would overwrite --tokens", "another"]),
    ("logits good --tokens ids.safetensors -o ids_link", 2, ["ids_link", "would overwrite --tokens"]),
    ("logits good --tokens ids_link -o ids.safetensors", 2, ["ids_link", "would overwrite --tokens"]),
    ("logits good --tokens ids.safetensors -o out/x --json ids.safetensors", 2, ["--json", "overwrite --tokens"]),
    ("logits good --tokens ids.safetensors -o missing/x --json missing/x", 2, ["--json", "what -o writes"]),
    ("generate good -o missing --json missing", 2, ["--json", "what -o writes"]),
    ("generate good --text text.txt -o text.txt", 2, ["text.txt: would overwrite --text"]),
    ("generate good -o good", 2, ["good: would overwrite MODEL"]),
    ("generate good -o good/model.safetensors", 2, ["good/model.safetensors: would overwrite MODEL"]),
    ("eval good --text text.txt --json text.txt", 2, ["--json", "would overwrite --text"]),
    ("eval good --rows text.txt --json text.txt", 2, ["--json", "would overwrite --rows"]),
    ("eval good --lambada rows.jsonl --json rows.jsonl", 2, ["--json", "would overwrite --lambada"]),
    ("eval good --reference copy --text text.txt --json copy/config.json", 2, ["--json", "would overwrite --reference"]),
    ("inspect ids.safetensors --json ids.safetensors", 2, ["--json", "would overwrite PATH"]),
    (f"quantize good {QUANTIZE} --json good/config.json", 2, ["--json", "would overwrite MODEL"]),
    (f"quantize good {QUANTIZE} --json ids.safetensors", 2, ["--json", "would overwrite --calibration"]),
    (f"quantize good {QUANTIZE} --eval-text text.txt --json text.txt", 2, ["--json", "would overwrite --eval-text"]),
    (f"quantize good {QUANTIZE} --json out/x", 2, ["--json", "what -o writes"]),
    ("tweak copy --reference good -o out --json out/x", 2, ["--json", "what -o writes"]),
    ("tweak copy --reference good -o out --json copy/config.json", 2, ["--json", "would overwrite QUANTIZED"]),
    ("inspect good --json pipe", 1, ["pipe", "not a regular file"]),
    # what would have no effect
    ("quantize good -o out --method kmeans --symmetric", 2, ["--symmetric: has no effect with --method kmeans"]),
    ("quantize good -o out --method kmeans --float-zeros", 2, ["--float-zeros: has no effect with --method kmeans"]),
    ("quantize good -o out --method kmeans --no-search-grid", 2, ["--search-grid: has no effect with --method kmeans"]),
    ("quantize good -o out --method kmeans --sweeps 1", 2, ["--sweeps: has no effect with --method kmeans"]),
    ("quantize good -o out --method kmeans --damping 0.1", 2, ["--damping: has no effect with --method kmeans"]),
    ("quantize good -o out --method kmeans --drift-correction 0.5", 2, ["--drift-correction: has no effect with --method kmeans"]),
    ("quantize good -o out --method kmeans --no-act-order", 2, ["--act-order: has no effect with --method kmeans"]),
    ("quantize good -o out --method kmeans --feedback --sensitivity", 2, ["--sensitivity: has no effect with --method kmeans and --feedback"]),
    ("quantize good -o out --method rtn --feedback", 2, ["--feedback: has no effect with --method rtn"]),
    ("quantize good -o out --method kmeans --codebook-group 7", 1, ["group size 7 does not divide", "one codebook per"]),
    ("quantize good -o out --method rtn --sweeps 1", 2, ["--sweeps: has no effect with --method rtn"]),
    ("quantize good -o out --sensitivity", 2, ["--sensitivity: has no effect with --method gptq"]),
    ("tweak good --reference good -o out --calibration ids.safetensors", 1, ["good: is --reference itself"]),
    ("tweak copy --reference good -o out --method layerwise --tune norms,scales", 2, ["--tune norms,scales: --method layerwise tunes norms alone"]),
    ("tweak copy --reference good -o out --method layerwise --steps 3", 2, ["--steps: has no effect with --method layerwise"]),
    ("tweak copy --reference good -o out --method layerwise --lr-scales 1e-3", 2, ["--lr-scales: has no effect with --method layerwise"]),
    ("tweak copy --reference good -o out --method layerwise --lr-zeros 1e-3", 2, ["--lr-zeros: has no effect with --method layerwise"]),
    ("tweak copy --reference good -o out --method layerwise --stop-after 5", 2, ["--stop-after: has no effect with --method layerwise"]),
    ("tweak copy --reference good -o out --method layerwise --tune biases", 2, ["--tune biases: --method layerwise tunes norms alone"]),
    ("tweak copy --reference good -o out --method end-to-end --loss mse", 2, ["--loss: has no effect with --method end-to-end"]),
    ("tweak copy --reference good -o out --method end-to-end --lr 0", 2, ["--lr 0", "--method end-to-end"]),
    ("tweak copy --reference good -o out --method end-to-end --lr-scale 2", 2, ["--lr-scale: has no effect with --method end-to-end"]),
    ("tweak copy --reference good -o out --method end-to-end --target float-stream", 2, ["--target: has no effect with --method end-to-end"]),
    ("tweak copy --reference good -o out --method end-to-end --final-norm", 2, ["--final-norm: has no effect with --method end-to-end"]),
    # what it names
    ("inspect missing", 1, ["missing", "no such file"]),
    ("inspect empty", 1, ["empty", "config.json"]),
    ("inspect file", 1, ["file", ".gguf"]),
    ("inspect truncated", 1, ["truncated/model.safetensors"]),
    ("inspect garbled", 1, ["garbled/model.safetensors"]),
    ("inspect no_weights", 1, ["no_weights", "safetensors"]),
    ("inspect no_tensor", 1, [UP]),
    ("inspect wrong_shape", 1, [UP, "[96, 64]", "[94, 64]"]),
    ("inspect bias", 1, ["bias/model.safetensors", BIAS, "no bias expected"]),
    ("logits bias --tokens ids.safetensors -o out/x", 1, [BIAS]),
    ("inspect nan", 1, [UP, "NaN"]),
    ("inspect bad_json", 1, ["bad_json/config.json"]),
    ("inspect unsupported", 1, ["MambaForCausalLM", "normtweak --help"]),
    ("inspect no_hidden", 1, ["config.json", "hidden_size"]),
    ("inspect unknown_scaling", 1, ["ntk", "linear", "llama3"]),
    ("inspect other.gguf", 1, ["mamba", "normtweak --help"]),
    ("inspect truncated.gguf", 1, ["truncated.gguf"]),
    ("inspect wrong_magic.gguf", 1, ["wrong_magic.gguf", "GGUF"]),
    # what does not fit
    ("logits good --tokens ids_too_large.safetensors -o out/x", 1, ["ids_too_large.safetensors", "[0, 320)"]),
    ("logits good --tokens other_name.safetensors -o out/x", 1, ["other_name.safetensors", "input_ids"]),
    ("logits good --tokens long_ids.safetensors -o out/x", 1, ["129", "128"]),
    ("logits overflowing --tokens ids.safetensors -o out/x", 1, ["block 1", "not finite"]),
    ("eval overflowing --text text.txt --context 64", 1, ["block 1", "not finite"]),
    ("eval good --reference overflowing --text text.txt --context 64", 1, ["the reference, block 1", "not finite"]),
    ("eval overflowing --lambada rows.jsonl", 1, ["block 1", "not finite"]),
    ("generate overflowing -o out/x --strategy llm-qat --samples 2 --tokens 16", 1, ["block 1", "not finite"]),
    ("logits nan --tokens ids.safetensors -o out/x", 1, [UP, "NaN"]),
    ("eval no_tokenizer --text text.txt", 1, ["tokenizer.json", "--reference"]),
    ("eval no_tokenizer --reference no_tokenizer --text text.txt", 1, ["no_tokenizer: no tokenizer.json"]),
    ("eval bad_tokenizer --text text.txt", 1, ["tokenizer.json"]),
    ("eval good --text short.txt --context 64", 1, ["short.txt", "64"]),
    ("eval good --text missing.txt", 1, ["missing.txt"]),
    ("eval no_tokenizer --lambada rows.jsonl", 1, ["tokenizer.json"]),
    ("eval good --lambada missing.txt", 1, ["missing.txt"]),
    ("eval good --lambada no_rows.jsonl", 1, ["no_rows.jsonl", "text"]),
    ("eval good --lambada no_text.jsonl", 1, ["no_text.jsonl:2", '"text"']),
    ("eval good --lambada no_string.jsonl", 1, ["no_string.jsonl:2", '"text"']),
    ("eval good --lambada no_object.jsonl", 1, ["no_object.jsonl:3", '"text"']),
    ("eval good --lambada not_json.jsonl", 1, ["not_json.jsonl:3", "JSON"]),
    ("eval good --lambada one_word.jsonl", 1, ["one_word.jsonl:3", "last word"]),
    ("eval good --lambada only_spaces_before.jsonl", 1, ["only_spaces_before.jsonl:1", "last word"]),
    ("eval good --lambada no_last_word.jsonl", 1, ["no_last_word.jsonl:1", "last word"]),
    ("eval good --lambada long_word.jsonl", 1, ["long_word.jsonl:1", "128"]),
    ("eval overflowing --task lambada_openai=rows.jsonl --task piqa=no_rows.jsonl", 1, ["no_rows.jsonl", "goal, sol1"]),
    ("eval overflowing --task piqa=no_field.jsonl", 1, ["no_field.jsonl:2", '"sol2"', "missing"]),
    ("eval good --task piqa=no_text.jsonl", 1, ["no_text.jsonl:1", '"goal"']),
    ("eval good --task piqa=label.jsonl", 1, ["label.jsonl:1", '"label"', "0 to 1", "2"]),
    ("eval good --task piqa=number.jsonl", 1, ["number.jsonl:1", '"sol1"', "5"]),
    ("eval good --task hellaswag=no_list.jsonl", 1, ["no_list.jsonl:1", '"endings"', "list"]),
    ("eval good --task arc_easy=no_choices.jsonl", 1, ["no_choices.jsonl:1", '"choices"', "object"]),
    ("eval good --task arc_easy=labels.jsonl", 1, ["labels.jsonl:1", '"choices.label"', "1 labels of 2"]),
    ("eval good --task arc_easy=answer.jsonl", 1, ["answer.jsonl:1", '"answerKey"', "C"]),
    ("eval good --task winogrande=no_gap.jsonl", 1, ["no_gap.jsonl:1", '"sentence"', "_"]),
    ("eval overflowing --task piqa=array.jsonl", 1, ["array.jsonl:1", "an object", '"goal"', "each line"]),
    ("eval overflowing --task piqa=list_of_rows.json", 1, ["list_of_rows.json:1", "JSON"]),
    ("eval overflowing --task hellaswag=no_endings.jsonl", 1, ["no_endings.jsonl:1", '"endings"', "missing"]),
    ("eval overflowing --task hellaswag=number_among.jsonl", 1, ["number_among.jsonl:1", '"endings"', "5"]),
    ("eval overflowing --task piqa=label_below.jsonl", 1, ["label_below.jsonl:1", '"label"', "0 to 1", "-1"]),
    ("eval overflowing --task piqa=label_text.jsonl", 1, ["label_text.jsonl:1", '"label"', "0 to 1", "one"]),
    ("eval overflowing --task piqa=label_share.jsonl", 1, ["label_share.jsonl:1", '"label"', "0 to 1", "0.5"]),
    ("eval overflowing --task piqa=label_null.jsonl", 1, ["label_null.jsonl:1", '"label"', "0 to 1", "null"]),
    ("eval overflowing --task piqa=no_label.jsonl", 1, ["no_label.jsonl:3", '"label"', "missing"]),
    ("eval overflowing --task openbookqa=no_stem.jsonl", 1, ["no_stem.jsonl:1", "no text stands before"]),
    ("eval overflowing --task piqa=no_tokens.jsonl", 1, ["no_tokens.jsonl:2", "answer", "empty"]),
    ("eval overflowing --task piqa=bad_utf8.jsonl", 1, ["bad_utf8.jsonl:2", "UTF-8"]),
    ("eval overflowing --task piqa=bom.jsonl", 1, ["bom.jsonl:1", "byte order mark"]),
    ("eval overflowing --task piqa=truncated.jsonl", 1, ["truncated.jsonl:2", "JSON"]),
    ("eval overflowing --task piqa=two_in_a_line.jsonl", 1, ["two_in_a_line.jsonl:1", "JSON"]),
    ("eval overflowing --task piqa=missing.jsonl", 1, ["missing.jsonl", "No such file"]),
    ("eval overflowing --task piqa=precious", 1, ["precious", "folder"]),
    ("eval overflowing --task piqa=pipe", 1, ["pipe", "is a pipe"]),
    ("eval overflowing --task =two_answers.jsonl", 2, ["--task", "hellaswag"]),
    ("eval overflowing --task piqa=two_answers.jsonl --task piqa=two_answers.jsonl", 2,
     ["--task piqa", "two_answers.jsonl", "twice"]),
    ("eval overflowing --task piqa=two_answers.jsonl --task piqa=elsewhere/two_answers.jsonl", 2,
     ["--task piqa", "two_answers.jsonl", "twice"]),
    ("eval overflowing --lambada rows.jsonl --task lambada_openai=rows.jsonl", 2,
     ["--task lambada_openai", "rows.jsonl", "twice"]),
    ("eval good --task piqa=long_answer.jsonl", 1, ["long_answer.jsonl:1", "128"]),
    ("generate no_tokenizer -o out/x --strategy language", 1, ["tokenizer"]),
    ("generate no_tokenizer -o out/x --text text.txt", 1, ["tokenizer.json", "--strategy llm-qat"]),
    ("generate good -o out/x --tokens 4000", 1, ["4000", "128"]),
    (f"quantize good {QUANTIZE} --group-size 48", 1, ["48", "q_proj", "64"]),
    (f"quantize good {QUANTIZE} --calibration few_ids.safetensors", 1, ["3 rows", "4"]),
    (f"quantize good {QUANTIZE} --calibration ids_too_large.safetensors", 1, ["ids_too_large.safetensors"]),
    (f"quantize good {QUANTIZE} --calibration long_ids.safetensors", 1, ["129", "128"]),
    (f"quantize good {QUANTIZE} --symmetric --rule *=float-zeros", 1, ["q_proj", "zero-points"]),
    (f"quantize good {QUANTIZE} --rule *=skip", 1, ["nothing to quantize"]),
    (f"quantize good {QUANTIZE} --rule *.donw_proj=bits:8", 1, ["*.donw_proj", "matches no linear", "model.layers."]),
    (f"quantize good {QUANTIZE} --rule lm_head=bits:8", 1, ["lm_head", "matches no linear"]),
    (f"quantize good {QUANTIZE} --calibration short_rows.safetensors", 1, ["1 token", "at least 2"]),
    (f"quantize good {QUANTIZE} --eval-text short.txt", 1, ["short.txt"]),
    (f"quantize no_tokenizer {QUANTIZE} --eval-text text.txt", 1, ["tokenizer.json", "leave out --eval-text"]),
    (f"quantize good {QUANTIZE} --eval-lambada one_word.jsonl", 1, ["one_word.jsonl:3"]),
    (f"quantize good {QUANTIZE} -o file", 1, ["file", "not a folder"]),
    (f"quantize good {QUANTIZE} -o endless", 1, ["endless", "without an end"]),
    (f"quantize good {QUANTIZE} -o good", 2, ["good", "replaced", "which this run reads"]),
    (f"quantize good {QUANTIZE} -o good/", 2, ["good", "replaced", "which this run reads"]),
    (f"quantize good {QUANTIZE} -o good_by_another_name", 2, ["good", "replaced", "which this run reads"]),
    (f"quantize good {QUANTIZE} -o precious", 1, ["precious", "replaced as a whole", "thesis", "another output"]),
    (f"quantize good {QUANTIZE} -o copy", 1, ["copy", "replaced as a whole", "config.json", "model.safetensors"]),
    (f"quantize good {QUANTIZE} -o noted", 1, ["noted", "replaced as a whole", "with notes.txt, "]),
    (f"quantize good {QUANTIZE} -o nested", 1, ["nested", "replaced as a whole", "with runs, "]),
    (f"quantize good {QUANTIZE} -o linked", 1, ["linked", "replaced as a whole", "with tokenizer.json, "]),
    (f"quantize good {QUANTIZE} -o holds_text --eval-text way_in", 2, ["holds_text", "way_in", "which this run reads"]),
    (f"quantize good {QUANTIZE} -o holds_text --rows way_in", 2, ["holds_text", "way_in", "which this run reads"]),
    (f"quantize good {QUANTIZE} -o holds_text --eval-lambada way_in", 2, ["holds_text", "which this run reads"]),
    ("quantize good --method rtn --group-size 32 -o holds_text --text way_in", 2, ["holds_text", "way_in", "which this run reads"]),
    (f"quantize good {QUANTIZE} --text text.txt", 2, ["--calibration excludes --text"]),
    (f"quantize good {QUANTIZE} -o holds_text --calibration way_in", 2, ["holds_text", "which this run reads"]),
    (f"quantize good {QUANTIZE} -o /", 1, ["/", "cannot be replaced"]),
    (f"quantize good {QUANTIZE} --json copy", 1, ["copy", "is a folder"]),
    ("tweak truncated --reference good -o good --calibration ids.safetensors", 1, ["truncated"]),
    ("tweak copy --reference good -o good --calibration ids.safetensors", 2, ["good", "which this run reads"]),
    ("tweak copy --reference good -o copy --calibration ids.safetensors", 2, ["copy", "which this run reads"]),
    ("generate good -o copy --samples 100000000 --tokens 100", 1, ["copy", "is a folder"]),
    ("logits good --tokens ids.safetensors -o copy", 1, ["copy", "is a folder"]),
    ("logits good --tokens ids.safetensors -o missing/x --json file/x", 1, ["file/x", "not a folder"]),
    (f"quantize nan {QUANTIZE}", 1, [UP, "NaN"]),
    (f"quantize large_norm {QUANTIZE} --store-dtype f16", 1, ["model.norm.weight: -70000 is", "float16", "bf16 or f32"]),
    (f"quantize large_norm {QUANTIZE} --store-dtype f16 --format hf", 1, ["model.norm.weight", "--store-dtype bf16"]),
    (f"quantize large_embedding {QUANTIZE} --store-dtype f16", 1, ["embed_tokens.weight", "--store-dtype bf16"]),
    (f"quantize large_skipped {QUANTIZE} --store-dtype f16 --rule *.down_proj=skip", 1, ["0.mlp.down_proj.weight"]),
    (f"quantize unsupported {QUANTIZE}", 1, ["MambaForCausalLM"]),
    ("tweak good --reference unsupported -o out --calibration ids.safetensors", 1, ["MambaForCausalLM"]),
    ("tweak missing --reference good -o out", 1, ["missing"]),
]


def arguments(line, home):
    """Names of things in `home` become their paths. The last of two values of an option counts."""
    words = shlex.split(line)
    for option in ("--group-size", "--method", "--calibration", "-o"):
        while words.count(option) > 1:
            del words[words.index(option):words.index(option) + 2]
    named = {path.name for path in home.iterdir()} | {"missing", "missing.txt", "missing/x", "file/x", "good/",
                                                  "out/x", "copy/config.json", "good/config.json",
                                                  "good/model.safetensors"}
    parts = [word.rpartition("=") for word in words]
    return [f"{before}{sign}{home}/{name}" if name in named and i > 0 else before + sign + name
            for i, (before, sign, name) in enumerate(parts)]


# `inspect` lists the tensors of a model that is not supported.
LISTED = ("inspect unsupported", "inspect other.gguf")


@functools.cache
def options_of(command):
    return set(re.findall(r"--[a-z-]+", cli_program.call(command, "--help").stdout))


@pytest.mark.parametrize("line, status, words", CASES, ids=[line or "nothing" for line, _, _ in CASES])
def test_one_line(line, status, words, home):
    names, old = sorted(home.iterdir()), cli_program.file_bytes(home)
    finished = cli_program.call(*arguments(line, home))
    assert finished.returncode == status, finished
    problem = finished.stderr.splitlines()[-1]
    assert problem.startswith("normtweak: ")
    for word in words:
        assert word in problem
    if status == 1:  # what is advised can be done
        assert set(re.findall(r" (--[a-z-]+)", problem)) <= options_of(line.split()[0])
    noise = [note for note in finished.stderr.splitlines()[:-1] if not note.startswith("text: ")]
    assert noise == []
    assert finished.stdout == "" or line in LISTED
    assert cli_program.file_bytes(home) == old
    assert sorted(home.iterdir()) == names


@pytest.mark.parametrize("command", ["", "quantize", "tweak", "generate", "eval", "logits", "inspect"])
def test_help(command):
    finished = cli_program.call(*command.split(), "--help")
    assert finished.returncode == 0 and "--help" in finished.stdout and finished.stderr == ""


def test_options_that_repeat_leave_the_model_alone(home, tmp_path):
    """--rule takes one value, so that MODEL may follow."""
    rules = ["--rule", "*_proj=bits:8", "--rule", "*.o_proj=skip", "--rule", "lm_head=skip"]
    finished = cli_program.call("quantize", *rules, home / "good", "-o", tmp_path / "out", "--method", "rtn",
                                "--group-size", 32, "--tweak", "none", "--calibration", home / "ids.safetensors",
                                "--quiet")
    assert (finished.returncode, finished.stderr) == (0, "")
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert any("o_proj" in name for name in config["ignore"])


def test_json_is_written_whole(home):
    """A report that cannot be written is an error, too."""
    finished = cli_program.call("inspect", home / "good", "--json", home / "file" / "report.json", "--quiet")
    assert finished.returncode == 1 and finished.stderr.startswith("normtweak: ") and finished.stderr.count("\n") == 1


@pytest.mark.parametrize("line", ["inspect good", "inspect ids.safetensors", "eval good --text text.txt --context 64",
                                  "--help", "eval --help", "--version"])
def test_standard_output_that_cannot_be_written(line, home):
    with open("/dev/full", "w", encoding="utf-8") as full:
        finished = subprocess.run([cli_program.PROGRAM, *arguments(line, home)], env=cli_program.ENVIRONMENT,
                                  stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == "normtweak: standard output: cannot be written: No space left on device"


def test_inspect_says_why_a_tokenizer_cannot_be_used(home, tmp_path):
    """The weights are sound all the same."""
    assert cli_program.report("inspect", home / "good", to=tmp_path)["tokenizer"] is True
    assert cli_program.report("inspect", home / "no_tokenizer", to=tmp_path)["tokenizer"] is False
    figures = cli_program.report("inspect", home / "bad_tokenizer", to=tmp_path)
    assert (figures["tokenizer"], figures["sound"]) == (False, True)
    assert "Syllables" in figures["tokenizer_problem"]


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))


def test_out_of_memory(home, tmp_path):
    """The rows written together need 48 GB for keys and values, and 6 GB on the disk."""
    command = [cli_program.PROGRAM, "generate", home / "good", "-o", tmp_path / "out", "--samples", "6000000",
               "--tokens", "128", "--generate-batch", "6000000", "--quiet"]
    finished = subprocess.run(command, env=cli_program.ENVIRONMENT, capture_output=True, text=True, check=False,
                              preexec_fn=limit_memory)
    assert finished.returncode == 1 and finished.stderr.count("\n") == 1
    assert finished.stderr.startswith("normtweak: out of memory; use fewer --samples or --tokens")
    assert list(tmp_path.iterdir()) == []


def test_disk_without_room(home, tmp_path):
    """Seen before the work: the model would not write so many rows in years."""
    samples = shutil.disk_usage(tmp_path).free // (128 * 8) + 10**6
    if samples > 2**31 - 1:
        pytest.skip("the disk has room for all that can be asked for")
    finished = cli_program.call("generate", home / "good", "-o", tmp_path / "out", "--samples", samples, "--tokens", 128)
    assert finished.returncode == 1 and finished.stderr.count("\n") == 1
    assert "the disk has" in finished.stderr and str(tmp_path / "out") in finished.stderr


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


def test_write_that_fails(home, tmp_path):
    """At a limit of the file size; a full disk fails in the same place."""
    command = [cli_program.PROGRAM, "quantize", home / "good", "-o", tmp_path / "out", "--method", "rtn", "--tweak",
               "none", "--group-size", "32", "--calibration", home / "ids.safetensors", "--quiet"]
    finished = subprocess.run(command, env=cli_program.ENVIRONMENT, capture_output=True, text=True, check=False,
                              preexec_fn=limit_file_size)
    assert finished.returncode == 1 and finished.stderr.count("\n") == 1
    assert "model.safetensors" in finished.stderr and "File too large" in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_result_beyond_its_type(home, tmp_path):
    """Known only when the work is done: what an export's codes and scales give."""
    finished = cli_program.call("quantize", home / "large_skipped", "-o", tmp_path / "out", "--format", "hf", "--method",
                                "rtn", "--tweak", "none", "--group-size", 32, "--store-dtype", "f16", "--calibration",
                                home / "ids.safetensors", "--quiet")
    assert finished.returncode == 1 and finished.stderr.count("\n") == 1
    assert re.search(r"0\.mlp\.down_proj\.weight: -7\d+ is .*float16.*--store-dtype bf16 or f32", finished.stderr)
    assert list(tmp_path.iterdir()) == []


WRITERS = {
    "quantize": "quantize good -o OUT --method rtn --tweak none --group-size 32 --calibration ids.safetensors",
    "quantize to GGUF": "quantize good -o OUT.gguf --format gguf --gguf-type Q4_0 --method rtn --tweak none --calibration ids.safetensors",
    "tweak": "tweak quantized --reference good -o OUT --steps 1 --lr 0.001 --calibration ids.safetensors",
    "a patch": "tweak quantized --reference good --patch OUT --steps 1 --lr 0.01 --unguarded --calibration ids.safetensors",
    "convert": "convert quantized -o OUT --format gptq",
    "search": "search good -o OUT --method rtn --group-size 32 --calibration ids.safetensors --grid lr=0.001",
    "generate": "generate good -o OUT --samples 2 --tokens 8",
    "logits": "logits good --tokens ids.safetensors -o OUT",
    "a plan": "quantize good -o OUT-2 --method rtn --calibration ids.safetensors --save-plan OUT",
}


@pytest.fixture(scope="module")
def quantized(home):
    cli_program.run("quantize", home / "good", "-o", home / "quantized", "--method", "rtn", "--tweak", "none", "--symmetric",
                    "--group-size", 32, "--calibration", home / "ids.safetensors")


@pytest.mark.parametrize("name", WRITERS)
def test_no_folder_is_left_of_a_write_that_fails(name, home, quantized, tmp_path):
    """Those on the way to the output were made for it."""
    out = tmp_path / "new" / "folders" / "out"
    words = [word.replace("OUT", str(out)) if "OUT" in word else home / word if (home / word).exists() else word
             for word in WRITERS[name].split()]
    finished = subprocess.run([cli_program.PROGRAM, *map(str, words), "--quiet"], env=cli_program.ENVIRONMENT,
                              capture_output=True, text=True, check=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert finished.returncode == 1 and "File too large" in finished.stderr, finished
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stopped_while_it_writes(number, home, tmp_path):
    """Nothing is left. The logits take so long to write that the file is seen before its end."""
    cli_program.save_ids(tmp_path / "many.safetensors", cli_models.ids(4000, 32))
    output = tmp_path / "new" / "folders" / "logits.safetensors"
    process = subprocess.Popen([cli_program.PROGRAM, "logits", home / "good", "--tokens", tmp_path / "many.safetensors",
                                "-o", output, "--quiet"], env=cli_program.ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while not list(output.parent.glob(".*.partial")):
        assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == -number
    assert said == ("normtweak: interrupted; what was not finished has been removed\n" if number == signal.SIGINT else "")
    assert [path.name for path in tmp_path.iterdir()] == ["many.safetensors"]


def test_killed(home, tmp_path):
    """At whatever moment: the old result, or the new one."""
    command = [cli_program.PROGRAM, "quantize", home / "good", "-o", tmp_path / "out", "--method", "rtn", "--tweak",
               "none", "--group-size", "32", "--calibration", home / "ids.safetensors", "--quiet"]

    def quantize(bits, seconds=None):
        begin = time.monotonic()
        process = subprocess.Popen([*command, "--bits", str(bits)], env=cli_program.ENVIRONMENT)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return time.monotonic() - begin

    quantize(8)
    before = cli_program.file_bytes(tmp_path / "out")
    duration = quantize(4)
    after = cli_program.file_bytes(tmp_path / "out")
    assert before != after
    draw, bits = random.Random(0), 8
    for _ in range(10):
        quantize(bits, duration * draw.uniform(0.6, 1.05))  # what writes is near the end
        assert cli_program.file_bytes(tmp_path / "out") in (before, after)
        bits = 12 - bits
    quantize(8)  # removes what the killed ones left
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
