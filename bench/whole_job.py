#!/usr/bin/env python3
"""Where the time of a whole job goes, on random weights of a named shape.

    bench/whole_job.py 7b                                   # the whole of `quantize`, on all blocks
    bench/whole_job.py 7b --blocks 2,6 --stage quantize     # one stage on few blocks, extrapolated to all

Makes a checkpoint of bf16 weights (kept in the work folder), runs the program, and prints the split that its report
gives, tokens a second, the share of the peak that torch reaches on the same device in the same run, and peak memory.
With one number of blocks the time of a stage is multiplied, with two it is a line through both; either is said so.
--profile lists the kernels of each run (bench/profile_program.cpp). --peers times, on the same shape, transformers
(generate with a static cache), llm-compressor (GPTQ) and AutoRound as far as they are installed. What follows `--` goes
to `quantize`. Needs torch.
"""
import argparse
import ctypes
import json
import math
import resource
import struct
import sys
import time
from pathlib import Path

import packages

packages.need("torch")

import torch

from program import ROOT, Failure, Program

# The facts of a LLaMA. tiny is for tests.
SHAPES = {
    "tiny": {"hidden": 64, "blocks": 4, "heads": 4, "kv_heads": 2, "inner": 160, "vocabulary": 128},
    "135m": {"hidden": 576, "blocks": 30, "heads": 9, "kv_heads": 3, "inner": 1536, "vocabulary": 49152},
    "7b": {"hidden": 4096, "blocks": 32, "heads": 32, "kv_heads": 32, "inner": 11008, "vocabulary": 32000},
    "70b": {"hidden": 8192, "blocks": 80, "heads": 64, "kv_heads": 8, "inner": 28672, "vocabulary": 32000},
}
# Seconds of the report that a stage is about, in the order in which they pass.
KEYS = {"load": "load", "generate": "generate", "quantize": "quantize", "tweak": "tweak", "judge": "evaluate",
        "save": "save"}
TYPE_NAMES = {torch.bfloat16: "BF16", torch.int64: "I64"}


def write_safetensors(path, tensors):
    """An 8-byte length, a JSON header, the bytes of all tensors one after the other."""
    header, offset = {}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": TYPE_NAMES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            data = tensor.contiguous().cpu()
            file.write((ctypes.c_char * (data.numel() * data.element_size())).from_address(data.data_ptr()))


def linears(shape):
    """(name, out, in) of a block's linears."""
    hidden, inner = shape["hidden"], shape["inner"]
    kv = hidden // shape["heads"] * shape["kv_heads"]
    return [("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", kv, hidden), ("self_attn.v_proj", kv, hidden),
            ("self_attn.o_proj", hidden, hidden), ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner)]


def make_checkpoint(folder, shape, blocks, context, device):
    """Random weights, 1/sqrt(in) of standard deviation, a file for each block. A finished one is used again."""
    if (folder / "config.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    hidden, vocabulary = shape["hidden"], shape["vocabulary"]

    def weight(rows, columns, scale=1.0):
        return (torch.randn(rows, columns, device=device) * (scale / math.sqrt(columns))).bfloat16()

    index = {}

    def write(number, tensors):
        name = f"model-{number:05d}-of-{blocks + 1:05d}.safetensors"
        write_safetensors(folder / name, tensors)
        index.update(dict.fromkeys(tensors, name))

    for block in range(blocks):
        prefix = f"model.layers.{block}."
        tensors = {f"{prefix}{name}.weight": weight(rows, columns) for name, rows, columns in linears(shape)}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{norm}.weight"] = torch.ones(hidden, dtype=torch.bfloat16)
        write(block + 1, tensors)
    # Logits of a standard deviation of about 4, so that the text is as uncertain as that of a real model.
    write(blocks + 1, {"model.embed_tokens.weight": weight(vocabulary, hidden, math.sqrt(hidden)),
                       "lm_head.weight": weight(vocabulary, hidden, 4.0),
                       "model.norm.weight": torch.ones(hidden, dtype=torch.bfloat16)})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps({  # last: it says that the folder is finished
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": shape["inner"], "num_hidden_layers": blocks, "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv_heads"], "vocab_size": vocabulary, "max_position_embeddings": context,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False, "hidden_act": "silu",
        "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"}))
    give_back(device)


def random_ids(path, shape, rows, tokens):
    torch.manual_seed(1)
    write_safetensors(path, {"input_ids": torch.randint(3, shape["vocabulary"], (rows, tokens))})


def synchronized(device):
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def give_back(device):
    """The program gets the device next."""
    if device != "cpu":
        torch.cuda.empty_cache()


