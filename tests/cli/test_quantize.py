"""What `normtweak quantize` saves, opened by compressed-tensors and transformers."""
import json
import shutil
import subprocess

import gguf
import numpy
import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

import cli_gguf
import cli_models
import cli_program

IDS = cli_models.ids(2, 40, seed=9)
GENERAL_KEYS = {"model", "method", "bits", "group_size", "bits_per_weight", "samples", "tokens", "held_out_samples",
                "tweak", "perplexity", "kld", "top1_agreement", "recovered", "tokens_scored", "evaluations", "steps",
                "seconds", "settings", "output", "float_bytes", "peak_memory_bytes", "device", "dtype", "threads", "seed",
                "version"}

# method, bits, group size, more options
PLANS = {
    "rtn-4-g32": ("rtn", 4, 32, []),
    "rtn-2-channel": ("rtn", 2, 0, []),
    "rtn-3-g16-symmetric": ("rtn", 3, 16, ["--symmetric"]),
    "rtn-8-channel-symmetric": ("rtn", 8, 0, ["--symmetric"]),
    "rtn-6-g32-searched": ("rtn", 6, 32, ["--search-grid"]),
    "gptq-4-g32": ("gptq", 4, 32, []),
    "gptq-3-g16": ("gptq", 3, 16, ["--damping", "0.1"]),
    "gptq-2-channel-symmetric": ("gptq", 2, 0, ["--symmetric"]),
    "gptq-8-g32": ("gptq", 8, 32, []),
    "rtn-3-g16-float": ("rtn", 3, 16, ["--float-zeros"]),
    "gptq-2-channel-float": ("gptq", 2, 0, ["--float-zeros"]),
    "kmeans-2": ("kmeans", 2, 0, []),
    "kmeans-3-sensitivity": ("kmeans", 3, 0, ["--sensitivity"]),
    "kmeans-4": ("kmeans", 4, 0, []),
    "kmeans-2-g32": ("kmeans", 2, 32, ["--codebook-group", "32"]),
    "kmeans-2-g32-feedback": ("kmeans", 2, 32, ["--codebook-group", "32", "--feedback"]),
    "kmeans-3-feedback": ("kmeans", 3, 0, ["--feedback", "--no-act-order", "--sweeps", "1"]),
}
EXTENDED = [name for name, plan in PLANS.items() if plan[0] == "kmeans" or "--float-zeros" in plan[3]]
AFFINE = [name for name in PLANS if name not in EXTENDED]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantize")
    for name, make in (("llama", cli_models.llama), ("gpt2", cli_models.gpt2)):
        cli_models.save_with_tokenizer(make(), folder / name)
        (folder / name / "tokenizer_config.json").write_text('{"an odd":   "file"}\n\n')
    cli_program.save_ids(folder / "calibration.safetensors", cli_models.ids(8, 32))
    return folder


def quantize(home, name, model="llama", format="compressed-tensors", more=(), tweak="none"):
    """Runs a plan once for all tests that look at its result; returns its folder."""
    method, bits, group, options = PLANS[name]
    output = home / f"{model}-{name}-{format}{'-'.join(map(str, more))}".replace("*", "all")
    if not output.exists():
        groups = [] if method == "kmeans" else ["--group-size", group]
        figures = cli_program.report(
            "quantize", home / model, "-o", output, "--method", method, "--bits", bits, *groups, *options, "--format", format, "--tweak", tweak, "--calibration", home / "calibration.safetensors", *more, to=home)
        output.with_suffix(".json").write_text(json.dumps(figures))
    return output


def linears(folder):
    return sorted(name.removesuffix(".weight_packed") for name in cli_program.tensors(folder)
                  if name.endswith(".weight_packed"))


def codes_of(stored, module, bits):
    """u8 [out, in]; the package unpacks to signed codes."""
    shape = torch.Size(stored[f"{module}.weight_shape"].tolist())
    return unpack_from_int32(stored[f"{module}.weight_packed"], bits, shape).int() + (1 << (bits - 1))


