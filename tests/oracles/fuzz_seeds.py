"""Small valid inputs for the targets in tests/fuzz, a folder for each, as other implementations write them."""
import base64
import itertools
import json
import pathlib
import struct
import sys
import tempfile
import warnings

import gguf
import numpy as np
import torch
from safetensors.torch import save
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import choice_rows
import cli_gguf
import formats_compressed_tensors
import formats_gguf
import formats_pytorch
import formats_safetensors
import quantized_folders
import text_oracle
import text_ranked
import text_subwords
import text_tokenizers

ByteLevel, Sequence = pre_tokenizers.ByteLevel, pre_tokenizers.Sequence


def safetensors_seeds():
    """A file, and headers without a frame, whose tensors fill 64 bytes."""
    tensors, _ = formats_safetensors.every_type()
    yield "types.safetensors", save(tensors, metadata={"format": "pt"})
    data = save({"a": torch.zeros(2, 2, 3), "b": torch.zeros(8, dtype=torch.int8), "c": torch.zeros(4).half()})
    (length,) = struct.unpack_from("<Q", data)
    yield "header.json", data[8:8 + length]
    # Found: half a second for the message about one word of many letters.
    yield "refused_long_word.safetensors", data[:8] + data[8:8 + length].replace(b"F16", b"a" * 5000)


def pytorch_seeds():
    """Small files of both layouts, of early versions, with parameters, and with what is no tensor."""
    whole = torch.arange(6.0).reshape(2, 3)
    state = {"a": whole, "t": whole.t(), "u": torch.arange(2).to(torch.uint16), "b": torch.nn.Parameter(torch.ones(2).half())}
    yield "archive.bin", formats_pytorch.saved(state)
    yield "archive-4.bin", formats_pytorch.saved(state, pickle_protocol=4)
    yield "older.bin", formats_pytorch.saved_older(state)
    yield "others.bin", formats_pytorch.saved_older(formats_pytorch.others())
    yield "parameters.bin", formats_pytorch.saved_older(formats_pytorch.parameters())
    yield "early.bin", formats_pytorch.early()


def index_seeds():
    files = {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}
    yield "index.json", json.dumps({"metadata": {"total_size": 72}, "weight_map": files})
    yield "python.json", json.dumps({"metadata": {"total_size": float("inf"), "more": [float("nan")]}, "weight_map": files})


def small_tokenizer(pre_tokenizer, normalizer=None, **options):
    tokens = [*text_tokenizers.CONTROL, *"abcehtĠĊ'1", "ab", "abc", "Ġa", "th", "the"]
    merges = [("a", "b"), ("ab", "c"), ("Ġ", "a"), ("t", "h"), ("th", "e")]
    tokenizer = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges, **options))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens(text_tokenizers.CONTROL)
    return tokenizer


def tokenizers():
    yield "llama3", small_tokenizer(text_tokenizers.splits(text_tokenizers.LLAMA3), ignore_merges=True)
    steps = [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Prepend("a")]
    rewriting = small_tokenizer(ByteLevel(add_prefix_space=True), normalizers.Sequence(steps), unk_token="<|endoftext|>")
    text_tokenizers.begin_with(rewriting, "<|im_start|>", "<|im_end|>")
    yield "rewriting", text_tokenizers.add_demanding(rewriting)
    steps = [pre_tokenizers.Punctuation("contiguous"), ByteLevel(add_prefix_space=False), pre_tokenizers.Digits(False),
             pre_tokenizers.Split("ab", "merged_with_next", invert=True)]
    roberta = small_tokenizer(Sequence(steps), fuse_unk=True)
    roberta.post_processor = processors.RobertaProcessing(("<|im_end|>", 2), ("<|im_start|>", 1))
    yield "roberta", roberta
    vocabulary = {token: id for id, token in enumerate(["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab", "<0xE6>"])}
    llama = Tokenizer(models.BPE(vocabulary, [("a", "b"), ("▁", "ab")], byte_fallback=True, unk_token="<unk>",
                                 fuse_unk=True))
    llama.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Nmt(), normalizers.Lowercase()])
    llama.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=False)
    llama.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                       decoders.Strip(" ", 1, 1)])
    yield "llama", llama
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁", -2.0), ("a", -1.5), ("b", -2.5), ("ab", -1.0)], 0, True))
    unigram.normalizer = normalizers.Precompiled(text_subwords.charsmap("nfkc"))
    unigram.pre_tokenizer = Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Metaspace("▁", "always")])
    unigram.decoder = decoders.Metaspace("▁", "always")
    yield "unigram", unigram
    words = Tokenizer(models.WordLevel({"ab": 0, "[UNK]": 1}, unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer()
    words.pre_tokenizer = Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.CharDelimiterSplit("-")])
    yield "words", words