def timed(device, work, repeats):
    work()
    begin = synchronized(device)
    for _ in range(repeats):
        work()
    return (synchronized(device) - begin) / repeats


def peaks(device):
    """What torch reaches: FLOP/s of a large product in bf16 and in F32 without TF32, bytes/s of a copy."""
    size, repeats = (8192, 20) if device != "cpu" else (1024, 3)
    torch.backends.cuda.matmul.allow_tf32 = False
    reached = {}
    for name, dtype in (("bf16", torch.bfloat16), ("f32", torch.float32)):
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        reached[name] = 2 * size**3 / timed(device, lambda a=left, b=right: a @ b, repeats)
    source = torch.empty(size * size, device=device)
    target = torch.empty_like(source)
    reached["bandwidth"] = 2 * source.numel() * 4 / timed(device, lambda: target.copy_(source), repeats)
    del source, target, left, right
    give_back(device)
    return reached


class Work:
    """What a stage must do at least, for the share of the peak: floating-point operations and bytes."""

    def __init__(self, shape, blocks, rows, tokens):
        self.blocks, self.rows, self.tokens = blocks, rows, tokens
        self.block_weights = sum(out * columns for _, out, columns in linears(shape))
        self.head_weights = shape["hidden"] * shape["vocabulary"]
        self.weights = blocks * self.block_weights + self.head_weights
        self.hidden, self.inner = shape["hidden"], shape["inner"]
        self.cache = 4 * blocks * shape["hidden"] // shape["heads"] * shape["kv_heads"]  # bytes a token, in bf16

    def generate(self):
        """Bytes: the weights once a step, if all rows fit one batch, and each row's keys and values so far."""
        seen = self.rows * self.tokens * (self.tokens - 1) // 2
        return {"bandwidth": self.tokens * 2 * self.weights + seen * self.cache,
                "bf16": self.rows * self.tokens * 2 * self.weights}

    def quantize(self, train):
        """Both streams once, and of the input of each place its Hessian, and drift from inputs and from the stream."""
        places = 3 * self.hidden**2 + self.inner**2
        residual = self.hidden * (self.hidden + self.inner)
        token = 2 * (2 * self.block_weights + 2 * places + residual)
        return {"bf16": train * self.blocks * token}

    def tweak(self, trained):
        """The student's forward pass, two products of each linear backwards, one of the head."""
        return {"bf16": trained * 2 * (3 * self.blocks * self.block_weights + 2 * self.head_weights)}


def shares(work, seconds, peak):
    return ", ".join(f"{100 * amount / seconds / peak[name]:.0f}% of {name}" for name, amount in work.items())


class Job:
    """Runs of the program on one checkpoint."""

    def __init__(self, options, shape, blocks, work_folder):
        self.options, self.shape, self.blocks = options, shape, blocks
        self.work = Work(shape, blocks, options.rows, options.tokens)
        self.folder = work_folder / f"{options.shape}-{blocks}"
        context = max(options.tokens, 4096)
        device = "cuda" if options.device.startswith("cuda") else "cpu"
        make_checkpoint(self.folder, shape, blocks, context, device)
        self.ids = work_folder / f"{options.shape}-ids-{options.rows}x{options.tokens}.safetensors"
        random_ids(self.ids, shape, options.rows, options.tokens)
        self.program = Program(options, work_folder / "figures", self.further())

    def further(self):
        memory = ["--memory", self.options.memory] if self.options.memory else []
        return memory + (["--dtype", self.options.dtype] if self.options.dtype else [])

    def call(self, *arguments, name):
        table = self.program.out / f"{name}.md"
        if self.options.profile:
            library = Path(self.options.program).with_name("libprofile_program.so")
            self.program.launcher = ["env", f"KERNELS={table}", f"LD_PRELOAD={library}"]
        try:
            figures, said = self.program.call(*arguments, name=name)
        except Failure as failure:
            sys.exit(str(failure))
        if self.options.profile:
            print(f"\n{name}: {table.read_text()}")
        for line in said:
            if "memory" in line:  # how it was planned
                print(line)
        return figures

    def generate(self):
        written = self.program.out / "written.safetensors"
        return self.call("generate", self.folder, "-o", written, "--strategy", "llm-qat", "--samples",
                         self.options.rows, "--tokens", self.options.tokens, name=f"generate-{self.blocks}")

    def quantize(self, tweak, given):
        text = ["--calibration", self.ids] if given else [
            "--strategy", "llm-qat", "--samples", self.options.rows, "--tokens", self.options.tokens]
        return self.call("quantize", self.folder, "-o", self.program.out / "quantized", "--bits", self.options.bits,
                         "--group-size", self.options.group_size, *text, *([] if tweak else ["--tweak", "none"]),
                         *self.options.rest, name=f"{'job' if tweak else 'quantize'}-{self.blocks}")

    def run(self, stage):
        """The figures of a run that has this stage, and the stages that count of it."""
        if stage == "generate":
            return self.generate(), ["load", "generate"]
        if stage in ("load", "quantize"):
            return self.quantize(False, True), ["load", "quantize", "judge", "save"]
        if stage == "all":
            return self.quantize(True, False), list(KEYS)
        return self.quantize(True, True), ["load", "quantize", "tweak", "judge", "save"]

    def amounts(self, stage, figures):
        """Tokens that a stage goes through, and the work that they are at least."""
        if stage == "generate":
            return self.options.rows * self.options.tokens, self.work.generate()
        train = (self.options.rows - figures.get("held_out_samples", 0)) * self.options.tokens
        if stage == "quantize":
            return train, self.work.quantize(train)
        trained = figures.get("training", {}).get("tokens", 0)
        return (trained, self.work.tweak(trained)) if stage == "tweak" and trained else (0, {})


