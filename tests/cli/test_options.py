"""Every option of every command, in every mode: it is read, or it is said that it has no effect."""
import json
import re

import pytest

import cli_models
import cli_program

# Of every command; what they do is tested elsewhere.
ALWAYS = {"--json", "--quiet", "--help", "--threads"}
# Where `quantize` takes its settings from and writes them to.
OF_QUANTIZE = {"--preset", "--plan", "--save-plan", "--print-plan"}
DEVICE = ["--device cpu", "--dtype f32", "--memory 4GiB"]
ON_A_CPU = ["--deterministic"]
SAMPLING = ["--temperature 0.9", "--top-k 7", "--top-p 0.9", "--generate-batch 3"]
WRITING = ["--strategy language", "--languages en", *SAMPLING]
ROWS = ["--samples 8", "--tokens 16"]
EXTERNAL = ["--protocol llama.cpp", "--context 32", "--max-tokens 64", "--max-examples 2"]
EVALUATIONS = ["--eval-text other.txt", "--eval-rows other.txt", "--eval-lambada rows.jsonl"]

QUANTIZE = "quantize model -o out"
AFFINE = ["--bits 3", "--group-size 16", "--symmetric", "--search-grid"]
GPTQ = ["--no-act-order", "--sweeps 1", "--damping 0.02", "--drift-correction 0.25"]
CODEBOOKS = ["--codebook-group 16", "--feedback"]
ANY_PLAN = ["--format hf", "--for vllm", "--store-dtype bf16", "--rule *.q_proj=bits:8"]
OTHER_FORMAT = ["--gguf-type Q4_K_M"]
OF_ACTIVATIONS = ["--activation-scale tensor", "--activation-asymmetric"]  # with --activation-bits
STEPS = ["--lr 0.01", "--epochs 1", "--batch 4", "--unguarded"]
# --tune is noted by what is named and missing; the others by the method
END_TO_END = [*STEPS, "--tune norms,scales", "--lr-scales 0.02", "--budget 100k-tokens", "--stop-after 1"]
LAYERWISE = [*STEPS, "--tune norms", "--loss mse", "--lr-scale 2", "--target float-stream", "--final-norm"]
LEARNED = ["--learn-codes", "--lr-codes 0.01", "--codes-decay 1", "--codes-of *.up_proj"]
SIGNROUND = ["--signround-iterations 3", "--signround-rate 0.1"]
BLOCKWISE_LACK = ["--steps 3", "--stop-after 2", "--lr-scales 0.1", "--lr-zeros 0.1", "--fresh-text", "--fresh-every 2"]
TWEAK = "tweak quantized --reference model -o out --calibration ids.safetensors"

