"""Tiny random models, made by transformers, with a tokenizer trained on text made here."""
import json
import pathlib
import random

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

VOCABULARY = 320
CONTEXT = 128
BEGIN, END = 0, 1  # ids of the tokenizer's two special tokens

WORDS = ("A The In When She River stones carry light over old bridges and water turns quietly under green leaves "
         "while nobody counts seven small birds near it").split()


def text(words, seed=0):
    """So many random words, in sentences of a line each."""
    draw = random.Random(seed)
    lines, line = [], []
    for _ in range(words):
        line.append(draw.choice(WORDS))
        if len(line) > draw.randint(3, 12):
            lines.append(" " + " ".join(line) + " .")
            line = []
    return "\n".join([*lines, " ".join(line)])


def save_tokenizer(folder, end=END):
    """A byte-level BPE that puts `<|begin|>` in front. end: the id that ends a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([text(2000)], trainers.BpeTrainer(
        vocab_size=VOCABULARY - 4, special_tokens=["<|begin|>", "<|end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair=None, special_tokens=[("<|begin|>", BEGIN)])
    tokenizer.save(str(pathlib.Path(folder) / "tokenizer.json"))
    (pathlib.Path(folder) / "generation_config.json").write_text(json.dumps({"eos_token_id": [end]}))
    return tokenizer


def load_tokenizer(folder):
    return Tokenizer.from_file(str(pathlib.Path(folder) / "tokenizer.json"))


def ids(samples, tokens, seed=0, vocabulary=VOCABULARY):
    return torch.randint(2, vocabulary, (samples, tokens), generator=torch.Generator().manual_seed(seed))


def lively(model):
    """Norms and biases other than 1 and 0, which would hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            middle = 0.0 if name.endswith("bias") else 1.0
            parameter.data = middle + 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def llama(**changes):
    torch.manual_seed(0)
    return lively(LlamaForCausalLM(LlamaConfig(**{
        "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT,
        "initializer_range": 0.15, "bos_token_id": BEGIN, "eos_token_id": END, **changes})))


def gpt2(**changes):
    torch.manual_seed(0)
    return lively(GPT2LMHeadModel(GPT2Config(**{
        "vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT,
        "initializer_range": 0.15, "bos_token_id": BEGIN, "eos_token_id": END, **changes})))


def save(model, folder, **options):
    folder = pathlib.Path(folder)
    model.save_pretrained(folder, **options)
    return folder


def take_prefix_off(folder, more=()):
    """Names of a saved GPT-2 as in its first checkpoints; `more`: tensors to add."""
    path = pathlib.Path(folder) / "model.safetensors"
    stored = {name.removeprefix("transformer."): tensor for name, tensor in load_file(path).items()}
    save_file(stored | dict(more), path)


def save_with_tokenizer(model, folder):
    """A checkpoint that every subcommand takes."""
    save(model, folder)
    save_tokenizer(folder)


def logits(model, token_ids):
    if not getattr(model, "is_quantized", False):
        model = model.float()
    with torch.no_grad():
        return model(token_ids).logits


def edit_config(folder, edit):
    path = pathlib.Path(folder) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    edit(config)
    path.write_text(json.dumps(config), encoding="utf-8")