def gibibytes(size):
    return f"{size / 2**30:.1f} GiB"


def print_split(job, figures, stages, peak):
    print(f"\n{job.options.shape}, {job.blocks} blocks, {job.options.rows} x {job.options.tokens} tokens\n")
    print("| stage | seconds | tokens/s | share of the measured peak |\n|-|-|-|-|")
    seconds = figures["seconds"]
    for stage in stages:
        if KEYS[stage] not in seconds:
            continue
        spent = seconds[KEYS[stage]]
        tokens, work = job.amounts(stage, figures)
        rate = f"{tokens / spent:.0f}" if tokens and spent else ""
        print(f"| {stage} | {spent:.2f} | {rate} | {shares(work, spent, peak) if spent else ''} |")
    print(f"| whole run | {seconds['total']:.2f} | | |")
    host = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"\npeak memory: device {gibibytes(figures['peak_memory_bytes'])}, host (of the largest run so far, mapped "
          f"files included) {gibibytes(host)}")


def extrapolated(counts, seconds, blocks):
    """Seconds for all blocks."""
    if len(counts) == 1:
        return seconds[0] * blocks / counts[0]
    each = (seconds[-1] - seconds[0]) / (counts[-1] - counts[0])
    return seconds[0] + each * (blocks - counts[0])


def print_extrapolation(shape, counts, runs, stages):
    blocks = shape["blocks"]
    if counts == [blocks]:
        return
    how = "in proportion" if len(counts) == 1 else "on a line through both"
    print(f"\nextrapolated from {' and '.join(map(str, counts))} to {blocks} blocks, {how}:", end=" ")
    whole = 0
    for stage in stages:
        spent = [run["seconds"].get(KEYS[stage]) for run in runs]
        if None not in spent:
            whole += extrapolated(counts, spent, blocks)
            print(f"{stage} {extrapolated(counts, spent, blocks):.1f} s,", end=" ")
    print(f"together {whole:.1f} s")


def peer_transformers(job):
    """transformers' generate, with a static cache, by batches as large as half the device's memory holds."""
    import transformers  # pylint: disable=import-outside-toplevel
    device, options = job.options.device, job.options
    model = transformers.AutoModelForCausalLM.from_pretrained(job.folder, dtype=torch.bfloat16).to(device).eval()
    memory = torch.cuda.mem_get_info()[0] if device != "cpu" else 2**32
    batch = max(1, min(options.rows, memory // 2 // (job.work.cache * options.tokens)))
    seconds = 0.0
    for _ in range(2):  # the first time compiles
        begin = synchronized(device)
        for first in range(0, options.rows, batch):
            rows = min(batch, options.rows - first)
            model.generate(torch.full((rows, 1), 1, device=device), attention_mask=torch.ones(rows, 1, device=device),
                           max_new_tokens=options.tokens - 1, min_new_tokens=options.tokens - 1, do_sample=True,
                           top_k=0, cache_implementation="static", pad_token_id=2)
        seconds = synchronized(device) - begin
    return seconds


def peer_tokenizer(job):
    """A word for each id: the peers want a tokenizer although they are given ids."""
    from tokenizers import Tokenizer, models  # pylint: disable=import-outside-toplevel
    from transformers import PreTrainedTokenizerFast  # pylint: disable=import-outside-toplevel
    words = models.WordLevel({f"t{i}": i for i in range(job.shape["vocabulary"])}, unk_token="t0")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), unk_token="t0", bos_token="t1", eos_token="t2",
                                   pad_token="t2")


