"""GGUF files that the program writes: what llama.cpp's converter would write of the same weights, or a refusal."""
import base64
import functools
import json
import shutil

import gguf
import numpy
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

import cli_gguf
import cli_models
import cli_program
import family_gguf
import family_models
import text_folders
import text_subwords
import text_tokenizers
from family_configs import FAMILIES

PLAN = ["--method", "rtn", "--bits", 8, "--group-size", 16, "--tweak", "none", "--dtype", "f32"]
# Keys that the converter leaves to llama.cpp's defaults, or to what follows from others.
MORE_KEYS = {"attention.head_count_kv", "attention.key_length", "attention.value_length", "vocab_size",
             "rope.dimension_count", "rope.freq_base", "attention.sliding_window_pattern", "final_logit_softcapping",
             "expert_feed_forward_length"}
# What the converter writes whatever the config says.
OTHER_VALUES = {"glm": {"context_length", "rope.freq_base"}, "bloom": {"context_length"}, "falcon": {"context_length"}}
CASES = [pytest.param(family, case, id=f"{family}: {case}") for family in FAMILIES for case in FAMILIES[family].cases]


class Home:
    def __init__(self, folder):
        self.folder = folder
        self.calibration = cli_program.save_ids(folder / "ids.safetensors", family_models.ids(8, 16, seed=3))

    def quantize(self, model, output, *options):
        return cli_program.call("quantize", model, "-o", output, "--calibration", self.calibration, *PLAN, "--quiet",
                                *options)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("gguf_write"))


def read(path):
    """Metadata with their types, and tensors."""
    reader = gguf.GGUFReader(path)
    keys = {name: (field.types, field.contents()) for name, field in reader.fields.items()
            if not name.startswith("GGUF.")}
    return keys, {tensor.name: tensor for tensor in reader.tensors}


def check_keys(family, found, expected):
    prefix = family_gguf.architecture(family) + "."
    for name, value in expected.items():
        if name.removeprefix(prefix) in OTHER_VALUES.get(family, ()):
            continue
        assert found.get(name) == value, name
    more = {name.removeprefix(prefix) for name in found.keys() - expected.keys() if name.startswith(prefix)}
    assert more <= MORE_KEYS


def check_tensors(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].tensor_type == tensor.tensor_type and found[name].data.shape == tensor.data.shape, name
        tolerance = 1e-6 if name.startswith("rope_f") else 0  # powers, rounded here and there
        numpy.testing.assert_allclose(found[name].data, tensor.data, rtol=tolerance, atol=0, err_msg=name)


@pytest.mark.parametrize("family, case", CASES)
def test_every_family(family, case, home, tmp_path):
    """The same tensors, names and metadata, and a model that reads back as the one that it was made of; or nothing."""
    family_models.make(family, case).save_pretrained(tmp_path / "model")
    written = home.quantize(tmp_path / "model", tmp_path / "out.gguf", "--format", "gguf", "--gguf-type", "F32")
    if written.returncode != 0:
        assert not family_gguf.holds(family, case), written.stderr
        assert not (tmp_path / "out.gguf").exists()
        assert "GGUF file" in written.stderr and written.stderr.count("\n") == 1
        return
    assert home.quantize(tmp_path / "model", tmp_path / "hf", "--format", "hf").returncode == 0
    expected = cli_program.logits(tmp_path / "hf", family_models.IDS, tmp_path)
    found = cli_program.logits(tmp_path / "out.gguf", family_models.IDS, tmp_path)
    assert family_models.relative(found, expected) < 1e-5
    if not family_gguf.holds(family, case):
        return
    family_gguf.write(tmp_path / "converted.gguf", family, family_models.opened(tmp_path / "hf", family))
    keys, tensors = read(tmp_path / "out.gguf")
    wanted_keys, wanted_tensors = read(tmp_path / "converted.gguf")
    check_keys(family, keys, wanted_keys)
    check_tensors(tensors, wanted_tensors)
    assert keys["general.file_type"][1] == gguf.LlamaFileType.ALL_F32
    assert keys["general.quantization_version"][1] == gguf.GGML_QUANT_VERSION


