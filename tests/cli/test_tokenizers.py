"""The files beside tokenizer.json change the ids, as they do for transformers' AutoTokenizer."""
import contextlib
import json
import pathlib
import shutil

import gguf
import pytest
import transformers
from safetensors.torch import load_file
from tokenizers import processors

import cli_gguf
import cli_models
import text_tokenizers
from cli_program import call, run

ROWS = 400  # of the embedding; the tokenizer has 316 tokens

TEXT = (" The river<|end|> carries 2024 stones ,it's<x> <x>green <|begin|> water<|endoftext|>\n\n<y>  the <y>\tIt is <z>river"
        "<zz>rivers <<x>> e\u0301 Ⅷ don't  <image> A<pad>B <unk> <|padding|> <s>The</s> light birds7<w> <w> under <v>")


def added(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False,
            "special": False, **flags}


def digits_first(document):
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, document["pre_tokenizer"]]}
    document["model"]["ignore_merges"] = True


def gaps(document):
    document["added_tokens"] += [{"id": 390, **added("<x>")}, {"id": 380, **added("<y>", lstrip=True)},
                                 {"id": 5, **added("river", single_word=True)}]


def no_post_processor(document):
    document["post_processor"] = None


def both_ends(document):
    document["post_processor"] = json.loads(processors.TemplateProcessing(
        single="<|begin|> $A <|end|>", pair=None,
        special_tokens=[("<|begin|>", 0), ("<|end|>", 1)]).__getstate__())


DECODER = {"330": added("<x>", lstrip=True), "317": added("<y>", rstrip=True, special=True),
           "0": added("<|begin|>", rstrip=True), "316": added("<z>", single_word=True, normalized=True)}
MARKED = {"__type": "AddedToken", **added("<x>", lstrip=True, rstrip=True)}