def peer_llm_compressor(job):
    from compressed_tensors.quantization import (  # pylint: disable=import-outside-toplevel
        QuantizationArgs, QuantizationScheme)
    from datasets import Dataset  # pylint: disable=import-outside-toplevel
    from llmcompressor import oneshot  # pylint: disable=import-outside-toplevel
    from llmcompressor.modifiers.gptq import GPTQModifier  # pylint: disable=import-outside-toplevel
    from transformers import AutoModelForCausalLM  # pylint: disable=import-outside-toplevel
    options = job.options
    model = AutoModelForCausalLM.from_pretrained(job.folder, dtype=torch.bfloat16).to(options.device)
    weights = QuantizationArgs(num_bits=options.bits, type="int", symmetric=False, strategy="group",
                               group_size=options.group_size)
    ids = torch.randint(3, job.shape["vocabulary"], (options.rows, options.tokens))
    text = Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist()})
    scheme, tokenizer = QuantizationScheme(targets=["Linear"], weights=weights), peer_tokenizer(job)
    begin = synchronized(options.device)
    oneshot(model=model, recipe=[GPTQModifier(config_groups={"all": scheme}, ignore=["lm_head"])], dataset=text,
            max_seq_length=options.tokens, num_calibration_samples=options.rows, batch_size=8,
            shuffle_calibration_samples=False, tokenizer=tokenizer)
    return synchronized(options.device) - begin


def peer_auto_round(job):
    from auto_round import AutoRound  # pylint: disable=import-outside-toplevel
    from transformers import AutoModelForCausalLM  # pylint: disable=import-outside-toplevel
    options = job.options
    model = AutoModelForCausalLM.from_pretrained(job.folder, dtype=torch.bfloat16)
    ids = torch.randint(3, job.shape["vocabulary"], (options.rows, options.tokens))
    text, tokenizer = [ids[first:first + 8] for first in range(0, options.rows, 8)], peer_tokenizer(job)
    begin = synchronized(options.device)
    AutoRound(model, tokenizer, bits=options.bits, group_size=options.group_size, sym=False, iters=200,
              nsamples=options.rows, seqlen=options.tokens, batch_size=8, dataset=text, device_map=0).quantize()
    return synchronized(options.device) - begin


PEERS = {"transformers": peer_transformers, "llm-compressor": peer_llm_compressor, "auto-round": peer_auto_round}


def run_peers(job):
    for name in job.options.peers or PEERS:
        try:
            print(f"{name}: {PEERS[name](job):.1f} s", flush=True)
        except ImportError as missing:
            print(f"{name}: not installed ({missing.name})")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--blocks", default="", help="how many are made and run, or two numbers: 2,6; default: all")
    parser.add_argument("--stage", choices=[*KEYS, "all"], default="all")
    parser.add_argument("--rows", type=int, default=512, help="of text")
    parser.add_argument("--tokens", type=int, default=512, help="in a row")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="", help="the program's --dtype")
    parser.add_argument("--memory", default="", help="the program's --memory")
    parser.add_argument("--program", default=str(ROOT / "build" / "normtweak"))
    parser.add_argument("--work", type=Path, default=ROOT / "bench-results" / "whole-job")
    parser.add_argument("--profile", action="store_true", help="list the kernels; slows the run down")
    parser.add_argument("--peers", nargs="*", choices=PEERS,
                        help="run these too, on the same checkpoint: text, GPTQ, SignRound; without a name all")
    own = sys.argv[1:]
    rest = own.index("--") if "--" in own else len(own)
    options = parser.parse_args(own[:rest])
    options.rest = own[rest + 1:]
    return options


def main():
    options = arguments()
    shape = SHAPES[options.shape]
    counts = [int(count) for count in options.blocks.split(",")] if options.blocks else [shape["blocks"]]
    options.work.mkdir(parents=True, exist_ok=True)
    peak = peaks(options.device)
    print(f"measured peak: bf16 {peak['bf16'] / 1e12:.1f} TFLOP/s, f32 {peak['f32'] / 1e12:.1f} TFLOP/s, bandwidth "
          f"{peak['bandwidth'] / 1e9:.0f} GB/s; torch {torch.__version__}", flush=True)
    runs, stages = [], []
    for count in counts:
        job = Job(options, shape, count, options.work)
        figures, stages = job.run(options.stage)
        runs.append(figures)
        print_split(job, figures, stages, peak)
    print_extrapolation(shape, counts, runs, stages)
    if options.peers is not None:
        run_peers(job)


if __name__ == "__main__":
    main()