def sentencepiece_model(kind):
    proto = sentencepiece_model_pb2.ModelProto()
    for content, score, piece_type in [("<unk>", 0, 2), ("<s>", 0, 3), ("<x>", 0, 4), ("a", -1, 1), ("b", -2, 1),
                                       ("ab", -0.5, 1), ("▁", -3, 1), ("<0x41>", 0, 6)]:
        proto.pieces.add(piece=content, score=score, type=piece_type)
    proto.trainer_spec.model_type = kind
    proto.trainer_spec.byte_fallback = True
    return base64.b64encode(proto.SerializeToString()).decode()


def tokenizer_seeds():
    for name, tokenizer in tokenizers():
        yield f"{name}.json", tokenizer.to_str()
    for name, tokenizer in long_tokens():
        yield f"long_{name}.json", tokenizer.to_str()


def long_tokens():
    """Tokens of thousands of bytes, and texts that come near them: the work must not be the product of their sizes."""
    grown = small_tokenizer(ByteLevel(add_prefix_space=True), normalizers.Replace(Regex(r"\s+"), "a" * 5000))
    yield "added", text_tokenizers.add_demanding(grown)  # found: the normalizer grows the text as well
    grow = normalizers.Replace(Regex(r"\s+"), "a" * 2000)
    tokens = ["a", "ab", "a" * 200, "a" * 300 + "b", "a" * 3000 + "b"]
    pieces = Tokenizer(models.WordPiece({token: id for id, token in enumerate(["[UNK]", *tokens, *("##" + token for token in tokens)])},
                                        unk_token="[UNK]", max_input_chars_per_word=10**6))
    pieces.normalizer, pieces.decoder = grow, decoders.WordPiece()
    yield "word_piece", pieces
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), *((token, -float(len(token))) for token in tokens)], 0, False))
    unigram.normalizer, unigram.decoder = grow, decoders.Sequence([decoders.Replace("a", "aa"), decoders.Fuse()])
    yield "unigram", unigram
    literal = small_tokenizer(pre_tokenizers.Split("a" * 1500 + "b", "isolated"), grow, unk_token="<|endoftext|>")
    yield "literal", literal


def tokenizer_folder_seeds():
    """The files of a folder as one object, for each class that is built anew and one that is not."""
    flags = {"lstrip": True, "rstrip": False, "single_word": False, "normalized": True}
    configs = {"general": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<x>", "image_token": "<y>",
                           "extra_special_tokens": ["<z>", {"__type": "AddedToken", "content": "a", **flags}]},
               "gpt2": {"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True, "pad_token": None,
                        "added_tokens_decoder": {"30": {"content": "<x>", **flags}}},
               "qwen2": {"tokenizer_class": "Qwen2Tokenizer", "additional_special_tokens": ["<x>"]},
               "neox": {"tokenizer_class": "GPTNeoXTokenizer", "extra_special_tokens": {"a_token": "<x>"}}}
    for (name, config), (_, tokenizer) in zip(configs.items(), itertools.cycle(tokenizers())):
        yield f"{name}.json", json.dumps({
            "tokenizer": json.loads(tokenizer.to_str()), "config": config, "model_type": "gpt2",
            "special_tokens_map": {"bos_token": {"content": "<s>", **flags}, "unk_token": "a"},
            "added_tokens": {"<w>": 40, "<s>": 41}})
    yield from sentencepiece_seeds()
    yield from ranked_seeds()


def sentencepiece_seeds():
    for kind, config in ((1, {}), (2, {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True})):
        yield f"sentencepiece_{kind}.json", json.dumps({"sentencepiece": sentencepiece_model(kind), "config": config})


def ranked_seeds():
    tokens = [*(bytes([byte]) for byte in range(256)), b" t", b"he", b" the", b"ab", b"\xe6\x97", b"\xe6\x97\xa5"]
    lines = text_ranked.tiktoken_file(tokens).decode()
    config = {"added_tokens_decoder": {"264": {"content": "<x>", "special": True}}, "extra_special_tokens": ["<y>"]}
    yield "tiktoken.json", json.dumps({"vocabulary": lines, "config": config})
    for name in ("QWenTokenizer", "ChatGLM4Tokenizer", "Arcade100kTokenizer", "TikTokenTokenizer"):
        yield f"tiktoken_{name}.json", json.dumps({"vocabulary": lines, "file": "a.tiktoken", "tokenizer_class": name})
    tekken = text_ranked.tekken_file(tokens).decode()
    yield "tekken.json", json.dumps({"vocabulary": tekken, "file": "tekken.json", "config": {"add_bos_token": False}})