# command line; options that are read; options noted to have no effect; options refused for it; left to other modes
MODES = {
    "inspect": ("inspect model", ["--quick"],
                [*DEVICE, *ON_A_CPU, "--seed 3"], [], []),
    "inspect a file": ("inspect ids.safetensors", ["--quick"],
                       [*DEVICE, *ON_A_CPU, "--seed 3"], [], []),
    "logits": ("logits model --tokens ids.safetensors -o out", DEVICE, ["--seed 3", *ON_A_CPU], [],
               ["--tokens", "--output"]),
    "eval of a text": ("eval model --text text.txt", [*DEVICE, "--reference model", "--protocol gptq", "--context 32",
                                                      "--max-tokens 64", "--batch-rows 2", "--drift"],
                       ["--seed 3", "--max-examples 2", *ON_A_CPU], ["--drift-channels"], ["--text", "--rows", "--lambada", "--task"]),
    "eval of rows": ("eval model --rows text.txt", [*DEVICE, "--reference model", "--protocol gptq", "--context 32",
                                                    "--max-tokens 64", "--batch-rows 2", "--drift"],
                     ["--seed 3", "--max-examples 2", *ON_A_CPU], ["--drift-channels"], ["--text", "--rows", "--lambada", "--task"]),
    "eval of LAMBADA": ("eval model --lambada rows.jsonl", [*DEVICE, "--reference model", "--max-examples 2",
                                                            "--batch-rows 2"],
                        ["--seed 3", "--protocol gptq", "--context 32", "--max-tokens 64", *ON_A_CPU], ["--drift", "--drift-channels"],
                        ["--text", "--rows", "--lambada", "--task"]),
    "generate": ("generate model -o out", [*DEVICE, *ROWS, *WRITING, "--seed 3"], [*ON_A_CPU], [],
                 ["--text", "--output"]),
    "generate, llm-qat": ("generate model -o out --strategy llm-qat", [*DEVICE, *ROWS, *SAMPLING, "--seed 3"],
                          [*ON_A_CPU, "--languages en"], [], ["--text", "--output", "--strategy"]),
    "generate, greedy": ("generate model -o out --top-k 1", [*DEVICE, *ROWS, "--seed 3", "--generate-batch 3",
                                                            "--strategy language", "--languages en"],
                         [*ON_A_CPU, "--temperature 0.9", "--top-p 0.9"], [], ["--text", "--output", "--top-k"]),
    "generate, random": ("generate model -o out --strategy random-tokens", [*DEVICE, *ROWS, "--seed 3"],
                         [*ON_A_CPU, "--languages en", *SAMPLING], [], ["--text", "--output", "--strategy"]),
    "generate from a text": ("generate model -o out --text text.txt", ROWS,
                             [*ON_A_CPU, *WRITING, "--seed 3", *DEVICE], [], ["--text", "--output"]),
    "quantize, gptq": (f"{QUANTIZE} --method gptq --tweak none --calibration ids.safetensors",
                       [*DEVICE, *AFFINE, *GPTQ, *ANY_PLAN, *EVALUATIONS, *EXTERNAL, "--token-weights fisher",
                        "--transform smoothquant", "--smooth-alpha search"],
                       [*ON_A_CPU, "--seed 3", *WRITING, *END_TO_END, "--steps 3", "--lr-zeros 0.1", "--loss mse",
                        "--lr-scale 2", "--target float-stream", "--final-norm", "--fresh-text",
                        "--fresh-every 2", *LEARNED],
                       ["--sensitivity", *CODEBOOKS, *OTHER_FORMAT, *OF_ACTIVATIONS, *ROWS, *SIGNROUND, "--no-awq-clip"],
                       ["--activation-bits", "--text", "--output", "--method", "--tweak", "--calibration", "--float-zeros"]),
    "quantize, rtn": (f"{QUANTIZE} --method rtn --calibration ids.safetensors --tweak layerwise",
                      [*DEVICE, *AFFINE[:2], "--float-zeros", "--search-grid", *ANY_PLAN, *LAYERWISE,
                       "--transform awq"],
                      [*ON_A_CPU, "--seed 3", *WRITING, *EXTERNAL, "--token-weights fisher", "--budget 5m"],
                      ["--sensitivity", *CODEBOOKS, *OTHER_FORMAT, *OF_ACTIVATIONS, *GPTQ, *ROWS, *BLOCKWISE_LACK,
                       *LEARNED, *SIGNROUND, "--smooth-alpha 0.5"],
                      ["--activation-bits", "--awq-clip", "--text", "--output", "--method", "--tweak", "--calibration", "--symmetric", "--eval-text",
                       "--eval-rows", "--eval-lambada"]),
    "quantize, kmeans": (f"{QUANTIZE} --method kmeans --bits 3 --text text.txt --tweak layerwise",
                         [*DEVICE, *ROWS, "--format compressed-tensors", "--activation-bits 8", *OF_ACTIVATIONS,
                          "--store-dtype bf16", *LAYERWISE, "--transform awq", "--codebook-group 16", "--no-feedback"],
                         [*ON_A_CPU, "--seed 3", *WRITING, *EXTERNAL, "--token-weights fisher", "--group-size 16",
                          "--budget 5m"],
                         ["--symmetric", "--float-zeros", "--search-grid", *OTHER_FORMAT, *GPTQ, *BLOCKWISE_LACK, *LEARNED, *SIGNROUND,
                          "--smooth-alpha 0.5"],
                         ["--awq-clip", "--bits", "--for", "--text", "--output", "--method", "--tweak", "--calibration", "--sensitivity",
                          "--rule", "--eval-text", "--eval-rows", "--eval-lambada"]),
    "quantize, fed back": (f"{QUANTIZE} --method kmeans --bits 3 --feedback --codebook-group 32 --tweak none "
                           "--calibration ids.safetensors", [*DEVICE, *GPTQ, "--token-weights fisher"],
                           [*ON_A_CPU, *WRITING, *EXTERNAL, *END_TO_END, "--seed 3", "--group-size 16", "--steps 3",
                            "--lr-zeros 0.1", "--loss mse", "--lr-scale 2", "--target float-stream", "--final-norm",
                            "--fresh-text", "--fresh-every 2", *LEARNED],
                           ["--sensitivity", "--symmetric", "--float-zeros", "--search-grid", *OTHER_FORMAT, *ROWS, *OF_ACTIVATIONS,
                            *SIGNROUND],
                           ["--activation-bits", "--transform", "--smooth-alpha", "--awq-clip", "--bits", "--format", "--for",
                            "--store-dtype", "--rule", "--text", "--output", "--method", "--tweak", "--calibration",
                            "--feedback", "--codebook-group", "--eval-text", "--eval-rows", "--eval-lambada"]),
    "quantize, sensitive": (f"{QUANTIZE} --method kmeans --bits 3 --sensitivity --tweak end-to-end --samples 8 "
                            "--tokens 16", [*DEVICE, *WRITING, "--seed 3", "--token-weights fisher", *END_TO_END,
                                            "--rule *.q_proj=bits:2"],
                            [*ON_A_CPU, *EXTERNAL, "--lr-zeros 0.1", "--fresh-text"], ["--loss mse", "--lr-scale 2", "--final-norm",
                                                                      "--fresh-every 2", "--target float-block", *LEARNED[1:], *OTHER_FORMAT],
                            [LEARNED[0], *SIGNROUND, "--activation-bits", "--activation-scale", "--activation-asymmetric", "--codebook-group", "--feedback", "--transform", "--smooth-alpha",
                             "--awq-clip", "--bits", "--format", "--for", "--store-dtype", "--group-size", "--symmetric", "--float-zeros",
                             "--search-grid", "--act-order", "--sweeps", "--damping", "--drift-correction", "--steps",
                             "--text", "--output", "--method", "--tweak", "--calibration", "--sensitivity", "--samples",
                             "--tokens", "--eval-text", "--eval-rows", "--eval-lambada"]),
    "tweak, end to end": (TWEAK, ["--patch patch", "--norms keep", *DEVICE, *END_TO_END, "--seed 3", *EVALUATIONS, *EXTERNAL],
                          [*ON_A_CPU, *WRITING, "--lr-zeros 0.1"],
                          [*ROWS, "--fresh-every 2", "--loss mse", "--lr-scale 2", "--target float-stream", "--final-norm"],
                          ["--fresh-text", "--steps", "--reference", "--text", "--output", "--method", "--calibration"]),
    "tweak, steps": (f"{TWEAK} --steps 2 --tune norms", ["--patch patch", "--norms keep", *DEVICE, "--lr 0.01", "--batch 4", "--unguarded", "--seed 3"],
                     [*ON_A_CPU, *WRITING, *EXTERNAL, "--epochs 2", "--budget 5m", "--stop-after 2", "--lr-scales 0.1",
                      "--lr-zeros 0.1"], [*ROWS, "--fresh-every 2", "--loss mse", "--lr-scale 2", "--target float-block", "--final-norm"],
                     ["--fresh-text", "--steps", "--tune", "--reference", "--text", "--output", "--method", "--calibration",
                      "--eval-text", "--eval-rows", "--eval-lambada"]),
    "tweak, layerwise": (f"{TWEAK} --method layerwise", ["--patch patch", "--norms keep", *DEVICE, *LAYERWISE],
                         [*ON_A_CPU, *WRITING, *EXTERNAL, "--seed 3", "--budget 5m"],
                         [*ROWS, *BLOCKWISE_LACK],
                         ["--reference", "--text", "--output", "--method", "--calibration", "--eval-text",
                          "--eval-rows", "--eval-lambada"]),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "model")
    cli_program.save_ids(folder / "ids.safetensors", cli_models.ids(16, 32))
    (folder / "text.txt").write_text(cli_models.text(1500), encoding="utf-8")
    (folder / "other.txt").write_text(cli_models.text(400, seed=8), encoding="utf-8")
    (folder / "rows.jsonl").write_text('{"text": "The bridge is old"}\n' * 3, encoding="utf-8")
    cli_program.run("quantize", folder / "model", "-o", folder / "quantized", "--method", "rtn", "--group-size", 32,
                    "--tweak", "none", "--calibration", folder / "ids.safetensors")
    return folder