@pytest.mark.parametrize("preset, kind", [("F16", "F16"), ("BF16", "BF16")])
def test_types(preset, kind, home, tmp_path):
    """Matrices have the preset's type, vectors are F32."""
    family_models.make("qwen2", "one key").save_pretrained(tmp_path / "model")
    for name in ("F32", preset):
        made = home.quantize(tmp_path / "model", tmp_path / f"{name}.gguf", "--format", "gguf", "--gguf-type", name)
        assert made.returncode == 0, made.stderr
    (_, exact), (keys, found) = read(tmp_path / "F32.gguf"), read(tmp_path / f"{preset}.gguf")
    kind = gguf.GGMLQuantizationType[kind]
    for name, tensor in found.items():
        assert tensor.tensor_type == (kind if len(tensor.shape) > 1 else gguf.GGMLQuantizationType.F32), name
        expected = gguf.quants.quantize(exact[name].data, tensor.tensor_type)
        assert numpy.array_equal(tensor.data.view(numpy.uint8), expected.view(numpy.uint8)), name
    assert keys["general.file_type"][1] == gguf.LlamaFileType[f"MOSTLY_{preset}"]


def save_byte_level(folder):
    cli_models.save_with_tokenizer(cli_models.llama(), folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|end|>",
        "chat_template": [{"name": "default", "template": "{{ x }}"}, {"name": "tools", "template": "{{ y }}"}]}))
    return " The river<|end|> carries 2024 stones ,it's\n\nwater \U0001F600 turns"


def save_sentencepiece(folder):
    cli_models.save(cli_models.llama(vocab_size=1504, bos_token_id=1, eos_token_id=2), folder)
    (folder / "tokenizer.model").write_bytes(text_folders.plain_bpe())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer",
                                                              "add_bos_token": True}))
    (folder / "chat_template.jinja").write_text("{{ z }}")
    return "The river carries  2024 stones, it's foo\tgreen \n\n日本 naïve \U0001F600 " + cli_models.text(40)


def ids_of(model, text, count, to):
    (to / "text.txt").write_text(text, encoding="utf-8", newline="")
    cli_program.run("generate", model, "--text", to / "text.txt", "--samples", 1, "--tokens", count, "-o", to / "ids")
    return load_file(to / "ids")["input_ids"][0].tolist()


@pytest.fixture(scope="module", params=[save_byte_level, save_sentencepiece], ids=["byte level", "SentencePiece"])
def with_tokenizer(request, home, tmp_path_factory):
    """A folder, the GGUF file made of it, and a text."""
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "model").mkdir()
    text = request.param(folder / "model")
    made = home.quantize(folder / "model", folder / "out.gguf", "--format", "gguf", "--gguf-type", "F16")
    assert made.returncode == 0, made.stderr
    return folder, text


def test_tokenizer_gives_the_same_ids(with_tokenizer, tmp_path):
    folder, text = with_tokenizer
    expected = AutoTokenizer.from_pretrained(folder / "model")(text)["input_ids"][:cli_models.CONTEXT]
    assert ids_of(folder / "out.gguf", text, len(expected), tmp_path) == expected


def test_tokenizer_of_transformers_gives_the_same_ids(with_tokenizer):
    """Read by the code of another program."""
    folder, _ = with_tokenizer
    text = cli_models.text(60)
    expected = AutoTokenizer.from_pretrained(folder / "model")(text)["input_ids"]
    assert AutoTokenizer.from_pretrained(folder, gguf_file="out.gguf")(text)["input_ids"] == expected


def value(keys, name):
    return keys[f"tokenizer.{name}"][1]


def test_keys_of_byte_level_tokenizer(home, tmp_path):
    (tmp_path / "model").mkdir()
    save_byte_level(tmp_path / "model")
    assert home.quantize(tmp_path / "model", tmp_path / "out.gguf", "--format", "gguf", "--gguf-type",
                         "F16").returncode == 0
    keys, _ = read(tmp_path / "out.gguf")
    document = json.loads((tmp_path / "model" / "tokenizer.json").read_text())["model"]
    tokens = sorted(document["vocab"], key=document["vocab"].get)
    rest = [f"[PAD{i}]" for i in range(len(tokens), cli_models.VOCABULARY)]
    assert (value(keys, "ggml.model"), value(keys, "ggml.pre")) == ("gpt2", "gpt-2")
    assert value(keys, "ggml.tokens") == tokens + rest
    assert value(keys, "ggml.merges") == [" ".join(pair) for pair in document["merges"]]
    kind = gguf.TokenType
    assert value(keys, "ggml.token_type") == [kind.CONTROL] * 2 + [kind.NORMAL] * (len(tokens) - 2) + [
        kind.UNUSED] * len(rest)
    assert (value(keys, "ggml.bos_token_id"), value(keys, "ggml.eos_token_id")) == (0, 1)
    assert (value(keys, "ggml.add_bos_token"), value(keys, "ggml.add_eos_token")) == (True, False)
    assert value(keys, "chat_template") == "{{ x }}" and value(keys, "chat_template.tools") == "{{ y }}"
    assert value(keys, "chat_templates") == ["tools"]


