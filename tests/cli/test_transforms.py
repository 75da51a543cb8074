"""`quantize --transform`: against SmoothQuant and AWQ in plain PyTorch, in all formats, and what is refused."""
import functools

import pytest
import torch
from transformers import AutoModelForCausalLM

import cli_models
import cli_program
import family_models
import transforms

ROWS, TOKENS, TRAIN = 12, 32, 9  # rows of the text, and those that are calibrated on; the others judge
IDS = cli_models.ids(2, 40, seed=9)


def with_outliers(model):
    """Some channels far larger than others, as in large models."""
    for layer in model.model.layers:
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight.data[[3, 17, 40]] *= torch.tensor([25.0, 12.0, 6.0])
    return model


def small(heads):
    return with_outliers(cli_models.llama(num_key_value_heads=heads))


MODELS = {"heads": lambda: small(4), "grouped": lambda: small(2)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transforms")
    for name, make in MODELS.items():
        cli_models.save_with_tokenizer(make(), folder / name)
    cli_program.save_ids(folder / "ids.safetensors", cli_models.ids(ROWS, TOKENS))
    return folder


def quantize(home, model, output, *options):
    return cli_program.report("quantize", home / model, "-o", output, "--calibration", home / "ids.safetensors",
                              *options, to=home)


CASES = {
    "awq": ("heads", transforms.awq, {"clip": True}, ["--transform", "awq"]),
    "awq, shared heads": ("grouped", transforms.awq, {"clip": True}, ["--transform", "awq"]),
    "awq without clipping": ("heads", transforms.awq, {"clip": False}, ["--transform", "awq", "--no-awq-clip"]),
    "smoothquant": ("grouped", transforms.smoothquant, {"alpha": 0.5}, ["--transform", "smoothquant"]),
    "smoothquant 0.8": ("heads", transforms.smoothquant, {"alpha": 0.8},
                        ["--transform", "smoothquant", "--smooth-alpha", 0.8]),
    "smoothquant, searched": ("grouped", transforms.smoothquant, {"alpha": "search"},
                              ["--transform", "smoothquant", "--smooth-alpha", "search"]),
}


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_as_in_plain_pytorch(case, symmetric, home, tmp_path):
    name, transform, arguments, options = CASES[case]
    ids = cli_models.ids(ROWS, TOKENS)[:TRAIN]
    expected, alphas = transforms.quantized(MODELS[name](), ids, functools.partial(transform, **arguments),
                                            bits=3, group=16, symmetric=symmetric)
    figures = quantize(home, name, tmp_path / "out", "--method", "rtn", "--bits", 3, "--group-size", 16, "--tweak",
                       "none", "--format", "hf", "--device", "cpu", "--dtype", "f32", *options,
                       *["--symmetric"] * symmetric)
    found = [{fold["from"].split(".")[-1]: fold["alpha"] for fold in block["folds"]}
             for block in figures["transform"]["blocks"]]
    assert found == [pytest.approx(block) for block in alphas]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    wanted = dict(expected.named_parameters())
    moved = 0  # where a weight, or a scale in F16, lies in the middle between two values up to the rounding of sums
    for name, parameter in model.named_parameters():
        differs = (parameter.data - wanted[name].data).abs() > 1e-4 * wanted[name].data.abs().max()
        assert parameter.dim() > 1 or not differs.any(), name
        moved += differs.sum().item()
    assert moved <= 64
    found, wanted = cli_models.logits(model, IDS), cli_models.logits(expected, IDS)
    assert family_models.relative(found, wanted) < (1e-4 if moved == 0 else 0.1)


def near(found, expected, tolerance):
    """By the mean, since one channel may clip."""
    return (found - expected).square().mean().sqrt() < tolerance * expected.square().mean().sqrt()


@pytest.mark.parametrize("method, transform", [("rtn", "awq"), ("gptq", "awq"), ("gptq", "smoothquant"),
                                               ("kmeans", "smoothquant")])
def test_eight_bits_are_nearly_the_float_model(method, transform, home, tmp_path):
    """Whatever was divided is saved, and so is whatever was multiplied, quantized or not."""
    quantize(home, "heads", tmp_path / "out", "--method", method, "--bits", 8, "--transform", transform, "--tweak",
             "none", "--rule", "*.q_proj=skip", "--rule", "*.down_proj=skip", "--format", "hf")
    saved = cli_program.tensors(tmp_path / "out")
    original = cli_program.tensors(home / "heads")
    for name in ("self_attn.q_proj", "input_layernorm"):
        assert not torch.equal(saved[f"model.layers.0.{name}.weight"], original[f"model.layers.0.{name}.weight"])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert near(cli_models.logits(model, IDS), cli_models.logits(MODELS["heads"](), IDS), 0.03)


def test_formats_hold_the_same_model(home, tmp_path):
    options = ["--method", "rtn", "--bits", 4, "--group-size", 16, "--transform", "awq", "--tweak", "none"]
    found = {}
    for format in ("hf", "compressed-tensors", "gptq", "awq"):
        quantize(home, "grouped", tmp_path / format, *options, "--format", format)
        found[format] = cli_program.logits(tmp_path / format, IDS, tmp_path)
    quantize(home, "grouped", tmp_path / "out.gguf", *options, "--format", "gguf", "--gguf-type", "F16")
    found["gguf"] = cli_program.logits(tmp_path / "out.gguf", IDS, tmp_path)
    for format, logits in found.items():  # F16 has the embedding in 16 bits, too
        assert near(logits, found["hf"], 1e-2 if format == "gguf" else 1e-3), format


@pytest.mark.parametrize("tweak", [["layerwise", "--epochs", 1], ["end-to-end", "--steps", 2]])
def test_the_tweak_goes_on_from_what_was_folded(tweak, home, tmp_path):
    figures = quantize(home, "grouped", tmp_path / "out", "--bits", 3, "--group-size", 16, "--transform", "smoothquant",
                       "--tweak", *tweak)
    plain = quantize(home, "grouped", tmp_path / "plain", "--bits", 3, "--group-size", 16, "--transform",
                     "smoothquant", "--tweak", "none")
    assert figures["kld"]["quantized"] == pytest.approx(plain["kld"]["quantized"], rel=0.2)
    assert figures["kld"]["tweaked"] <= figures["kld"]["quantized"]
    assert figures["settings"]["transform"] == {"name": "smoothquant", "smooth_alpha": 0.5}


# The router may send a token elsewhere, which is a step.
@pytest.mark.parametrize("family, tolerance", [("mixtral", 0.15), ("gemma", 0.03), ("falcon", 0.03), ("gpt2", 0.03),
                                               ("olmo2", 0.03)])
def test_families(family, tolerance, tmp_path):
    """Routers, norms that add 1, one norm for two branches, transposed weights, no norms before linears."""
    model = family_models.make(family, next(iter(family_models.FAMILIES[family].cases)))
    model.save_pretrained(tmp_path / "model")
    cli_program.save_ids(tmp_path / "ids.safetensors", family_models.ids(8, 32, seed=3))
    figures = cli_program.report(
        "quantize", tmp_path / "model", "-o", tmp_path / "out", "--method", "rtn", "--bits", 8, "--group-size", 8,
        "--transform", "awq", "--no-awq-clip", "--tweak", "none", "--format", "hf", "--calibration",
        tmp_path / "ids.safetensors", to=tmp_path)
    assert any(fold["alpha"] > 0 for block in figures["transform"]["blocks"] for fold in block["folds"])
    opened = family_models.opened(tmp_path / "out", family)
    found, expected = (family_models.logits(each, family_models.IDS) for each in (opened, model))
    assert near(found, expected, tolerance)


def test_a_family_that_has_nothing_to_fold_is_refused(tmp_path):
    family_models.make("olmo2", next(iter(family_models.FAMILIES["olmo2"].cases))).save_pretrained(tmp_path / "model")
    finished = cli_program.call("quantize", tmp_path / "model", "-o", tmp_path / "out", "--transform", "smoothquant")
    assert finished.returncode != 0 and "olmo2" in finished.stderr and "norms follow" in finished.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options, said", [
    (["--smooth-alpha", "0.5"], "--smooth-alpha: has no effect without --transform smoothquant"),
    (["--transform", "awq", "--smooth-alpha", "0.5"], "--smooth-alpha: has no effect without --transform smoothquant"),
    (["--transform", "smoothquant", "--no-awq-clip"], "--awq-clip: has no effect without --transform awq"),
    (["--transform", "smoothquant", "--smooth-alpha", "1.5"], "neither a share between 0 and 1 nor search"),
    (["--transform", "rotation"], "--transform"),
    (["--transform", "smoothquant", "--rule", "re:.*(q|k|v|gate|up)_proj=skip"],
     "rules skip every linear"),
])
def test_refused(options, said, home, tmp_path):
    finished = cli_program.call("quantize", home / "grouped", "-o", tmp_path / "out", "--tweak", "none",
                                "--calibration", home / "ids.safetensors", *options)
    assert finished.returncode != 0 and said in finished.stderr, finished.stderr
    assert not (tmp_path / "out").exists()