def call(line, home, to):
    """Names of what is in `home` become paths; `out` and `patch` are in `to`."""
    named = {path.name for path in home.iterdir()}
    return cli_program.call(*(to / word if word in ("out", "patch") else home / word if i > 0 and word in named else word
                              for i, word in enumerate(line.split())))


def listed(command):
    """All options that --help lists; of several names of one, the last."""
    shown = cli_program.call(command, "--help").stdout
    lines = [re.match(r" +(-[^ ]*)", line) for line in shown.splitlines()]
    return {re.findall(r"--[a-z-]+", found[1].split("{")[0])[0] for found in lines if found and "--" in found[1]}


def name(option):
    return option.split()[0].replace("--no-", "--")


@pytest.mark.parametrize("mode", MODES)
def test_every_option_is_read_or_not(mode, home, tmp_path):
    """What --help lists is in the table above; the mode's own options are those that its line holds."""
    line, read, noted, refused, elsewhere = MODES[mode]
    known = {name(option) for option in [*read, *noted, *refused, *elsewhere]} | ALWAYS
    assert listed(line.split()[0]) == known | (OF_QUANTIZE if line.startswith("quantize") else set())
    command = " ".join([line, *read, *noted])
    finished = call(command, home, tmp_path)
    assert finished.returncode == 0, finished
    said = {line.split()[0].rstrip(":") for line in finished.stderr.splitlines()
            if ": has no effect" in line}
    assert said == {name(option) for option in noted}, finished.stderr