def test_keys_of_sentencepiece(home, tmp_path):
    (tmp_path / "model").mkdir()
    save_sentencepiece(tmp_path / "model")
    assert home.quantize(tmp_path / "model", tmp_path / "out.gguf", "--format", "gguf", "--gguf-type",
                         "F16").returncode == 0
    keys, _ = read(tmp_path / "out.gguf")
    kinds = value(keys, "ggml.token_type")
    assert (value(keys, "ggml.model"), value(keys, "ggml.pre")) == ("llama", "default")
    assert value(keys, "ggml.tokens")[:3] == ["<unk>", "<s>", "</s>"]
    assert kinds[0] == gguf.TokenType.UNKNOWN and kinds[1:3] == [gguf.TokenType.CONTROL] * 2
    assert kinds.count(gguf.TokenType.BYTE) == 256
    assert len(value(keys, "ggml.scores")) == len(kinds) == 1504
    assert value(keys, "ggml.add_bos_token") is True and value(keys, "ggml.add_space_prefix") is True
    assert value(keys, "chat_template") == "{{ z }}"


@functools.cache
def unigram():
    return text_tokenizers.change(text_subwords.t5(), text_folders.name_apart)


def save_unigram(folder, edit=lambda document: None):
    """Returns the tokenizer."""
    tokenizer = text_tokenizers.change(unigram(), edit)
    cli_models.save(cli_models.llama(vocab_size=tokenizer.get_vocab_size() + 4, bos_token_id=1, eos_token_id=2), folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast",
                                                              "eos_token": "</s>", "unk_token": "<unk>"}))
    return tokenizer


def by_normalizers(document):
    """As transformers converts a model of SentencePiece's."""
    document["pre_tokenizer"] = document["pre_tokenizer"]["pretokenizers"][1]
    document["normalizer"] = {"type": "Sequence", "normalizers": [
        document["normalizer"], {"type": "Strip", "strip_left": False, "strip_right": True},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}]}


@pytest.mark.parametrize("edit", [lambda document: None, by_normalizers], ids=["splits", "normalizers"])
def test_unigram(edit, home, tmp_path):
    tokenizer = save_unigram(tmp_path / "model", edit)
    made = home.quantize(tmp_path / "model", tmp_path / "out.gguf", "--format", "gguf", "--gguf-type", "F16")
    assert made.returncode == 0, made.stderr
    keys, _ = read(tmp_path / "out.gguf")
    document = json.loads(tokenizer.to_str())
    tokens, scores = zip(*document["model"]["vocab"])
    normalizer = document["normalizer"]
    charsmap = base64.b64decode((normalizer.get("normalizers") or [normalizer])[0]["precompiled_charsmap"])
    kinds = value(keys, "ggml.token_type")
    assert (value(keys, "ggml.model"), value(keys, "ggml.pre")) == ("t5", "default")
    assert value(keys, "ggml.tokens")[:len(tokens)] == list(tokens)
    assert numpy.array_equal(value(keys, "ggml.scores")[:len(tokens)], numpy.float32(scores))
    assert bytes(value(keys, "ggml.precompiled_charsmap")) == charsmap
    assert kinds[tokens.index("<unk>")] == gguf.TokenType.UNKNOWN and kinds[-1] == gguf.TokenType.UNUSED
    assert value(keys, "ggml.unknown_token_id") == tokens.index("<unk>")
    assert value(keys, "ggml.add_space_prefix") is value(keys, "ggml.remove_extra_whitespaces") is True
    text = "  The  river\u2460 carries na\u00efve stones, \ufb01ne  " + cli_models.text(30) + " "
    expected = tokenizer.encode(text).ids[:cli_models.CONTEXT]
    assert ids_of(tmp_path / "out.gguf", text, len(expected), tmp_path) == expected