def small_models():
    torch.manual_seed(0)
    rotary = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    yield "llama", LlamaForCausalLM(LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=18, max_position_embeddings=16, rope_parameters=rotary, architectures=["LlamaForCausalLM"]))
    yield "gpt2", GPT2LMHeadModel(GPT2Config(
        n_embd=8, n_layer=1, n_head=2, n_positions=16, vocab_size=18, architectures=["GPT2LMHeadModel"]))


def add_sentencepiece(writer):
    tokens = ["<unk>", "<s>", "</s>", "<0x41>", "▁", "a", "b", "ab", "▁ab", "  "]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0, -1000.0])
    writer.add_token_types([2, 3, 3, 6, 1, 1, 1, 1, 1, 4])
    writer.add_bos_token_id(1)
    writer.add_add_space_prefix(False)


def add_tokenizer(writer):
    tokenizer = small_tokenizer(text_tokenizers.splits(text_tokenizers.LLAMA3))
    for key, value in text_oracle.gguf_metadata(tokenizer, "llama-bpe").items():
        if not key.startswith("tokenizer."):
            continue
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_uint32(key, value)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_blocks(path):
    """Values of every type among the metadata, and blocks of every type among the tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    formats_gguf.add_metadata(writer)
    writer.add_array("test.long", list(range(1100)))
    rng = np.random.default_rng(7)
    for block_type in formats_gguf.DECODED:
        writer.add_tensor(f"t.{block_type.name}", formats_gguf.random_blocks(rng, block_type)[:1], raw_dtype=block_type)
    for block_type in formats_gguf.SMALL:
        blocks = gguf.quantize(rng.normal(0, 1, (1, 64)).astype(np.float32), block_type)
        writer.add_tensor(f"t.{block_type.name}", blocks, raw_dtype=block_type)
    finish(writer)


def write_model(path, kind, model, add=add_tokenizer):
    """The model in F32."""
    writer = gguf.GGUFWriter(path, kind)
    cli_gguf.add_metadata(writer, model.config, kind)
    add(writer)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight" or not model.config.tie_word_embeddings:
            transposed = kind == "gpt2" and tensor.ndim == 2 and ".c_" in name
            values = tensor.float().numpy()
            writer.add_tensor(cli_gguf.gguf_name(name, kind), values.T.copy() if transposed else values)
    finish(writer)


def config_seeds():
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 8192, "rope_theta": 5e5}
    for name, model in small_models():
        yield f"{name}.json", model.config.to_json_string(use_diff=False)
    python = '{"num_hidden_layers": 7, "seen": [NaN, -Infinity, 1e400, 0e0], "seen": {"loss": Infinity, "loss": NaN}, '
    yield "python.json", python + next(small_models())[1].config.to_json_string(use_diff=False).lstrip("{ \n")
    scaled = next(small_models())[1].config
    scaled.rope_parameters = llama3
    document = json.loads(scaled.to_json_string())
    document["quantization_config"] = quantization_config()
    yield "quantized.json", json.dumps(document)


def quantization_config():
    groups = {"group_0": (["Linear", "re:.*bits4.*"], (4, 32, True)), "group_1": (["re:.*bits3.*asym.*"], (3, 16, False))}
    return formats_compressed_tensors.as_json(formats_compressed_tensors.config_of(groups, ["lm_head"]))


def quantized_linears_seeds():
    """One linear of each variant of quantized folders, beside its config."""
    generator = np.random.default_rng(3)
    for name, variant in quantized_folders.VARIANTS.items():
        module = "model.layers.0.mlp.down_proj"
        scheme = variant.scheme_of(module)
        if scheme is None or variant.side_file:  # there the config says less
            continue
        parts = scheme.encode(generator.normal(size=(32, 128)), generator, variant.dtype)
        tensors = {f"{module}.{part}": tensor.contiguous() for part, tensor in parts.items()}
        yield f"{name}.safetensors", save(tensors, {"quantization_config": json.dumps(variant.config)})
    torch.manual_seed(3)
    packed, _ = formats_compressed_tensors.pack((3, 5, 32, 16, False, torch.float16), "bits3.asymmetric")
    more, _ = formats_compressed_tensors.pack((4, 3, 64, 32, True, torch.bfloat16), "bits4")
    yield "packed.safetensors", save({**packed, **more}, {"quantization_config": json.dumps(quantization_config())})


def token_batch_seeds():
    ids = torch.arange(12).reshape(3, 4)
    yield "ids.safetensors", save({"input_ids": ids}, {"strategy": "text"})
    mask = torch.ones(3, 4, dtype=torch.int64)
    mask[1, 2:] = 0
    yield "unsigned.safetensors", save({"input_ids": ids.to(torch.uint16)})
    yield "masked.safetensors", save({"input_ids": ids.int(), "attention_mask": mask})


def patch_seeds():
    """(offset, stride, width, pieces) of each patch, and the bytes of all."""
    for name, pieces, size in (("scales", [[32, 18, 2, 5], [200, 4, 4, 1]], 300), ("none", [], 10)):
        count = sum(width * pieces for _, _, width, pieces in pieces)
        yield name, save({"pieces.0": torch.tensor(pieces, dtype=torch.int64).reshape(-1, 4),
                          "bytes.0": torch.arange(count).to(torch.uint8)},
                         metadata={"format": "normtweak-patch", "version": "2", "files": "1", "name.0": "model.gguf",
                                   "base_bytes.0": str(size), "base_xxh3.0": "0" * 32, "result_xxh3.0": "0" * 32})


def gguf_split_seeds():
    """Two files, one behind the other: tensors in both, and metadata alone in the first."""
    for name, options in [("tensors", {"split_max_tensors": 2}), ("metadata", {"small_first_shard": True,
                                                                                "split_max_tensors": 3})]:
        with tempfile.TemporaryDirectory() as folder:
            writer = gguf.GGUFWriter(pathlib.Path(folder) / "model.gguf", "llama", **options)
            writer.add_context_length(32)
            blocks = gguf.quantize(np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32), gguf.GGMLQuantizationType.Q4_0)
            writer.add_tensor("a", np.zeros((2, 3), np.float32))
            writer.add_tensor("b", np.ones(4, np.float16))
            writer.add_tensor("c", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
            finish(writer)
            first, second = sorted(pathlib.Path(folder).iterdir())
            yield f"{name}.gguf", first.read_bytes() + second.read_bytes()


def rows_seeds():
    """The size of a seed, by which the target chooses how to read it, is made that of its place with newlines."""
    texts = ["ab a b", "naïve “ab” b ab\nab", "a 日本 ab"]
    seeds = [(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row, *_ in choice_rows.examples(name, 2)))
             for name in choice_rows.FORMATS]
    seeds.append(("pages.raw", " \n = A = \n \n a @-@ b ( ab ) \n = = B = = \n \n b , ' a ' \n = C = \n ab"))
    seeds.append(("lambada.jsonl", "\n".join(json.dumps({"text": text}) for text in texts) + "\n\n" + json.dumps(
        {"text": texts[1]}, ensure_ascii=False) + " " * 3))
    for place, (name, text) in enumerate(seeds):
        yield name, text + "\n" * ((place - len(text.encode())) % len(seeds))


SEEDS = {"safetensors": safetensors_seeds, "pytorch": pytorch_seeds, "safetensors_index": index_seeds, "tokenizer": tokenizer_seeds, "tokenizer_folder": tokenizer_folder_seeds,
         "config": config_seeds, "quantized_linears": quantized_linears_seeds, "token_batch": token_batch_seeds,
         "rows": rows_seeds, "patch": patch_seeds, "gguf_split": gguf_split_seeds}


def main(out):
    warnings.simplefilter("ignore")
    for target, seeds in SEEDS.items():
        (out / target).mkdir(parents=True, exist_ok=True)
        for name, content in seeds():
            (out / target / name).write_bytes(content.encode() if isinstance(content, str) else content)
    for target in ["gguf", "gguf_checkpoint"]:
        (out / target).mkdir(exist_ok=True)
    write_blocks(out / "gguf" / "blocks.gguf")
    for kind, model in small_models():
        write_model(out / "gguf_checkpoint" / f"{kind}.gguf", kind, model)
        write_model(out / "gguf_checkpoint" / f"{kind}_sentencepiece.gguf", kind, model, add_sentencepiece)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