@pytest.mark.parametrize("mode, option", [(mode, option) for mode, row in MODES.items() for option in row[3]])
def test_what_would_have_no_effect_is_refused(mode, option, home, tmp_path):
    finished = call(f"{MODES[mode][0]} {option}", home, tmp_path)
    assert finished.returncode == 2 and f"{name(option)}: has no effect" in finished.stderr, finished
    assert list(tmp_path.iterdir()) == []


# rules and options; what has no effect; whether it is refused
RULES = {
    "a method that lacks it": ("--rule *=method:rtn,sweeps:3", "--rule *=method:rtn,sweeps:3: sweeps", True),
    "a part that lacks it": ("--rule *down*=method:rtn,damping:0.1", "damping: has no effect on linears quantized by rtn",
                             True),
    "an option that rules leave without readers": ("--sweeps 1 --rule *=method:rtn",
                                                   "--sweeps: has no effect on linears quantized by rtn", True),
    "codebooks of groups": ("--rule *.q_proj=codebook-group:16", "codebook-group: has no effect on linears quantized by gptq",
                            True),
    "sensitivity beside feedback": ("--rule *.q_proj=method:kmeans,feedback,sensitivity",
                                    "sensitivity: has no effect on linears quantized by kmeans with feedback", True),
    "groups of codebooks": ("--rule *.q_proj=method:kmeans,group:16", "group: has no effect on linears quantized by kmeans",
                            True),
    "sensitivity": ("--rule *.q_proj=sensitivity", "sensitivity: has no effect on linears quantized by gptq", True),
    "what is skipped": ("--rule *.q_proj=bits:8 --rule *.self_attn.*=skip", "bits: has no effect, since rules skip", True),
    "a later rule": ("--rule *.q_proj=bits:8 --rule *=bits:2", "bits: has no effect, since a later rule sets it", False),
    "an option": ("--bits 4 --rule *=bits:2", "--bits: has no effect, since rules set it for every linear", False),
    "a method": ("--method rtn --rule *=method:gptq", "--method: has no effect, since rules set it", False),
    "an option of no method": ("--sensitivity --rule *.q_proj=bits:8", "--sensitivity: has no effect on linears", True),
    "an option of one method": ("--method kmeans --sweeps 1 --rule *.q_proj=method:gptq,group:16", "", False),
    "drift": ("--method kmeans --drift-correction 0.5 --rule *=bits:3", "--drift-correction: has no effect", True),
    "weights of tokens": ("--method rtn --token-weights fisher --rule *.q_proj=bits:3", "--token-weights: has no effect on",
                          False),
}