@pytest.mark.parametrize("edit, words", [
    (lambda document: document["model"].update(byte_fallback=True), "no tokens for bytes"),
    (lambda document: document.update(normalizer={"type": "NFKC"}), "a charsmap and joins spaces, no more"),
    (lambda document: document.update(pre_tokenizer=document["pre_tokenizer"]["pretokenizers"][1]), "joins them"),
])
def test_unigram_that_llama_cpp_lacks_is_refused(edit, words, home, tmp_path):
    save_unigram(tmp_path / "model", edit)
    refused = home.quantize(tmp_path / "model", tmp_path / "out.gguf", "--format", "gguf", "--gguf-type", "F16")
    assert refused.returncode == 1 and words in refused.stderr and refused.stderr.count("\n") == 1


@pytest.mark.parametrize("edit, words", [
    (lambda document: document["pre_tokenizer"].update(type="Whitespace"), "GGUF has no name for such a step"),
    (lambda document: document["pre_tokenizer"].update(use_regex=False), "no name for this way to split text"),
    (lambda document: document["pre_tokenizer"].update(add_prefix_space=True), "no space in front of texts"),
    (lambda document: document.update(normalizer={"type": "NFKC"}), "does not normalise texts"),
    (lambda document: document["model"].update(end_of_word_suffix="</w>"), "end_of_word_suffix: llama.cpp has none"),
])
def test_tokenizers_that_llama_cpp_lacks_are_refused(edit, words, home, tmp_path):
    (tmp_path / "model").mkdir()
    save_byte_level(tmp_path / "model")
    path = tmp_path / "model" / "tokenizer.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    refused = home.quantize(tmp_path / "model", tmp_path / "out.gguf", "--format", "gguf", "--gguf-type", "F16")
    assert refused.returncode == 1 and words in refused.stderr and refused.stderr.count("\n") == 1


def test_a_model_without_a_tokenizer_says_so(home, tmp_path):
    family_models.make("llama", "one key").save_pretrained(tmp_path / "model")
    made = home.quantize(tmp_path / "model", tmp_path / "out.gguf", "--format", "gguf", "--gguf-type", "F16")
    assert made.returncode == 0, made.stderr
    assert read(tmp_path / "out.gguf")[0]["tokenizer.ggml.model"][1] == "none"


def test_metadata_of_a_gguf_file_are_carried_over(home, tmp_path):
    model = cli_models.llama(vocab_size=320, rope_parameters={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32, "rope_theta": 10000.0})

    def more(writer):
        cli_gguf.add_sentencepiece(writer)
        writer.add_author("someone")
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    cli_gguf.write(tmp_path / "in.gguf", model, "llama", gguf.GGMLQuantizationType.F16, more)
    made = home.quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", "--format", "gguf", "--gguf-type", "F32")
    assert made.returncode == 0, made.stderr
    (before, old), (after, new) = read(tmp_path / "in.gguf"), read(tmp_path / "out.gguf")
    assert after.pop("general.file_type")[1] == gguf.LlamaFileType.ALL_F32
    assert after.pop("general.quantization_version")[1] == gguf.GGML_QUANT_VERSION
    before.pop("general.file_type")
    assert after == before and new.keys() == old.keys()


@pytest.mark.parametrize("options, words", [
    (["--format", "gguf"], "--format gguf needs --gguf-type"),
    (["--format", "gguf", "--gguf-type", "Q4_K"], "--gguf-type"),
    (["--gguf-type", "F16"], "--gguf-type: has no effect with --format compressed-tensors"),
    (["--format", "gguf", "--gguf-type", "F16", "--store-dtype", "f16"], "--store-dtype: has no effect with --format gguf"),
])
def test_options(options, words, home, tmp_path):
    refused = home.quantize(tmp_path / "model", tmp_path / "out.gguf", *options)
    assert refused.returncode == 2 and words in refused.stderr


def test_the_output_is_a_gguf_file(home, tmp_path):
    refused = home.quantize(tmp_path / "model", tmp_path / "out", "--format", "gguf", "--gguf-type", "F16")
    assert refused.returncode == 2 and "by the ending .gguf" in refused.stderr