def opened_extension(folder, model, bits):
    """The model with the weights that our own format stands for."""
    stored = cli_program.tensors(folder)
    for module in linears(folder):
        codes = codes_of(stored, module, bits)
        if f"{module}.weight_codebook" in stored:
            books = stored[f"{module}.weight_codebook"].float().reshape(len(codes), -1, 1 << bits)
            values = books.gather(2, codes.long().reshape(len(codes), books.shape[1], -1)).reshape(codes.shape)
        else:
            scales, zeros = stored[f"{module}.weight_scale"], stored[f"{module}.weight_zero_point"]
            assert zeros.dtype == scales.dtype and zeros.shape == scales.shape
            zeros, scales = (part.float().repeat_interleave(codes.shape[1] // part.shape[1], 1)
                             for part in (zeros, scales))
            values = (codes - zeros) * scales
        model.get_submodule(module).weight.data = values
    return model


def compare(found, expected, tolerance):
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("name", PLANS)
def test_saved_model_gives_our_logits(name, home):
    folder = quantize(home, name)
    if name in EXTENDED:
        model = opened_extension(folder, cli_models.llama(), PLANS[name][1])
    else:
        model = AutoModelForCausalLM.from_pretrained(
            folder, quantization_config=CompressedTensorsConfig(dequantize=True), dtype=torch.float32)
    # The package multiplies in the type of the scales, which is F16 here.
    compare(cli_program.logits(folder, IDS, home), cli_models.logits(model, IDS), 1e-4 if name in EXTENDED else 5e-3)


@pytest.mark.parametrize("name", PLANS)
def test_report(name, home):
    method, bits, group, _ = PLANS[name]
    found = json.loads(quantize(home, name).with_suffix(".json").read_text())
    assert GENERAL_KEYS <= found.keys()
    assert (found["method"], found["bits"], found["tweak"]) == (method, bits, "none")
    assert (found["samples"], found["tokens"], found["held_out_samples"]) == (8, 32, 2)
    assert found["perplexity"].keys() == {"protocol", "float", "quantized", "tweaked", "stderr", "text"}
    assert found["kld"].keys() == {"quantized", "tweaked", "stderr"}
    assert found["perplexity"]["quantized"] == found["perplexity"]["tweaked"]
    assert found["recovered"] == 0 and found["steps"] == 0
    assert found["guard"] == {"kept": "untouched", "accepted": False, "gain": 0, "stderr": 0,
                              "reason": "no tweak was asked for", "candidates": []}
    assert {"generate", "quantize", "evaluate", "total"} <= found["seconds"].keys()
    assert bits < found["bits_per_weight"] < bits + 4


@pytest.mark.parametrize("name", ["rtn-4-g32", "rtn-3-g16-float", "kmeans-3-sensitivity", "kmeans-2-g32"])
def test_bits_per_weight_is_what_the_file_holds(name, home):
    """But for padding at the ends of rows, and the shapes."""
    folder = quantize(home, name)
    bits = json.loads(folder.with_suffix(".json").read_text())["bits_per_weight"]
    stored = cli_program.tensors(folder)
    weights = total = 0
    for module in linears(folder):
        weights += stored[f"{module}.weight_shape"].prod().item()
        for part in ("weight_packed", "weight_scale", "weight_zero_point", "weight_codebook"):
            tensor = stored.get(f"{module}.{part}")
            total += 0 if tensor is None else 8 * tensor.numel() * tensor.element_size()
    assert bits == pytest.approx(total / weights, rel=0.03)


@pytest.mark.parametrize("model, name", [("llama", "rtn-4-g32"), ("llama", "gptq-3-g16"), ("llama", "kmeans-2"),
                                         ("llama", "rtn-3-g16-float"), ("llama", "kmeans-2-g32-feedback"),
                                         ("gpt2", "gptq-4-g32"), ("gpt2", "kmeans-3-sensitivity")])
def test_export(model, name, home):
    """Plain transformers opens it, and its logits are those of the packed checkpoint."""
    folder = quantize(home, name, model, "hf")
    opened, notes = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not notes["missing_keys"] and not notes["unexpected_keys"], notes
    expected = cli_models.logits(opened, IDS)
    compare(cli_program.logits(folder, IDS, home), expected, 1e-4)
    compare(cli_program.logits(quantize(home, name, model), IDS, home), expected, 1e-4)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    exact = cli_models.llama() if model == "llama" else cli_models.gpt2()
    assert (cli_models.logits(exact, IDS) - expected).std() > 1e-3


def range_grid(groups, bits, options):
    """Scales that F16 holds, and zero-points that are whole or that F16 holds; the range always holds 0."""
    symmetric = "--symmetric" in options
    top = numpy.float32(2 ** bits - 1)
    low, high = groups.min(-1).clip(max=0), groups.max(-1).clip(min=0)
    if symmetric:
        high = numpy.maximum(high, -low)
        low = -high
    scales = ((high - low) / top).clip(2.0 ** -14).astype(numpy.float16).astype(numpy.float32)
    zeros = numpy.full_like(scales, 2 ** (bits - 1)) if symmetric else (-low / scales).clip(0, top)
    zeros = zeros.astype(numpy.float16).astype(numpy.float32) if "--float-zeros" in options else zeros.round()
    return scales[..., None], zeros[..., None], top


@pytest.mark.parametrize("name", ["rtn-4-g32", "rtn-2-channel", "rtn-3-g16-symmetric", "rtn-8-channel-symmetric",
                                  "rtn-3-g16-float"])
def test_round_to_nearest(name, home):
    _, bits, group, options = PLANS[name]
    stored, originals = cli_program.tensors(quantize(home, name)), cli_program.tensors(home / "llama")
    modules = linears(quantize(home, name))
    assert len(modules) == 2 * 7
    for module in modules:
        weight = originals[f"{module}.weight"].numpy()
        groups = weight.reshape(weight.shape[0], -1, group or weight.shape[1])
        scales, zeros, top = range_grid(groups, bits, options)
        codes = ((groups / scales + zeros).round() if "--float-zeros" in options else
                 (groups / scales).round() + zeros).clip(0, top).reshape(weight.shape)
        assert numpy.array_equal(codes_of(stored, module, bits).numpy(), codes), module
        assert numpy.array_equal(stored[f"{module}.weight_scale"].float().numpy(), scales[..., 0]), module
        if "--float-zeros" in options:
            assert numpy.array_equal(stored[f"{module}.weight_zero_point"].float().numpy(), zeros[..., 0]), module


@pytest.mark.parametrize("name", ["gptq-3-g16", "rtn-3-g16-float", "kmeans-2"])
def test_eval_and_tweak_read_it_back(name, home, tmp_path):
    """The packed checkpoint is the dequantized one to the last bit, and is saved again as it was."""
    packed, exported = quantize(home, name), quantize(home, name, format="hf")
    text = tmp_path / "text.txt"
    text.write_text(cli_models.text(200), encoding="utf-8")
    found = cli_program.report("eval", packed, "--reference", exported, "--text", text, "--context", 32, to=tmp_path)
    assert found["kld"]["mean"] == pytest.approx(0, abs=1e-9)
    assert found["perplexity"]["float"] == found["perplexity"]["quantized"]
    # A layer-wise tweak that moves nothing helps nothing, so that the untouched state is kept.
    cli_program.run("tweak", packed, "--reference", home / "llama", "-o", tmp_path / "again", "--calibration",
                    home / "calibration.safetensors", "--method", "layerwise", "--lr", "1e-30", "--dtype", "f32")
    assert cli_program.file_bytes(tmp_path / "again") == cli_program.file_bytes(packed)


@pytest.mark.parametrize("method", ["rtn", "kmeans"])
def test_gpt2_without_prefix(method, tmp_path):
    """Names as in the first checkpoints of GPT-2 become those of today's."""
    cli_models.save(cli_models.gpt2(), tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    cli_models.take_prefix_off(tmp_path / "old")
    logits = []
    cli_program.save_ids(tmp_path / "calibration.safetensors", cli_models.ids(8, 32))
    for name in ("new", "old"):
        groups = [] if method == "kmeans" else ["--group-size", 32]
        cli_program.run("quantize", tmp_path / name, "-o", tmp_path / f"{name}-packed", "--method", method,
                        *groups, "--tweak", "none", "--calibration", tmp_path / "calibration.safetensors")
        logits.append(cli_program.logits(tmp_path / f"{name}-packed", IDS, tmp_path))
    assert torch.equal(*logits)
    assert cli_program.tensors(tmp_path / "old-packed").keys() == cli_program.tensors(tmp_path / "new-packed").keys()


def test_the_default_group_size_divides_all_columns(home, tmp_path):
    """Linears of 64 and of 96 columns here."""
    found = cli_program.report("quantize", home / "llama", "-o", tmp_path / "out", "--method", "rtn", "--tweak", "none",
                               "--calibration", cli_program.save_ids(tmp_path / "ids.safetensors", cli_models.ids(8, 32)),
                               to=tmp_path)
    assert found["group_size"] == 32
    assert cli_program.tensors(tmp_path / "out")["model.layers.0.mlp.down_proj.weight_scale"].shape == (64, 3)


def test_packed_gpt2_is_refused_by_others(tmp_path):
    """transformers packs no Conv1D, and would go on with random weights."""
    cli_models.save(cli_models.gpt2(), tmp_path / "gpt2")
    cli_program.run("quantize", tmp_path / "gpt2", "-o", tmp_path / "packed", "--method", "rtn", "--group-size", 32,
                    "--symmetric", "--tweak", "none", "--calibration",
                    cli_program.save_ids(tmp_path / "calibration.safetensors", cli_models.ids(8, 32)))
    with pytest.raises(ValueError, match="quant_method"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "packed")
    found = cli_program.report("inspect", tmp_path / "packed", to=tmp_path)
    assert found["quantized"] and all(row["loaded_by"] == ["normtweak"] for row in found["linears"])


def test_inspect_says_who_loads_it(home, tmp_path):
    """One linear with float zero-points makes a checkpoint that no other program reads."""
    mixed = quantize(home, "rtn-4-g32", more=["--rule", "*.down_proj=float-zeros"])
    for folder, kinds in ((quantize(home, "rtn-3-g16-float"), 1), (mixed, 2), (quantize(home, "rtn-4-g32"), 1)):
        found = cli_program.report("inspect", folder, to=tmp_path)["linears"]
        assert len(found) == kinds
        others = any(reader.startswith(("vLLM", "transformers")) for row in found for reader in row["loaded_by"])
        assert others == (folder == quantize(home, "rtn-4-g32"))
        assert any(row["kind"].endswith("float zero-points") for row in found) == (not others)


@pytest.mark.parametrize("kind, bits", [("Q4_1", 5.0), ("Q8_0", 8.5), ("F16", 16.0)])
def test_inspect_says_how_a_gguf_file_stores_weights(kind, bits, tmp_path):
    cli_gguf.write(tmp_path / "model.gguf", cli_models.llama(), "llama", gguf.GGMLQuantizationType[kind])
    found = cli_program.report("inspect", tmp_path / "model.gguf", to=tmp_path)
    [linears] = found["linears"]
    assert linears["kind"] == ("float" if kind == "F16" else kind) and linears["loaded_by"][0] == "llama.cpp"
    assert found["quantized"] == (kind != "F16") and found["bits_per_weight"] == pytest.approx(bits)
    tensors = gguf.GGUFReader(tmp_path / "model.gguf").tensors
    assert found["tensor_bytes"] == sum(int(tensor.n_bytes) for tensor in tensors)
    assert found["elements_by_type"][kind] == sum(int(tensor.n_elements) for tensor in tensors
                                                  if tensor.tensor_type.name == kind)


@pytest.mark.parametrize("name, part", [("rtn-4-g32", "weight_scale"), ("rtn-3-g16-float", "weight_scale"),
                                        ("rtn-3-g16-float", "weight_zero_point"), ("kmeans-2", "weight_codebook")])
def test_packed_floats_that_are_not_finite(name, part, home, tmp_path):
    """The line names the tensor. A negative scale is as good as any."""
    tensor, text = f"model.layers.1.mlp.up_proj.{part}", tmp_path / "text.txt"
    text.write_text(cli_models.text(100))
    for value in (torch.nan, torch.inf, -1.0):
        damaged = tmp_path / f"{value}"
        shutil.copytree(quantize(home, name), damaged)
        tensors = cli_program.tensors(damaged)
        tensors[tensor][3, 0] = value
        save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
        cli_program.save_ids(tmp_path / "ids.safetensors", IDS)
        for command in (["inspect", damaged], ["inspect", damaged / "model.safetensors"],
                        ["logits", damaged, "--tokens", tmp_path / "ids.safetensors", "-o", tmp_path / "logits"],
                        ["eval", damaged, "--text", text, "--context", 32]):
            finished = cli_program.call(*command, "--quiet")
            if value == -1:
                assert finished.returncode == 0, finished
                continue
            assert finished.returncode == 1 and finished.stderr.count("\n") == 1
            assert f"model.safetensors: tensor {tensor} holds NaN or infinity" in finished.stderr
            assert "--dtype" not in finished.stderr


def test_what_was_quantized_outlives_a_tweak_that_does_not_end(home, tmp_path):
    """Beside the output, as another run without a tweak saves it; a tweak can go on from there."""
    command = ["quantize", home / "llama", "--method", "gptq", "--bits", 3, "--group-size", 16, "--calibration",
               cli_program.save_ids(tmp_path / "calibration.safetensors", cli_models.ids(24, 32)), "--quiet"]
    endless = [*command, "-o", tmp_path / "out", "--steps", 100000, "--lr", 1e-3]
    process = subprocess.Popen([cli_program.PROGRAM, *map(str, endless)], env=cli_program.ENVIRONMENT)
    assert cli_program.appears(tmp_path / "out.untouched" / "config.json")
    process.kill()
    process.wait()
    assert not (tmp_path / "out").exists()
    cli_program.run(*command[:-1], "-o", tmp_path / "plain", "--tweak", "none")
    assert cli_program.file_bytes(tmp_path / "out.untouched") == cli_program.file_bytes(tmp_path / "plain")
    cli_program.run(*command[:-1], "-o", tmp_path / "out", "--steps", 3, "--lr", 1e-3)  # takes the copy away at its end
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.safetensors", "out", "plain"]


def test_the_copy_of_what_was_quantized_replaces_no_other_files(home, tmp_path):
    """Nor a model that the run reads. One that an earlier run left is replaced, and that is noted."""
    calibration = cli_program.save_ids(tmp_path / "calibration.safetensors", cli_models.ids(24, 32))
    command = ["-o", tmp_path / "out", "--method", "rtn", "--group-size", 16, "--steps", 3, "--lr", 1e-3, "--calibration",
               calibration]
    (tmp_path / "out.untouched").mkdir()
    (tmp_path / "out.untouched" / "mine").touch()
    refused = cli_program.call("quantize", home / "llama", *command)
    assert refused.returncode == 1 and "out.untouched: would be replaced as a whole, with mine" in refused.stderr
    shutil.rmtree(tmp_path / "out.untouched")

    cli_program.run("quantize", home / "llama", "-o", tmp_path / "out.untouched", "--method", "rtn", "--group-size", 16,
                    "--tweak", "none", "--format", "hf", "--calibration", calibration)
    refused = cli_program.call("quantize", tmp_path / "out.untouched", *command)
    assert refused.returncode == 2 and "which this run reads" in refused.stderr
    finished = cli_program.call("quantize", home / "llama", *command)
    assert finished.returncode == 0 and "out.untouched: an earlier run's quantized model" in finished.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.safetensors", "out"]


@pytest.mark.parametrize(("options", "output"), [
    (["--bits", 3], "out"),
    (["--bits", 4, "--format", "gptq", "--store-dtype", "f16"], "out"),
    (["--bits", 4, "--format", "awq", "--store-dtype", "f16"], "out"),
    (["--bits", 3, "--format", "hf"], "out"),
    (["--format", "gguf", "--gguf-type", "Q4_0"], "out.gguf")])
def test_the_copy_of_what_was_quantized_becomes_the_result(options, output, home, tmp_path):
    """With the bytes that a result has of which no part was written before: a copy in another folder cannot become it."""
    command = ["quantize", home / "llama", "--method", "rtn", "--group-size", 32, "--epochs", 8, "--calibration",
               cli_program.save_ids(tmp_path / "calibration.safetensors", cli_models.ids(48, 64)), *options]
    if "gguf" in options:
        command[2:6] = []
    results = []
    for name in ("beside", "elsewhere"):
        folder, json_file = tmp_path / name, tmp_path / f"{name}.json"
        folder.mkdir()
        if name == "elsewhere":
            place = tmp_path / "other" / output.replace("out", "out.untouched")
            place.parent.mkdir()
            (folder / place.name).symlink_to(place)
        cli_program.run(*command, "-o", folder / output, "--json", json_file)
        assert json.loads(json_file.read_text())["guard"]["kept"] != "untouched"
        results.append(cli_program.file_bytes(folder / output) if output == "out" else (folder / output).read_bytes())
    assert results[0] == results[1]
    assert [path.name for path in (tmp_path / "beside").iterdir()] == [output]


@pytest.mark.parametrize("tweak", ["layerwise", "end-to-end"])
def test_a_link_to_the_copy_of_what_was_quantized_stays(tweak, home, tmp_path):
    calibration = cli_program.save_ids(tmp_path / "calibration.safetensors", cli_models.ids(24, 32))
    (tmp_path / "out.untouched").symlink_to("elsewhere")
    cli_program.run("quantize", home / "llama", "-o", tmp_path / "out", "--method", "rtn", "--group-size", 16, "--tweak",
                    tweak, "--format", "hf", "--calibration", calibration)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.safetensors", "out", "out.untouched"]


def test_options_without_effect_are_noted(home, tmp_path):
    """Where they do no harm: one command line serves several methods."""
    calibration = cli_program.save_ids(tmp_path / "calibration.safetensors", cli_models.ids(8, 32))
    finished = cli_program.call("quantize", home / "llama", "-o", tmp_path / "out", "--method", "kmeans", "--bits", 3,
                                "--group-size", 64, "--token-weights", "fisher", "--tweak", "layerwise", "--tune",
                                "norms", "--seed", 3, "--budget", "5m", "--calibration", calibration,
                                "--top-k", 50)
    assert finished.returncode == 0, finished.stderr
    for option, choice in (("--group-size", "--method kmeans"),
                           ("--token-weights", "--method kmeans without --sensitivity or --feedback"),
                           ("--seed", "--calibration and --tweak layerwise"), ("--budget", "--tweak layerwise"),
                           ("--top-k", "--calibration")):
        assert f"{option}: has no effect with {choice}\n" in finished.stderr
    assert "--tune: " not in finished.stderr
    assert "--group-size" not in cli_program.call("quantize", home / "llama", "-o", tmp_path / "out", "--method",
                                                  "kmeans", "--group-size", 0, "--tweak", "none", "--calibration",
                                                  calibration).stderr


def test_drift_correction(home):
    """On by default where GPTQ aims at the float model's stream; it moves codes, and it is what the option gives."""
    standard = quantize(home, "gptq-3-g16")
    given = quantize(home, "gptq-3-g16", more=["--drift-correction", "5e-1"])
    left = quantize(home, "gptq-3-g16", more=["--drift-correction", 0])
    assert cli_program.file_bytes(standard) == cli_program.file_bytes(given) != cli_program.file_bytes(left)
    share = lambda folder: json.loads(folder.with_suffix(".json").read_text()).get("drift_correction")
    assert share(standard) == share(given) == 0.5 and share(left) is None
    assert share(quantize(home, "gptq-4-g32", more=["--final-norm"], tweak="layerwise")) is None
    assert share(quantize(home, "rtn-4-g32")) is None


@pytest.mark.parametrize("method, others", [("gptq", ["rtn", "kmeans"]), ("rtn", ["gptq", "kmeans"])])
def test_a_method_given_by_a_rule_is_that_method(method, others, home, tmp_path):
    """With all its standard options; what is said explicitly holds in either spelling."""
    line = ["quantize", home / "llama", "--bits", 4, "--tweak", "none", "--calibration", home / "calibration.safetensors"]
    spellings = [([], ""), (["--no-search-grid"], ",search-grid:off")]
    if method == "gptq":
        spellings += [(["--sweeps", 0], ",sweeps:0"), (["--no-act-order"], ",act-order:off")]
    for number, (options, settings) in enumerate(spellings):
        plain = tmp_path / f"plain-{number}"
        cli_program.run(*line, "-o", plain, "--method", method, "--group-size", 32, *options)
        for other in others:
            ruled = tmp_path / f"{other}-{number}"
            cli_program.run(*line, "-o", ruled, "--method", other, "--rule", f"*=method:{method},group:32{settings}")
            assert cli_program.file_bytes(ruled) == cli_program.file_bytes(plain), (other, settings)


# options, shape of the calibration ids, what is said
HOPELESS = {
    "no codebooks": (["--tune", "codebooks"], (8, 32),
                     "--tune codebooks: the quantized model has no such floats; it has norms, scales"),
    "whole zero-points": (["--tune", "zeros"], (8, 32), "zero-points are floats only with --float-zeros"),
    "no zero-points": (["--tune", "zeros", "--symmetric"], (8, 32), "it has norms, scales"),
    "no biases": (["--tune", "biases"], (8, 32), "--tune biases: the quantized model has no such floats"),
    "too few rows": ([], (3, 32), "3 rows of calibration text: at least 4 are needed, since some are kept aside to judge "
                                  "the result; give a file with more"),
    "rows of a token": ([], (8, 1), "rows of 1 token: at least 2 are needed"),
    "rows beyond the context": ([], (8, cli_models.CONTEXT + 1), "the model's context holds 128"),
    "blocks among codes": (["--rule", "*.0.*.q_proj=type:Q8_0"], (8, 32), "model.layers.0.self_attn.q_proj: quantized to "
                           "Q8_0, which --format compressed-tensors cannot hold; use --format hf"),
    "no whole blocks": (["--rule", "*.down_proj=type:Q4_K", "--format", "hf"], (8, 32),
                        "96 columns are no whole blocks of Q4_K, which have 256"),
    "groups": (["--group-size", 64], (8, 32), "group size 64 does not divide the 96 input columns of model.layers.0.mlp."
                                              "down_proj; use 32 or 16 or 8, which divide all"),
}


@pytest.mark.parametrize("case", HOPELESS)
def test_what_cannot_work_is_said_before_the_work(case, home, tmp_path):
    options, shape, words = HOPELESS[case]
    calibration = cli_program.save_ids(tmp_path / "calibration.safetensors", cli_models.ids(*shape))
    finished = cli_program.call("quantize", home / "llama", "-o", tmp_path / "out", "--method", "rtn", *options,
                                "--calibration", calibration)
    assert finished.returncode == 1 and words in finished.stderr, finished.stderr
    assert len(finished.stderr.splitlines()) == 1  # no stage was begun
    assert not (tmp_path / "out").exists()
    if "--tune" in options and "--symmetric" not in options:
        finished = cli_program.call("tweak", quantize(home, "rtn-4-g32"), "--reference", home / "llama", "-o",
                                    tmp_path / "out", *options, "--calibration", calibration)
        assert finished.returncode == 1 and words in finished.stderr, finished.stderr
        assert len(finished.stderr.splitlines()) == 1


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_block_types(method, home, tmp_path):
    figures = cli_program.report("quantize", home / "llama", "-o", tmp_path / "out", "--method", method, "--rule",
                                 "*=type:Q8_0", "--format", "hf", "--tweak", "end-to-end", "--steps", 2, "--tune",
                                 "scales", "--calibration", home / "calibration.safetensors", to=tmp_path)
    assert figures["bits_per_weight"] == 8.5 and figures["bits"] == 8 and figures["group_size"] == 32
    plan, = figures["settings"]["quantize"]["plans"]
    assert plan["settings"]["type"] == "Q8_0" and "symmetric" not in plan["settings"]
    assert figures["kld"]["quantized"] < 1e-3
    original, stored = cli_program.tensors(home / "llama"), cli_program.tensors(tmp_path / "out")
    for name, values in original.items():
        if name.endswith("_proj.weight"):
            step = values.float().abs().view(len(values), -1, 32).amax(2) / 127
            error = (stored[name] - values).float().abs().view(len(values), -1, 32).amax(2)
            assert error.max() > 0, name
            assert method == "gptq" or (error < 2 * step).all(), name  # GPTQ moves weights on purpose


def test_advice_on_groups_works(home, tmp_path):
    """Every size and the rule that the message names."""
    line = ["quantize", home / "llama", "-o", tmp_path / "out", "--method", "rtn", "--tweak", "none", "--calibration",
            home / "calibration.safetensors", "--group-size"]
    message = cli_program.call(*line, 64).stderr
    assert "use 32 or 16 or 8, which divide all, or 0" in message and "--rule '*.mlp.down_proj=group:0'" in message
    for size in (32, 16, 8, 0):
        cli_program.run(*line, size)
    cli_program.run(*line, 64, "--rule", "*.mlp.down_proj=group:0")


def test_sweeps(home):
    """Two by default after GPTQ; they move codes, and none are what the option says."""
    standard = quantize(home, "gptq-3-g16")
    given = quantize(home, "gptq-3-g16", more=["--sweeps", 2])
    published = quantize(home, "gptq-3-g16", more=["--sweeps", 0])
    assert cli_program.file_bytes(standard) == cli_program.file_bytes(given) != cli_program.file_bytes(published)


def test_token_weights(home):
    """They change what GPTQ rounds to, and nothing where no Hessian is needed."""
    for name, changes in (("gptq-4-g32", True), ("kmeans-3-sensitivity", True), ("rtn-4-g32", False)):
        alike, weighted = (cli_program.tensors(quantize(home, name, more=["--token-weights", kind]))
                           for kind in ("none", "fisher"))
        changed = {part for part in alike if not torch.equal(alike[part], weighted[part])}
        assert any(part.endswith(".weight_packed") for part in changed) == changes
        assert cli_program.tensors(quantize(home, name)).keys() == weighted.keys()


def test_same_seed_same_bytes(home, tmp_path):
    """With text that the model writes, and a tweak."""
    contents = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        cli_program.run("quantize", home / "llama", "-o", tmp_path / name, "--bits", 3, "--group-size", 32,
                        "--epochs", 1, "--samples", 8, "--tokens", 24, "--seed", seed)
        contents.append(cli_program.file_bytes(tmp_path / name))
    assert contents[0] == contents[1]
    assert contents[0]["model.safetensors"] != contents[2]["model.safetensors"]


def test_side_files(home):
    for format in ("compressed-tensors", "hf"):
        saved, original = (cli_program.file_bytes(folder) for folder in
                           (quantize(home, "rtn-4-g32", format=format), home / "llama"))
        assert saved.keys() == original.keys() >= {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}
        for name in saved.keys() - {"model.safetensors", "config.json"}:
            assert saved[name] == original[name], name
        ours, theirs = (json.loads(files["config.json"]) for files in (saved, original))
        ours.pop("quantization_config", None)
        assert ours == theirs


def test_rules(home, tmp_path):
    """Some linears stay, some get another width; transformers' package understands the config."""
    folder = quantize(home, "rtn-3-g16-symmetric",
                      more=["--rule", "*.down_proj=skip", "--rule", "re:.*layers.1.self_attn.*=bits:8,group:0"])
    stored, originals = cli_program.tensors(folder), cli_program.tensors(home / "llama")
    for layer in (0, 1):
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        assert torch.equal(stored[name], originals[name])
    assert len(linears(folder)) == 2 * 6
    assert stored["model.layers.1.self_attn.q_proj.weight_scale"].shape == (64, 1)
    assert stored["model.layers.0.self_attn.q_proj.weight_scale"].shape == (64, 4)
    opened = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    compare(cli_program.logits(folder, IDS, tmp_path), cli_models.logits(opened, IDS), 5e-3)


@pytest.mark.parametrize("format", ["hf", "compressed-tensors"])
def test_store_dtype(format, home, tmp_path):
    folder = quantize(home, "rtn-8-channel-symmetric", format=format, more=["--store-dtype", "bf16"])
    floats = {tensor.dtype for tensor in cli_program.tensors(folder).values() if tensor.is_floating_point()}
    assert floats == {torch.bfloat16}
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    # The products of dequantized weights are rounded to bf16 in an export, as the package does with packed ones.
    opened = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    compare(cli_program.logits(folder, IDS, tmp_path), cli_models.logits(opened, IDS), 1e-4 if format == "hf" else 2e-2)


@pytest.mark.parametrize("tweak", ["none", "end-to-end"])
@pytest.mark.parametrize("format", ["gptq", "awq"])
def test_f16_scales_of_a_bf16_model_are_values_of_both(format, tweak, home, tmp_path):
    """Readers load them in bf16, which must not round what was judged."""
    cli_program.run("quantize", home / "llama", "-o", tmp_path / "out", "--format", format, "--bits", 4, "--group-size", 32,
                    "--store-dtype", "bf16", "--tweak", tweak, "--epochs", 1, "--calibration",
                    home / "calibration.safetensors")
    scales = [tensor for name, tensor in cli_program.tensors(tmp_path / "out").items() if name.endswith(".scales")]
    assert len(scales) == 14 and {tensor.dtype for tensor in scales} == {torch.float16}
    assert all(torch.equal(tensor.bfloat16().half(), tensor) for tensor in scales)


def in_types(types, folder):
    """Changes the dtypes of tensors by a part of their names; '' for all others."""
    path = folder / "model.safetensors"
    stored = {}
    for name, tensor in load_file(path).items():
        part = next(part for part in [*filter(None, types), ""] if part in name)
        stored[name] = tensor.to(types[part]).contiguous()
    save_file(stored, path, metadata={"format": "pt"})


# dtype in the config (None: left out), dtypes of tensors, options, dtype of all floats in the result
MIXED = {
    "norms in F32": ("bfloat16", {"norm": torch.float32, "": torch.bfloat16}, [], torch.bfloat16),
    "final norm in F32": ("float16", {"model.norm": torch.float32, "": torch.float16}, [], torch.float16),
    "head in F32": ("bfloat16", {"lm_head": torch.float32, "": torch.bfloat16}, [], torch.bfloat16),
    "all in 16 bits": ("float32", {"": torch.bfloat16}, [], torch.float32),
    "embedding in 16 bits": ("float32", {"embed": torch.float16, "": torch.float32}, ["--store-dtype", "f32"],
                             torch.float32),
    "both 16 bits": ("bfloat16", {"norm": torch.float16, "": torch.bfloat16}, ["--store-dtype", "f16"], torch.float16),
    "no dtype": (None, {"model.norm": torch.float32, "": torch.bfloat16}, [], torch.float32),
}


@pytest.mark.parametrize("case", MIXED)
@pytest.mark.parametrize("format", ["hf", "compressed-tensors"])
def test_floats_have_the_dtype_of_the_config(case, format, home, tmp_path):
    """What is judged is what transformers loads by default: everything in the config's dtype."""
    named, types, options, expected = MIXED[case]
    cli_models.save_with_tokenizer(cli_models.llama(), tmp_path / "model")
    in_types(types, tmp_path / "model")
    cli_models.edit_config(tmp_path / "model", lambda config: (config.pop("dtype"), config.update(
        {"dtype": named} if named else {})))
    (tmp_path / "text.txt").write_text(cli_models.text(400), encoding="utf-8")
    found = cli_program.report("quantize", tmp_path / "model", "-o", tmp_path / "out", "--method", "rtn", "--bits", 8,
                               "--group-size", 0, "--symmetric", "--tweak", "none", "--format", format, *options,
                               "--rule", "*.down_proj=skip", "--calibration", home / "calibration.safetensors",
                               "--eval-text", tmp_path / "text.txt", "--dtype", "f32", to=tmp_path)
    stored = cli_program.tensors(tmp_path / "out")
    floats = {name: tensor.dtype for name, tensor in stored.items()
              if tensor.is_floating_point() and not name.endswith("_scale")}
    assert set(floats.values()) == {expected}
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written.get("dtype", "float32") == str(expected).removeprefix("torch.")
    again = cli_program.report("eval", tmp_path / "out", "--reference", tmp_path / "model", "--text",
                               tmp_path / "text.txt", to=tmp_path)
    if format == "compressed-tensors" or expected == torch.float32:  # others round the products of codes and scales
        assert found["evaluations"][0]["kld"]["quantized"] == pytest.approx(again["kld"]["mean"], rel=1e-5)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert opened.dtype == expected
    for name, tensor in opened.state_dict().items():
        if name in floats:
            assert tensor.dtype == expected and torch.equal(tensor, stored[name]), name


@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_from_gguf(model, home, tmp_path):
    """A GGUF file becomes a folder that transformers opens, with the weights put back in its order, in F16."""
    exact = cli_models.llama() if model == "llama" else cli_models.gpt2()
    cli_gguf.write(tmp_path / "model.gguf", exact, model, gguf.GGMLQuantizationType.Q8_0)
    cli_program.run("quantize", tmp_path / "model.gguf", "-o", tmp_path / "out", "--method", "rtn", "--bits", 8,
                    "--group-size", 32, "--tweak", "none", "--format", "hf", "--calibration",
                    home / "calibration.safetensors")
    opened, notes = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not notes["missing_keys"] and not notes["unexpected_keys"], notes
    assert {tensor.dtype for tensor in cli_program.tensors(tmp_path / "out").values()} == {torch.float16}
    assert opened.dtype == torch.float16
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    expected = cli_models.logits(opened, IDS)
    compare(cli_program.logits(tmp_path / "out", IDS, tmp_path), expected, 1e-4)
    compare(expected, cli_models.logits(exact, IDS), 0.05)  # 8 bits change little


@pytest.mark.parametrize("stored", [[], ["--store-dtype", "f32"]], ids=["default", "f32"])
def test_figures_from_gguf_are_those_of_the_saved_model(stored, home, tmp_path):
    """The reference stays what the file says; all that is written is rounded before it is judged."""
    exact = cli_models.llama(tie_word_embeddings=True)
    with torch.no_grad():
        for name, values in exact.named_parameters():
            if values.dim() == 1:
                values.mul_(300 + 1e-2)  # beyond 256, F16 has a step of 1/4
    cli_gguf.write(tmp_path / "model.gguf", exact, "llama", gguf.GGMLQuantizationType.F32,
                   cli_gguf.add_byte_level(cli_models.load_tokenizer(home / "llama")))
    (tmp_path / "text.txt").write_text(cli_models.text(400), encoding="utf-8")
    compare(cli_program.logits(tmp_path / "model.gguf", IDS, tmp_path), cli_models.logits(exact, IDS), 1e-4)
    found = cli_program.report("quantize", tmp_path / "model.gguf", "-o", tmp_path / "out", "--method", "rtn", "--bits",
                               8, "--group-size", 32, "--tweak", "none", *stored, "--calibration",
                               home / "calibration.safetensors", "--eval-text", tmp_path / "text.txt", to=tmp_path)
    again = cli_program.report("eval", tmp_path / "out", "--reference", tmp_path / "model.gguf", "--text",
                               tmp_path / "text.txt", to=tmp_path)
    assert found["evaluations"][0]["kld"]["quantized"] == pytest.approx(again["kld"]["mean"], rel=1e-6)
    floats = {tensor.dtype for tensor in cli_program.tensors(tmp_path / "out").values() if tensor.is_floating_point()}
    scales = {tensor.dtype for name, tensor in cli_program.tensors(tmp_path / "out").items() if name.endswith("_scale")}
    assert (floats - scales, scales) == ({torch.float32} if stored else set(), {torch.float16})


def test_a_gguf_value_beyond_f16(home, tmp_path):
    exact = cli_models.llama()
    exact.model.norm.weight.data[3] = 7e4
    cli_gguf.write(tmp_path / "model.gguf", exact, "llama", gguf.GGMLQuantizationType.F16)
    arguments = ["quantize", tmp_path / "model.gguf", "-o", tmp_path / "out", "--method", "rtn", "--bits", 8,
                 "--group-size", 32, "--tweak", "none", "--calibration", home / "calibration.safetensors"]
    refused = cli_program.call(*arguments, "--quiet")
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
    assert "tensor output_norm.weight: 70000 is too large for float16" in refused.stderr
    assert "--store-dtype bf16 or f32" in refused.stderr
    cli_program.run(*arguments, "--store-dtype", "bf16")
    assert torch.isfinite(cli_program.logits(tmp_path / "out", IDS, tmp_path)).all()


def test_from_gguf_with_a_tokenizer_that_cannot_be_used(home, tmp_path):
    """Only text needs it; what is saved does without, which is said."""
    path = tmp_path / "model.gguf"
    cli_gguf.write(path, cli_models.llama(), "llama", gguf.GGMLQuantizationType.F16, cli_gguf.add_word_pieces)
    cli_program.logits(path, IDS, tmp_path)
    figures = cli_program.report("inspect", path, to=tmp_path)
    assert (figures["tokenizer"], figures["sound"]) == (False, True)
    assert "tokenizer.ggml.model" in figures["tokenizer_problem"]
    arguments = ["quantize", path, "-o", tmp_path / "out", "--method", "rtn", "--bits", 8, "--group-size", 32,
                 "--tweak", "none", "--calibration", home / "calibration.safetensors"]
    said = cli_program.call(*arguments)
    assert said.returncode == 0 and "tokenizer.ggml.model: bert" in said.stderr
    assert "saved without a tokenizer" in said.stderr
    assert not list((tmp_path / "out").glob("tokenizer*"))
    cli_program.logits(tmp_path / "out", IDS, tmp_path)
    (tmp_path / "text.txt").write_text(cli_models.text(400), encoding="utf-8")
    refused = cli_program.call(*arguments, "--quiet", "--eval-text", tmp_path / "text.txt")
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
    assert "tokenizer.ggml.model: bert" in refused.stderr and "leave out --eval-text" in refused.stderr