@pytest.mark.parametrize("case", RULES)
def test_rules_without_effect(case, home, tmp_path):
    options, said, refused = RULES[case]
    finished = call(f"{QUANTIZE} --tweak none --calibration ids.safetensors {options}", home, tmp_path)
    assert finished.returncode == (2 if refused else 0), finished
    assert said in finished.stderr if said else "has no effect" not in finished.stderr


@pytest.mark.parametrize("options, rate", [("--tune zeros", "--lr-zeros"), ("", "--lr-zeros")])
def test_rates_of_what_a_model_lacks(options, rate, home, tmp_path):
    """Whole zero-points cannot be tuned; nor can the scales of an export."""
    finished = call(f"{TWEAK} --steps 1 --lr 0.01 {rate} 0.1 {options}", home, tmp_path)
    if options:
        assert finished.returncode == 1 and "--tune zeros" in finished.stderr
    else:
        assert finished.returncode == 0 and f"{rate}: has no effect, since the model has no float" in finished.stderr


def test_a_window_longer_than_the_context_is_noted(home, tmp_path):
    """Asked for, it is cut; left out, it follows from the model."""
    for context, noted in (("--context 129", True), ("--context 128", False), ("", False)):
        finished = call(f"eval model --text text.txt {context} --json {tmp_path / 'x'}", home, tmp_path)
        assert finished.returncode == 0 and ("--context 129: the model's context holds 128" in finished.stderr) == noted
        assert json.loads((tmp_path / "x").read_text(encoding="utf-8"))["context"] == cli_models.CONTEXT


# rule → the quantizer's own account of what it reads: which keys must be there, and which must not
PLANS = [
    (["--method", "rtn", "--rule", "*=method:gptq"], [({"method": "gptq", "sweeps": 2, "act_order": True}, (), 14)]),
    (["--method", "gptq", "--rule", "*=method:rtn"],
     [({"method": "rtn", "search_grid": False}, ("sweeps", "act_order", "damping"), 14)]),
    (["--method", "gptq", "--sweeps", "1", "--rule", "*.mlp.*=method:kmeans,bits:3"],
     [({"method": "gptq", "sweeps": 1, "bits": 4}, ("sensitivity",), 8),
      ({"method": "kmeans", "bits": 3, "sensitivity": False}, ("group_size", "symmetric", "sweeps"), 6)]),
    (["--method", "rtn", "--rule", "*.down_proj=skip"],
     [({"method": "rtn", "group_size": 16}, (), 12), ({"skip": True}, ("method", "bits"), 2)]),
    (["--method", "rtn", "--rule", "*.0.*=bits:8", "--rule", "*.1.*=bits:8"], [({"bits": 8}, (), 14)]),
]


@pytest.mark.parametrize("options, expected", PLANS, ids=[" ".join(row[0]) for row in PLANS])
def test_reported_settings_are_those_in_effect(options, expected, home, tmp_path):
    """The bits that the report names are those that the `quantization_config` gives to the linears."""
    found = cli_program.report("quantize", home / "model", "-o", tmp_path / "out", "--group-size", 16, "--tweak", "none",
                               "--calibration", home / "ids.safetensors", *options, to=tmp_path)
    reported = found["settings"]["quantize"]
    assert len(reported["plans"]) == len(expected)
    for share, (settings, missing, linears) in zip(reported["plans"], expected, strict=True):
        assert share["linears"] == linears
        assert share["settings"] == share["settings"] | settings
        assert not set(missing) & set(share["settings"])
    # The keys without a plan speak for the linears that no rule changes, or for most if there are none.
    first = reported["plans"][0]["settings"]
    assert {key: reported[key] for key in first} == first
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    bits = {group["weights"]["num_bits"] for group in config["config_groups"].values()}
    assert bits == {share["settings"]["bits"] for share in reported["plans"] if "bits" in share["settings"]}
    assert (found["method"], found["bits"]) == (first["method"], first["bits"])
