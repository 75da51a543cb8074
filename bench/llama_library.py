"""llama.cpp through the bindings of llama-cpp-python: models, F32 logits and the ids of texts.

Build it with `pip install llama-cpp-python==0.3.36`; LLAMA_CPP_LIB_PATH names the folder of another libllama.so.
"""
import contextlib
import ctypes
import sys

import numpy
from llama_cpp import __version__ as bindings
from llama_cpp import llama_cpp as library

F32, OFF, ERROR = 0, 0, 4  # GGML_TYPE_F32, LLAMA_FLASH_ATTN_TYPE_DISABLED, GGML_LOG_LEVEL_ERROR


class Refused(Exception):
    """llama.cpp does not open the file; says why."""


LOG = []


@library.llama_log_callback
def keep_errors(level, text, _):
    if level == ERROR:
        LOG.append(text.decode(errors="replace").strip())


library.llama_log_set(keep_errors, None)
library.llama_backend_init()


def version():
    """Of the library, and of the bindings that it came with."""
    number = library._lib.llama_version
    number.restype = ctypes.c_char_p
    return f"llama.cpp {number().decode()} of llama-cpp-python {bindings}"


def overriding(metadata):
    """An array for llama_model_params.kv_overrides: keys in place of the file's, or besides them."""
    pairs = (library.llama_model_kv_override * (len(metadata) + 1))()  # an empty key ends it
    for pair, (key, value) in zip(pairs, metadata.items()):
        pair.key = key.encode()
        if isinstance(value, str):
            pair.tag, pair.value.val_str = library.LLAMA_KV_OVERRIDE_TYPE_STR, value.encode()
        else:
            pair.tag, pair.value.val_i64 = library.LLAMA_KV_OVERRIDE_TYPE_INT, value
    return pairs


@contextlib.contextmanager
def opened(path, metadata=None, vocabulary_only=False):
    """A model on the CPU. metadata: key → text or whole number, in place of the file's."""
    LOG.clear()
    parameters = library.llama_model_default_params()
    parameters.n_gpu_layers, parameters.vocab_only = 0, vocabulary_only
    pairs = overriding(metadata or {})
    if metadata:
        parameters.kv_overrides = pairs
    model = library.llama_model_load_from_file(str(path).encode(), parameters)
    if not model:
        raise Refused(LOG[0] if LOG else f"{path} cannot be opened")
    try:
        yield model
    finally:
        library.llama_model_free(model)


@contextlib.contextmanager
def context(model, tokens):
    """Room for rows of so many tokens; keys and values in F32, no flash attention, which would round them."""
    parameters = library.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = tokens
    parameters.n_outputs_max = parameters.n_outputs_max_per_seq = tokens
    parameters.type_k = parameters.type_v = F32
    parameters.flash_attn_type = OFF
    made = library.llama_init_from_model(model, parameters)
    if not made:
        raise Refused(LOG[0] if LOG else "no context")
    try:
        yield made
    finally:
        library.llama_free(made)


def row_logits(model, made, row):
    """[tokens, vocabulary] of one row, after none before it."""
    library.llama_memory_clear(library.llama_get_memory(made), True)
    batch = library.llama_batch_init(len(row), 0, 1)
    try:
        batch.n_tokens = len(row)
        for i, token in enumerate(row):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
            batch.seq_id[i][0] = 0
        if library.llama_decode(made, batch) != 0:
            sys.exit("llama_decode failed")
    finally:
        library.llama_batch_free(batch)
    vocabulary = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
    return numpy.ctypeslib.as_array(library.llama_get_logits(made), (len(row), vocabulary)).copy()


def logits(path, rows, metadata=None):
    """F32 [rows, tokens, vocabulary]; rows: lists of ids of one length."""
    with opened(path, metadata) as model, context(model, len(rows[0])) as made:
        return numpy.stack([row_logits(model, made, row) for row in rows])


def ids(model, text, special=True):
    """With the special tokens that the tokenizer adds. special: names of such tokens in the text count as these."""
    data = text.encode()
    room = (ctypes.c_int32 * (len(data) + 8))()
    count = library.llama_tokenize(library.llama_model_get_vocab(model), data, len(data), room, len(room), True, special)
    if count < 0:
        sys.exit("llama_tokenize failed")
    return list(room[:count])
