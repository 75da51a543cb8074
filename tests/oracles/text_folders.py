"""Folders of models with tokenizer files, and GGUF metadata, with the ids and texts that transformers makes of them."""
import base64
import json
import pathlib
import sys

import gguf
import transformers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import processors
from transformers import AutoTokenizer

import text_ranked
import text_samples
import text_subwords
import text_tokenizers

LINES, FEWER_LINES = 10_500, 800
LLAMA = {"tokenizer_class": "LlamaTokenizer"}
PIECES = {"user_defined_symbols": "<usr>,foo,<a>", "control_symbols": "<ctl>", "hard_vocab_limit": False}


def added(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False,
            "special": False, **flags}


def model(kind, **options):
    return text_subwords.sentencepiece_model(model_type=kind, **PIECES, **options)


def plain_bpe():
    """As Llama's: no normalisation, digits apart, bytes for what is missing."""
    return model("bpe", byte_fallback=True, split_digits=True, normalization_rule_name="identity",
                 remove_extra_whitespaces=False, allow_whitespace_only_pieces=True)


def placeholders():
    """Pieces that are in no merge, as those that are kept for later tokens."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(plain_bpe())
    for content in ("<|later_1|>", "<|later_2|>"):
        proto.pieces.add(piece=content, score=-9999.0, type=proto.pieces[-1].USER_DEFINED)
    return proto.SerializeToString()


RENAMED = {"added_tokens_decoder": {"1502": added("<new>", special=True), "1501": added("<|im_start|>", special=True),
                                    "1500": added("<|later_1|>")}}
# name → model type, tokenizer.model, tokenizer_config.json, other files
FROM_SENTENCEPIECE = {
    "spm_llama": ("llama", plain_bpe, LLAMA, {}),
    "spm_llama_legacy": ("llama", plain_bpe, {**LLAMA, "legacy": True, "add_bos_token": True, "add_eos_token": True,
                                              "pad_token": "<pad>", "bos_token": added("<s>", __type="AddedToken")}, {}),
    "spm_llama_no_prefix": ("llama", plain_bpe, {**LLAMA, "add_prefix_space": False, "add_bos_token": True}, {}),
    "spm_no_class": ("llama", plain_bpe, None, {}),
    "spm_mistral": ("mistral", plain_bpe, {**LLAMA, "add_bos_token": True}, {}),
    "spm_gemma": ("gemma2", plain_bpe, {"add_bos_token": True, "bos_token": "<s>"}, {}),
    "spm_renamed": ("phi3", placeholders, {**LLAMA, "add_bos_token": True, **RENAMED}, {}),
    "spm_added": ("llama", plain_bpe, {**LLAMA, "add_bos_token": True}, {
        "added_tokens.json": {"<|im_end|>": 1510, "<|im_start|>": 1505},
        "special_tokens_map.json": {"bos_token": added("<s>", lstrip=True), "eos_token": "</s>"}}),
    "spm_extra": ("llama", plain_bpe, {**LLAMA, "additional_special_tokens": ["<mask>", "foo"]}, {}),
    "spm_normalized": ("mistral", lambda: model("bpe", normalization_rule_name="nmt_nfkc"), {}, {}),
    "spm_unigram": ("mistral", lambda: model("unigram", byte_fallback=True), {**LLAMA, "add_eos_token": True}, {}),
    "spm_unigram_unknown": ("llama", lambda: model("unigram", normalization_rule_name="nmt_nfkc_cf"), None, {}),
    "spm_unigram_merged": ("llama", lambda: model("unigram", byte_fallback=True), LLAMA, {}),
}

KINDS = dict(text_subwords.KINDS)
BYTES = {name: make for name, _, make in text_tokenizers.PLAIN}
# name → model type, tokenizer.json, tokenizer_config.json
FROM_JSON = {
    "json_llama": ("llama", KINDS["llama_legacy"], {**LLAMA, "legacy": False}),
    "json_llama_legacy": ("llama", KINDS["llama_demanding"], {"tokenizer_class": "LlamaTokenizerFast", "legacy": True}),
    "json_llama_no_prefix": ("llama", KINDS["llama"], {**LLAMA, "add_prefix_space": False}),
    "json_llama_bytes": ("llama", BYTES["llama3"], LLAMA),
    "json_mistral": ("mistral", KINDS["llama_legacy"], LLAMA),
    "json_mixtral": ("mixtral", KINDS["llama_legacy"], {**LLAMA, "legacy": False}),
    "json_phi3": ("phi3", KINDS["llama_legacy"], LLAMA),
    "json_phi4": ("phi3", BYTES["llama3"], {"tokenizer_class": "GPT2Tokenizer"}),
    "json_gemma": ("gemma", KINDS["llama_legacy"], {"tokenizer_class": "GemmaTokenizerFast"}),
    "json_gemma3": ("gemma3_text", KINDS["gemma"], None),
    "json_gemma_general": ("gemma2", KINDS["gemma"], {"tokenizer_class": "PreTrainedTokenizerFast"}),
    "json_granite": ("granite", BYTES["smollm"], {"tokenizer_class": "GPT2Tokenizer"}),
    "json_olmo2": ("olmo2", BYTES["llama3"], {"tokenizer_class": "GPT2Tokenizer"}),
    "json_opt": ("opt", BYTES["gpt2"], {"tokenizer_class": "GPT2Tokenizer"}),
    "json_gptj": ("gptj", BYTES["llama3"], None),
    "json_neox": ("gpt_neox", BYTES["smollm"], None),
    "json_mpt": ("mpt", BYTES["smollm"], {"tokenizer_class": "GPTNeoXTokenizer"}),
    "json_stablelm": ("stablelm", BYTES["smollm"], {"tokenizer_class": "GPTNeoXTokenizerFast"}),
    "json_qwen2": ("qwen2", BYTES["o200k"], {"tokenizer_class": "PreTrainedTokenizerFast"}),
    "json_qwen3": ("qwen3_moe", BYTES["o200k"], None),
    "json_cohere": ("cohere", BYTES["o200k"], None),
    "json_bloom": ("bloom", BYTES["bloom"], {"tokenizer_class": "BloomTokenizerFast"}),
    "json_falcon": ("falcon", text_tokenizers.falcon_like, {"tokenizer_class": "PreTrainedTokenizerFast"}),
    "json_glm4": ("glm4", BYTES["llama3"], {"tokenizer_class": "PreTrainedTokenizer"}),
}
# name → architecture, add_space_prefix, whether runs of spaces are tokens, as Gemma's
FROM_GGUF = {
    "gguf_llama": ("llama", True, False),
    "gguf_llama_unsaid": ("llama", None, False),
    "gguf_gemma": ("gemma2", False, True),
    "gguf_gemma_unsaid": ("gemma3", None, True),
    "gguf_phi3": ("phi3", True, False),
}
MAIN = {"spm_llama", "spm_mistral", "spm_gemma", "spm_unigram", "json_llama", "gguf_llama", "gguf_gemma"}


def write(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def write_expectations(folder, tokenizer, lines):
    ids = tokenizer(lines)["input_ids"]
    write(folder / "expected.json", {"ids": ids, "texts": tokenizer.batch_decode(ids, skip_special_tokens=True)})


def make_folder(folder, model_type, config):
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "config.json", {"model_type": model_type})
    if config is not None:
        write(folder / "tokenizer_config.json", config)


def gguf_fields(architecture, add_space_prefix, has_spaces):
    proto = sentencepiece_model_pb2.ModelProto.FromString(plain_bpe())
    tokens, types = [piece.piece for piece in proto.pieces], [piece.type for piece in proto.pieces]
    scores = [piece.score if piece.type == 1 else -1000.0 for piece in proto.pieces]
    if has_spaces:  # in front of all merges; and the token that Gemma's class adds
        tokens[tokens.index("<ctl>")] = "<mask>"
        at = types.index(1)
        runs = [" " * count for count in (2, 3, 4)]
        tokens = tokens[:at] + runs + [token for token in tokens[at:] if set(token) != {"▁"} or token == "▁"]
        scores = scores[:at] + [-1000.0] * 3 + [-float(rank) for rank in range(len(tokens) - at - 3)]
        types = types[:at] + [4] * 3 + [1] * (len(tokens) - at - 3)
    fields = {"general.architecture": architecture, "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default",
              "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.scores": scores, "tokenizer.ggml.token_type": types,
              "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
              "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": architecture == "phi3"}
    if add_space_prefix is not None:
        fields["tokenizer.ggml.add_space_prefix"] = add_space_prefix
    return fields


def t5_fields(tokenizer):
    """The metadata of a Unigram tokenizer, as llama.cpp's converter writes them."""
    document = json.loads(tokenizer.to_str())
    tokens, scores = zip(*document["model"]["vocab"])
    special = {token["id"] for token in document["added_tokens"]}
    return {"general.architecture": "t5", "tokenizer.ggml.model": "t5", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": scores, "tokenizer.ggml.add_eos_token": True,
            "tokenizer.ggml.token_type": [3 if id in special else 1 for id in range(len(tokens))],
            "tokenizer.ggml.precompiled_charsmap": list(base64.b64decode(document["normalizer"]["precompiled_charsmap"])),
            "tokenizer.ggml.eos_token_id": tokens.index("</s>"), "tokenizer.ggml.unknown_token_id": tokens.index("<unk>"),
            "tokenizer.ggml.add_space_prefix": True, "tokenizer.ggml.remove_extra_whitespaces": True}