# name → model type, tokenizer_config.json, special_tokens_map.json, added_tokens.json, an edit of tokenizer.json
FOLDERS = {
    "plain": ("llama", None, None, None, None),
    "gaps in the ids": ("llama", {}, None, None, gaps),
    "no post-processor": ("llama", {"add_bos_token": True, "bos_token": "<|begin|>"}, None, None, no_post_processor),
    "BOS and EOS flags mean nothing": ("llama", {"add_bos_token": False, "add_eos_token": True, "eos_token": "<|end|>"},
                                       None, None, both_ends),
    "added_tokens_decoder": ("llama", {"added_tokens_decoder": DECODER}, None, None, None),
    "added_tokens_decoder hides the other files": (
        "llama", {"added_tokens_decoder": DECODER}, {"eos_token": "river"}, {"<w>": 350}, None),
    "roles in the config": ("llama", {"bos_token": "<s>", "eos_token": "river", "pad_token": None, "unk_token": "<unk>",
                                      "mask_token": "<|end|>"}, None, None, None),
    "a role with flags": ("llama", {"eos_token": MARKED, "bos_token": {**MARKED, "content": "river"}}, None, None,
                          None),
    "a role of an added token": ("llama", {"eos_token": "<x>", "added_tokens_decoder": DECODER}, None, None, None),
    "special_tokens_map": ("llama", {}, {"bos_token": "<s>", "eos_token": added("</s>", lstrip=True),
                                         "pad_token": "river"},
                           None, None),
    "special_tokens_map over the config": ("llama", {"eos_token": "<x>"}, {"eos_token": "<y>"}, None, None),
    "added_tokens.json": ("llama", {"eos_token": "<y>"}, None, {"<x>": 350, "<y>": 340, "<z>": 316, "river": 5}, None),
    "added_tokens.json and a map": ("llama", {}, {"eos_token": "<y>", "extra_special_tokens": ["<w>"]},
                                    {"<w>": 330, "<x>": 350, "<y>": 340}, None),
    "additional_special_tokens": ("llama", {"additional_special_tokens": ["<x>", "river", "<y>"]}, None, None, None),
    "additional_special_tokens in the map": ("llama", {}, {"additional_special_tokens": ["<x>", "<y>"]}, None, None),
    "additional and extra": ("llama", {"additional_special_tokens": ["<x>"], "extra_special_tokens": ["<y>", MARKED]},
                             None, None, None),
    "extra in config and map": ("llama", {"extra_special_tokens": ["<y>"]},
                                {"extra_special_tokens": ["<y>", {"content": "<x>", "rstrip": True}],
                                 "additional_special_tokens": ["<z>"]},
                                None, None),
    "extra by name": ("llama", {"extra_special_tokens": {"image_token": "<image>", "video_token": "<v>"},
                                "audio_token": "<w>"},
                      None, None, None),
    "additional beside extra by name": (
        "llama", {"additional_special_tokens": ["<x>"], "extra_special_tokens": {"a_token": "<y>"}}, None, None, None),
    "extra by name in the map": ("llama", {"additional_special_tokens": ["<x>"]},
                                 {"extra_special_tokens": {"a_token": "<y>"}},
                                 None, None),
    "roles of the model": ("llama", {"image_token": "<image>", "more_token": MARKED}, {"other_token": "<v>"}, None,
                           None),
    "general class": ("llama", {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": True}, None, None,
                      digits_first),
    "Llama's class": ("llama", {"tokenizer_class": "LlamaTokenizerFast", "legacy": True, "bos_token": "<s>"}, None,
                      None, digits_first),
    "unknown class": ("llama", {"tokenizer_class": "OddTokenizer"}, None, None, digits_first),
    "GPT-2's class": ("llama", {"tokenizer_class": "GPT2TokenizerFast"}, None, None, digits_first),
    "GPT-2's class with a space": ("llama", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True,
                                             "bos_token": "<|begin|>",
                                             "eos_token": "<|end|>", "unk_token": None}, None, None, gaps),
    "GPT-2's class and a decoder": ("llama", {"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": DECODER},
                                    None, None, gaps),
    "GPT-NeoX's class": ("llama", {"tokenizer_class": "GPTNeoXTokenizer", "pad_token": "<pad>"}, None, None,
                         digits_first),
    "Qwen2's class": ("llama", {"tokenizer_class": "Qwen2Tokenizer", "bos_token": MARKED}, None, None, digits_first),
    "RoBERTa's class": ("llama", {"tokenizer_class": "RobertaTokenizer"}, None, None, digits_first),
    "RoBERTa's class with a space": ("llama", {"tokenizer_class": "RobertaTokenizerFast", "add_prefix_space": True,
                                               "cls_token": "<|begin|>", "sep_token": "<|end|>", "mask_token": MARKED},
                                     None, None, gaps),
    "BART's class and a decoder": ("llama", {"tokenizer_class": "BartTokenizer", "added_tokens_decoder": DECODER},
                                   {"sep_token": "river"}, None, no_post_processor),
    "LED's class": ("llama", {"tokenizer_class": "LEDTokenizerFast"}, {"sep_token": "<w>"}, {"<x>": 350}, both_ends),
    "MVP's class": ("gpt2", {"tokenizer_class": "MvpTokenizer"}, None, None, None),
    "DeBERTa's class": ("llama", {"tokenizer_class": "DebertaTokenizer", "mask_token": "<w>"}, None, None,
                        digits_first),
    "Blenderbot's class": ("llama", {"tokenizer_class": "BlenderbotTokenizer", "mask_token": "<w>"}, None, None,
                           digits_first),
    "Blenderbot's class without a space": ("llama", {"tokenizer_class": "BlenderbotTokenizerFast", "mask_token": "<x>",
                                                     "add_prefix_space": False, "added_tokens_decoder": DECODER},
                                           None, None, both_ends),
    "CodeGen's class": ("llama", {"tokenizer_class": "CodeGenTokenizer"}, None, None, digits_first),
    "Cohere's class": ("llama", {"tokenizer_class": "CohereTokenizerFast"}, None, None, no_post_processor),
    "Cohere's class and roles": ("llama", {"tokenizer_class": "CohereTokenizer", "bos_token": MARKED,
                                           "eos_token": "<y>", "extra_special_tokens": ["<z>", "river"],
                                           "added_tokens_decoder": DECODER}, None, None, gaps),
    "Qwen3.5's class": ("llama", {"tokenizer_class": "Qwen3_5Tokenizer", "eos_token": MARKED}, None, None,
                        digits_first),
    "class in config.json": ("llama GPT2TokenizerFast", {}, None, None, digits_first),
    "GPT-2": ("gpt2", None, None, None, digits_first),
    "GPT-2 with a space": ("gpt2", {"add_prefix_space": True, "eos_token": "<x>"}, {"bos_token": "<|begin|>"}, None,
                           gaps),
    "GPT-2, general class": ("gpt2", {"tokenizer_class": "PreTrainedTokenizerFast"}, None, None, digits_first),
    "GPT-2, Llama's class": ("gpt2", {"tokenizer_class": "LlamaTokenizer"}, None, None, digits_first),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder for each model type, with a tokenizer.json."""
    root = tmp_path_factory.mktemp("models")
    sizes = {"llama": cli_models.llama(vocab_size=ROWS, hidden_size=16, intermediate_size=16,
                                       max_position_embeddings=512),
             "gpt2": cli_models.gpt2(vocab_size=ROWS, n_embd=16, n_head=2, n_positions=512)}
    for name, model in sizes.items():
        cli_models.save_with_tokenizer(model, root / name)
    return root


def make_folder(models, target, name):
    kind, config, special_tokens_map, added_tokens, edit = FOLDERS[name]
    model_type, _, class_in_config = kind.partition(" ")
    shutil.copytree(models / model_type, target)
    files = {"tokenizer_config": config, "special_tokens_map": special_tokens_map, "added_tokens": added_tokens}
    for stem, content in files.items():
        if content is not None:
            (target / f"{stem}.json").write_text(json.dumps(content), encoding="utf-8")
    if edit is not None:
        document = json.loads((target / "tokenizer.json").read_text(encoding="utf-8"))
        edit(document)
        (target / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    if class_in_config:
        cli_models.edit_config(target, lambda settings: settings.update(tokenizer_class=class_in_config))
    return target


def cut(folder, text, tokens, to):
    file = pathlib.Path(to) / "text.txt"
    file.write_text(text, encoding="utf-8", newline="")
    return ["generate", folder, "--text", file, "--samples", 1, "--tokens", tokens, "-o",
            pathlib.Path(to) / "ids.safetensors"]


@pytest.mark.parametrize("name", FOLDERS)
def test_ids_are_those_of_auto_tokenizer(name, models, tmp_path):
    folder = make_folder(models, tmp_path / "model", name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text in (TEXT, TEXT.lstrip() + " "):
        expected = tokenizer(text)["input_ids"]
        run(*cut(folder, text, len(expected), tmp_path))
        assert load_file(tmp_path / "ids.safetensors")["input_ids"].tolist() == [expected]
        assert call(*cut(folder, text, len(expected) + 1, tmp_path)).returncode == 1  # there are no more


@pytest.mark.parametrize("name,note", [
    ("unknown class", "tokenizer_class OddTokenizer is not known here; tokenizer.json is used as it is"),
    ("GPT-2's class", "transformers 5 loads it as GPT2Tokenizer, which replaces its pre_tokenizer, ignore_merges"),
    ("Qwen2's class",
     "transformers 5 loads it as Qwen2Tokenizer, which replaces its normalizer, pre_tokenizer, ignore_merges"),
    ("GPT-NeoX's class", "replaces its normalizer, pre_tokenizer, ignore_merges, post_processor"),
    ("plain", ""), ("Llama's class", ""), ("GPT-2 with a space", "replaces its pre_tokenizer")])
def test_what_a_class_does_is_noted(name, note, models, tmp_path):
    folder = make_folder(models, tmp_path / "model", name)
    shown = call("inspect", folder, "--quick").stdout
    assert note in shown and ("note:" in shown) == bool(note)


@pytest.mark.parametrize("name", ["T5Tokenizer", "CodeLlamaTokenizer", "WhisperTokenizer", "CLIPTokenizer", "BertTokenizer"])
def test_classes_with_other_rules_are_refused(name, models, tmp_path):
    """The ids of tokenizer.json are not those of the class, if that loads it at all."""
    folder = make_folder(models, tmp_path / "model", "plain")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}), encoding="utf-8")
    own = cli_models.load_tokenizer(folder).encode(TEXT).ids
    theirs = None
    with contextlib.suppress(Exception):  # it may have no token for what it does not know
        theirs = transformers.AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]
    assert theirs != own
    refused = call(*cut(folder, TEXT, 20, tmp_path))
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert f"tokenizer_class {name} is built in a way that is not supported" in refused.stderr
    assert f"cannot be used: {folder}/tokenizer_config.json" in call("inspect", folder, "--quick").stdout


IDS = {
    "of a billion": ({"id": 10**9, **added("<x>")},),
    "used twice": ({"id": 316, **added("<x>")}, {"id": 316, **added("<y>")}),
    "of a token": ({"id": 5, **added("<x>")}, {"id": 317, **added("<y>")}),
}


@pytest.mark.parametrize("tokens", IDS.values(), ids=IDS)
def test_every_command_notes_ids_that_are_not_those_of_the_file(tokens, models, tmp_path):
    folder = make_folder(models, tmp_path / "model", "plain")
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    document["added_tokens"] += tokens
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    theirs = cli_models.load_tokenizer(folder)
    odd = next(token for token in tokens if theirs.token_to_id(token["content"]) != token["id"])
    note = (f"added token \"{odd['content']}\" has the id {odd['id']}; it gets "
            f"{theirs.token_to_id(odd['content'])}, as in transformers")
    assert note in call("inspect", folder, "--quick").stdout
    assert note in call(*cut(folder, TEXT, 20, tmp_path)).stderr
    assert note in call("eval", folder, "--text", tmp_path / "text.txt", "--context", 16).stderr


@pytest.mark.parametrize("file, content", [
    ("tokenizer_config", {"added_tokens_decoder": {"399": added("<x>"), "317": added("<y>")}}),
    ("added_tokens", {"<x>": 399, "<y>": 317})])
def test_ids_beside_tokenizer_json_are_noted(file, content, models, tmp_path):
    folder = make_folder(models, tmp_path / "model", "plain")
    (folder / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert theirs.convert_tokens_to_ids(["<y>", "<x>"]) == [316, 317]
    shown = call("inspect", folder, "--quick").stdout
    assert "added token \"<y>\" has the id 317; it gets 316, as in transformers, and 1 more" in shown


@pytest.mark.parametrize("file,content,message", [
    ("tokenizer_config", [], "tokenizer_config.json: expected an object, found array"),
    ("tokenizer_config", {"bos_token": 5}, "tokenizer_config.json: bos_token: expected a string, found number"),
    ("tokenizer_config", {"added_tokens_decoder": {"x": added("<x>")}}, "added_tokens_decoder: x is not an id"),
    ("tokenizer_config", {"added_tokens_decoder": {"5": "<x>"}}, "added_tokens_decoder.5: expected an object"),
    ("tokenizer_config", {"split_special_tokens": True}, "split_special_tokens: is not supported"),
    ("special_tokens_map", {"additional_special_tokens": [added("<x>")]},
     "additional_special_tokens[0]: expected a string"),
    ("added_tokens", {"<x>": "5"}, "added_tokens.json: <x>: expected a whole number, found string")])
def test_malformed_files_are_named(file, content, message, models, tmp_path):
    folder = make_folder(models, tmp_path / "model", "plain")
    (folder / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
    refused = call(*cut(folder, TEXT, 20, tmp_path))
    assert refused.returncode == 1 and message in refused.stderr and refused.stderr.count("\n") == 1


def repeat_merge(document):
    document["model"]["merges"] += document["model"]["merges"][:1]


def name_version(document):
    document["model"]["merges"] = ["#version: 0.2", *(" ".join(merge) for merge in document["model"]["merges"])]


def contradict(document):
    document["added_tokens"].append({"id": 399, **added("river")})
    document["added_tokens"].append({"id": 7, **added("<x>")})
    document["added_tokens"].append({"id": 7, **added("<y>")})
    document["added_tokens"].append({"id": 8, **added("<x>", rstrip=True, special=True)})


def leave_hole(document):
    vocabulary = document["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.get)
    vocabulary[last] = 360
    document["added_tokens"].append({"id": 361, **added("<x>")})


@pytest.mark.parametrize("edit", [repeat_merge, name_version, contradict, leave_hole])
def test_odd_files_give_the_ids_of_tokenizers(edit, models, tmp_path):
    folder = make_folder(models, tmp_path / "model", "plain")
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    edit(document)
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    expected = cli_models.load_tokenizer(folder).encode(TEXT).ids
    run(*cut(folder, TEXT, len(expected), tmp_path))
    assert load_file(tmp_path / "ids.safetensors")["input_ids"].tolist() == [expected]


@pytest.fixture(scope="module")
def small(models, tmp_path_factory):
    """A model whose embedding has fewer rows than the tokenizer has tokens: `<x>` and `<s>` lie beyond it."""
    folder = tmp_path_factory.mktemp("small") / "model"
    cli_models.save_with_tokenizer(
        cli_models.llama(vocab_size=316, hidden_size=16, intermediate_size=16, max_position_embeddings=512), folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"extra_special_tokens": ["<x>", "<s>"]}),
                                                  encoding="utf-8")
    return folder


BEYOND = "token <x> has the id 316, and the model's embedding has 316 rows for the tokenizer's 318 tokens"


@pytest.mark.parametrize("arguments", [
    ["generate", "MODEL", "--text", "TEXT", "-o", "OUT.safetensors", "--samples", 1, "--tokens", 8],
    ["quantize", "MODEL", "--text", "TEXT", "-o", "OUT", "--bits", 4, "--samples", 3, "--tokens", 8],
    ["quantize", "MODEL", "-o", "OUT", "--bits", 4, "--eval-text", "TEXT"],
    ["quantize", "MODEL", "-o", "OUT", "--bits", 4, "--eval-rows", "TEXT"],
    ["quantize", "MODEL", "-o", "OUT", "--bits", 4, "--eval-lambada", "LAMBADA"],
    ["eval", "MODEL", "--text", "TEXT"], ["eval", "MODEL", "--rows", "TEXT"], ["eval", "MODEL", "--lambada",
                                                                               "LAMBADA"]])
def test_tokens_beyond_the_embedding_are_named(arguments, small, tmp_path):
    (tmp_path / "text.txt").write_text(cli_models.text(500) + "<x>", encoding="utf-8")
    (tmp_path / "lambada.jsonl").write_text(json.dumps({"text": "The river<x> carries stones"}) + "\n",
                                            encoding="utf-8")
    places = {"MODEL": small, "TEXT": tmp_path / "text.txt", "LAMBADA": tmp_path / "lambada.jsonl",
              "OUT": tmp_path / "out",
              "OUT.safetensors": tmp_path / "out.safetensors"}
    arguments = [places.get(argument, argument) for argument in arguments]
    refused = call(*arguments)
    assert refused.returncode == 1 and BEYOND in refused.stderr.splitlines()[-1]
    assert "text.txt" in refused.stderr or "lambada.jsonl:1" in refused.stderr


def test_texts_within_the_embedding_are_fine(small, tmp_path):
    run(*cut(small, cli_models.text(200), 100, tmp_path))
    run("generate", small, "--samples", 2, "--tokens", 8, "-o", tmp_path / "made.safetensors")


@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_inspect_does_not_call_such_a_model_sound(quick, small):
    refused = call("inspect", small, *quick)
    assert refused.returncode == 1 and "sound" not in refused.stdout
    assert "the tokenizer has 318 tokens, but the embedding has 316 rows" in refused.stderr


def test_first_and_last_tokens_beyond_the_embedding(small, tmp_path):
    folder = shutil.copytree(small, tmp_path / "model")
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    document["post_processor"] = json.loads(processors.TemplateProcessing(
        single="<x> $A", pair=None, special_tokens=[("<x>", 316)]).__getstate__())
    document["added_tokens"].append({"id": 316, **added("<x>", special=True)})
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    for command in (["generate", folder, "-o", tmp_path / "made.safetensors"], ["quantize", folder, "-o",
                                                                                tmp_path / "out"]):
        refused = call(*command, "--samples", 3, "--tokens", 8)
        assert refused.returncode == 1 and f"{folder}/tokenizer.json: {BEYOND}" in refused.stderr

    ends = shutil.copytree(small, tmp_path / "ends")
    (ends / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 999]}), encoding="utf-8")
    made = call("generate", ends, "--samples", 2, "--tokens", 8, "-o", tmp_path / "made.safetensors")
    assert made.returncode == 0
    assert "`eos_token_id` 999 lies outside the vocabulary of 316 tokens" in made.stderr


def add_tokens(writer, tokenizer):
    """The tokens of a byte-level BPE, and nothing on how a text is cut."""
    document = json.loads(tokenizer.to_str())
    special = {token["id"] for token in document["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([tokenizer.id_to_token(id) for id in range(tokenizer.get_vocab_size())])
    writer.add_token_types([3 if id in special else 1 for id in range(tokenizer.get_vocab_size())])
    writer.add_token_merges([" ".join(merge) for merge in document["model"]["merges"]])
    writer.add_bos_token_id(0)


def test_what_is_assumed_of_a_gguf_file_is_noted(models, tmp_path, monkeypatch):
    """Its text is cut as llama.cpp does by default; the `tokenizers` package is told the same regexes."""
    monkeypatch.setattr(gguf.GGUFWriter, "add_rope_freq_base", lambda *_: None)
    file, tokenizer = tmp_path / "model.gguf", cli_models.load_tokenizer(models / "llama")
    model = cli_models.llama(vocab_size=ROWS, hidden_size=64, intermediate_size=64, max_position_embeddings=512)
    cli_gguf.write(file, model, "llama", gguf.GGMLQuantizationType.F32, lambda writer: add_tokens(writer, tokenizer))
    shown = call("inspect", file, "--quick").stdout
    for note in ("tokenizer.ggml.pre is missing; llama.cpp's default rules are assumed",
                 "tokenizer.ggml.add_bos_token is missing; as in llama.cpp, texts are assumed to start without the BOS token",
                 "llama.rope.freq_base is missing; 10000 is assumed"):
        assert f"note: {file}: " in shown and note in shown
    tokenizer.pre_tokenizer = text_tokenizers.splits(*text_tokenizers.GGUF_DEFAULT)
    text = "Costs 12345678 dollars -- (it's) a+b<=c ... stones,  and 007!?\n"
    expected = tokenizer.encode(text, add_special_tokens=False).ids
    run(*cut(file, text, len(expected), tmp_path))
    assert load_file(tmp_path / "ids.safetensors")["input_ids"].tolist() == [expected]