def name_apart(document):
    """The trainer of Unigram may list a special token again."""
    seen = set()
    for row in document["model"]["vocab"]:
        row[0] = f"[again {row[0]}]" if row[0] in seen else row[0]
        seen.add(row[0])


def write_t5(folder, lines):
    """transformers leaves out the normalisation of such a file, so the tokenizer itself says what is expected."""
    folder.mkdir(exist_ok=True)
    tokenizer = text_tokenizers.change(text_subwords.t5(), name_apart)
    write(folder / "metadata.json", t5_fields(tokenizer))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair=None, special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    ids = [encoding.ids for encoding in tokenizer.encode_batch(lines)]
    write(folder / "expected.json", {"ids": ids, "texts": tokenizer.decode_batch(ids, skip_special_tokens=True)})


def write_gguf(path, fields):
    architecture = fields["general.architecture"]
    writer = gguf.GGUFWriter(path, architecture)
    for key in ("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
                "attention.head_count_kv", "attention.key_length", "attention.value_length", "vocab_size"):
        writer.add_uint32(f"{architecture}.{key}", 8)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    for key, value in fields.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str) and key != "general.architecture":
            writer.add_string(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(root):
    transformers.logging.set_verbosity_error()
    lines = text_samples.lines(LINES)
    root.mkdir(parents=True, exist_ok=True)
    write(root / "lines.json", lines)
    for name, (model_type, make, config, files) in FROM_SENTENCEPIECE.items():
        make_folder(root / name, model_type, config)
        (root / name / "tokenizer.model").write_bytes(make())
        for file, content in files.items():
            write(root / name / file, content)
    for name, (model_type, make, config) in FROM_JSON.items():
        make_folder(root / name, model_type, config)
        make().save(str(root / name / "tokenizer.json"))
    def lines_of(name):
        return lines if name in MAIN | text_ranked.MAIN else lines[:FEWER_LINES]

    for name in [*FROM_SENTENCEPIECE, *FROM_JSON]:
        write_expectations(root / name, AutoTokenizer.from_pretrained(root / name), lines_of(name))
    for name, tokenizer in text_ranked.folders(root):
        write_expectations(root / name, tokenizer, lines_of(name))
    for name, expected in text_ranked.folders_of_classes(root, lines_of):
        write(root / name / "expected.json", expected)
    for name, case in FROM_GGUF.items():
        (root / name).mkdir(exist_ok=True)
        fields = gguf_fields(*case)
        write(root / name / "metadata.json", fields)
        write_gguf(root / name / "model.gguf", fields)
        write_expectations(root / name, AutoTokenizer.from_pretrained(root / name, gguf_file="model.gguf"), lines_of(name))
    write_t5(root / "gguf_t5", lines[:FEWER_LINES])
    write(root / "names.json", {
        "folders": [*FROM_SENTENCEPIECE, *FROM_JSON, *text_ranked.READ, *text_ranked.TEKKEN, *text_ranked.OWN], "gguf": [*FROM_GGUF, "gguf_t5"]})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
