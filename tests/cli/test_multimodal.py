"""Models of text and images: their language model is worked on as any other, against transformers; the rest stays."""
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer
from transformers.quantizers.quantizers_utils import should_convert_module

import cli_models
import cli_program
import multimodal_models
from multimodal_models import IDS, MODELS

TOLERANCE = 5e-5  # of the largest logit: sums in another order
QUANTIZE = ["--group-size", 16, "--tweak", "none", "--dtype", "f32"]


class Home:
    """Saved models, and what has been made of them, each only once."""

    def __init__(self, folder):
        self.folder = folder
        ids = torch.randint(2, multimodal_models.VOCABULARY - 8, (16, 16), generator=torch.Generator().manual_seed(3))
        self.calibration = cli_program.save_ids(folder / "calibration.safetensors", ids)

    def model(self, case):
        path = self.folder / case.replace(" ", "-").replace(",", "") / "model"
        if not path.exists():
            multimodal_models.make(case).save_pretrained(path)
            (path / "preprocessor_config.json").write_text('{"size": 16}')
        return path

    def quantized(self, case, format, *options):
        path = self.model(case).parent / "-".join([format, *map(str, options)]).replace("*", "")
        if not path.exists():
            cli_program.run("quantize", self.model(case), "-o", path, "--format", format, "--calibration",
                            self.calibration, *QUANTIZE, *options)
        return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("multimodal"))


def compare(found, expected, tolerance=TOLERANCE):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def outside(folder):
    """The tensors that are not of the language model."""
    return {name: tensor for name, tensor in cli_program.tensors(folder).items()
            if any(part in name for part in ("vision", "visual", "projector", "connector"))}


def config_of(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def change_config(folder, change):
    config = config_of(folder)
    change(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def renamed(folder, to, change):
    """A copy whose tensors have other names."""
    shutil.copytree(folder, to)
    tensors = load_file(to / "model.safetensors")
    save_file({change(name): tensor for name, tensor in tensors.items()}, to / "model.safetensors", {"format": "pt"})
    return to


@pytest.mark.parametrize("case", MODELS)
def test_logits(case, home, tmp_path):
    folder = home.model(case)
    compare(cli_program.logits(folder, IDS, tmp_path), multimodal_models.logits(
        multimodal_models.opened(folder, case)))


@pytest.mark.parametrize("case", MODELS)
def test_export(case, home, tmp_path):
    """Tensors and config are those of the original, but for the values of quantized linears."""
    folder, original = home.quantized(case, "hf", "--bits", 8), home.model(case)
    before, after = cli_program.tensors(original), cli_program.tensors(folder)
    assert {n: (t.shape, t.dtype) for n, t in before.items()} == {n: (t.shape, t.dtype) for n, t in after.items()}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(moved) == 7 * config_of(original)["text_config"]["num_hidden_layers"]
    assert moved.isdisjoint(outside(original)) and len(outside(original)) > 4
    assert config_of(folder) == config_of(original)
    assert (folder / "preprocessor_config.json").read_text() == '{"size": 16}'
    expected = multimodal_models.logits(multimodal_models.opened(folder, case))
    compare(cli_program.logits(folder, IDS, tmp_path), expected)


@pytest.mark.parametrize("options", [("--bits", 4), ("--bits", 8, "--symmetric", "--rule", "*.1.mlp.up_proj=skip"),
                                     ("--bits", 4, "--symmetric", "--rule", "*.mlp.*=bits:8")], ids=["4 bits", "8 bits", "mixed"])
@pytest.mark.parametrize("case", MODELS)
def test_transformers_opens_packed_weights(case, options, home, tmp_path):
    """And leaves the rest of the model float."""
    folder = home.quantized(case, "compressed-tensors", *options)
    packed = {name.rpartition(".")[0] for name in cli_program.tensors(folder) if name.endswith("weight_packed")}
    layers = config_of(folder)["text_config"]["num_hidden_layers"]
    assert len(packed) == 7 * layers - ("*.1.mlp.up_proj=skip" in options)
    assert outside(folder).keys() == outside(home.model(case)).keys()
    for name, tensor in outside(home.model(case)).items():
        assert torch.equal(tensor, outside(folder)[name])
    ours = cli_program.logits(folder, IDS, tmp_path)
    model, notes = MODELS[case][0].from_pretrained(folder, output_loading_info=True)
    assert not any(notes.values()), notes
    expected = multimodal_models.logits(model.eval())
    compare(ours, expected, 2e-3)  # scales in F16 are used in F32 here and there
    original = multimodal_models.logits(multimodal_models.opened(home.model(case), case))
    assert (ours - original).abs().max() > 1e-2 * original.std()


@pytest.mark.parametrize("format", ["gptq", "awq"])
@pytest.mark.parametrize("case", ["gemma3", "qwen2_5_vl", "smolvlm"])
def test_gptq_and_awq(case, format, home, tmp_path):
    """Read back with the logits of the same codes elsewhere; the config excludes what is beside the language model."""
    packed = home.quantized(case, format, "--bits", 4)
    exported = tmp_path / "exported"
    cli_program.run("convert", packed, "-o", exported, "--format", "compressed-tensors")
    compare(cli_program.logits(packed, IDS, tmp_path), cli_program.logits(exported, IDS, tmp_path))
    config = config_of(packed)["quantization_config"]
    model = multimodal_models.make(case)
    linears = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    beside = [name for name in linears if ".layers." not in name or "vision" in name]
    assert "lm_head" in beside and len(beside) > 4
    if format == "awq":  # transformers adds the head by itself
        skipped = [*config["modules_to_not_convert"], "lm_head"]
        excluded = [name for name in linears if not should_convert_module(name, skipped)]
        assert all(any(part in name for part in config["modules_to_not_convert"]) for name in beside if "head" not in name)
    else:
        assert config["block_name_to_quantize"] in {name.rpartition(".")[0] for name, _ in model.named_modules()}
        patterns = [re.compile(key[2:]) for key in config["dynamic"] if key.startswith("-:")]
        excluded = ["lm_head", *(name for name in linears if any(pattern.match(name) for pattern in patterns))]
        assert all(name.startswith(config["block_name_to_quantize"]) for name in linears if name not in excluded)
    assert sorted(excluded) == sorted(beside)
    said = cli_program.call("inspect", packed).stdout
    assert "opens in transformers" in said


def excluded_by_transformers(config, name):
    """By the rules of AWQ's and GPTQ's integrations."""
    if "modules_to_not_convert" in config:
        return not should_convert_module(name, config["modules_to_not_convert"])
    return any(re.match(key[2:], name) for key in config["dynamic"] if key.startswith("-:"))


SKIP = ["--rule", "*.1.mlp.up_proj=skip"]


@pytest.mark.parametrize("format", ["gptq", "awq"])
@pytest.mark.parametrize("case", ["mistral3", "qwen2_5_vl"])
def test_a_linear_left_float_is_excluded_as_transformers_calls_it(case, format, home):
    config = config_of(home.quantized(case, format, "--bits", 4, *SKIP))["quantization_config"]
    linears = [name for name, module in multimodal_models.make(case).named_modules()
               if isinstance(module, torch.nn.Linear) and "language_model.layers." in name]
    assert len(linears) == 14
    assert [name for name in linears if excluded_by_transformers(config, name)] == [
        "model.language_model.layers.1.mlp.up_proj"]


IN_TRANSFORMERS = "model.language_model.layers.1.mlp.up_proj"
NAMING = {  # what a config calls as transformers' modules are called, where the file has other names
    "ignored linear": ("compressed-tensors", SKIP, lambda config: config.update(
        ignore=["lm_head", IN_TRANSFORMERS, "re:.*vision_tower.*", "re:.*multi_modal_projector.*"])),
    "ignored by expression": ("compressed-tensors", SKIP, lambda config: config.update(
        ignore=["lm_head", "re:model[.]language_model[.]layers[.]1[.]mlp[.]up_proj$", "re:.*vision_tower.*"])),
    "groups": ("compressed-tensors", ["--rule", "*.mlp.*=bits:8"], lambda config: [
        group.update(targets=[re.sub(r"re:.*?layers", "re:model[.]language_model[.]layers", target)
                              for target in group["targets"]]) for group in config["config_groups"].values()]),
    "gptq": ("gptq", SKIP, lambda config: config.update(dynamic={f"-:{IN_TRANSFORMERS}": {}})),
    "awq": ("awq", SKIP, lambda config: config.update(modules_to_not_convert=[IN_TRANSFORMERS, "vision_tower"])),
}


@pytest.mark.parametrize("name", NAMING)
@pytest.mark.parametrize("case", ["llava", "mistral3"])
def test_configs_may_name_modules_as_transformers_does(case, name, home, tmp_path):
    format, options, edit = NAMING[name]
    packed, folder = home.quantized(case, format, "--bits", 4, *options), tmp_path / "named"
    shutil.copytree(packed, folder)
    (folder / "quantize_config.json").unlink(missing_ok=True)
    change_config(folder, lambda config: edit(config["quantization_config"]))
    assert config_of(folder) != config_of(packed)
    assert torch.equal(cli_program.logits(folder, IDS, tmp_path), cli_program.logits(packed, IDS, tmp_path))
    assert "sound" in cli_program.call("inspect", folder).stdout


def test_a_quantized_head_within_the_language_model(home, tmp_path):
    """Its codes have other endings than a float, and readers other names for it."""
    packed, folder = home.quantized("llava", "compressed-tensors", "--bits", 4, "--symmetric", "--rule",
                                    "*.mlp.*=bits:8"), tmp_path / "head"
    shutil.copytree(packed, folder)
    tensors = load_file(folder / "model.safetensors")
    head, like = "language_model.lm_head.", "language_model.model.layers.0.mlp.up_proj."  # of the same shape
    del tensors[head + "weight"]
    tensors |= {head + name.removeprefix(like): tensor.clone() for name, tensor in tensors.items() if name.startswith(like)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    def change(config):
        quantization = config["quantization_config"]
        quantization["ignore"] = [target for target in quantization["ignore"] if "lm_head" not in target]
        for group in quantization["config_groups"].values():
            if group["weights"]["num_bits"] == 8:
                group["targets"].append("lm_head")
    change_config(folder, change)
    cli_program.run("convert", folder, "-o", tmp_path / "again", "--format", "compressed-tensors")
    assert cli_program.tensors(tmp_path / "again").keys() == tensors.keys()
    for path in (folder, tmp_path / "again"):
        model, notes = MODELS["llava"][0].from_pretrained(path, output_loading_info=True)
        assert not any(notes.values()), notes
        compare(cli_program.logits(path, IDS, tmp_path), multimodal_models.logits(model.eval()), 2e-3)


def test_convert_says_what_it_makes_float_beside_the_language_model(home, tmp_path):
    packed, folder = home.quantized("llava", "compressed-tensors", "--bits", 4), tmp_path / "tower"
    shutil.copytree(packed, folder)
    tensors = load_file(folder / "model.safetensors")
    module, like = "vision_tower.encoder.layers.0.mlp.fc1.", "language_model.model.layers.0.self_attn.k_proj."
    rows, columns = tensors.pop(module + "weight").shape
    for part in ("weight_packed", "weight_scale"):  # 32 rows of 64 columns as 64 of 32
        tensors[module + part] = tensors[like + part].reshape(rows, -1).clone()
    tensors[module + "weight_zero_point"] = tensors[like + "weight_zero_point"].reshape(rows // 8, -1).clone()
    tensors[module + "weight_shape"] = torch.tensor([rows, columns])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    change_config(folder, lambda config: config["quantization_config"].update(
        ignore=["lm_head", "re:.*vision_tower.*(_proj|fc2)", "re:.*multi_modal_projector.*"]))
    for format in ("compressed-tensors", "gptq"):
        said = cli_program.call("convert", folder, "-o", tmp_path / format, "--format", format)
        assert said.returncode == 0, said.stderr
        assert f"1 linear beside the language model, such as {module}weight, is quantized" in said.stderr
        assert cli_program.tensors(tmp_path / format)[module + "weight"].shape == (rows, columns)


def test_a_tensor_of_the_language_model_that_no_pass_reads(home, tmp_path):
    """Old files have frequencies of rotary embeddings. They exclude no linears."""
    folder = tmp_path / "model"
    shutil.copytree(home.model("gemma3"), folder)
    tensors = load_file(folder / "model.safetensors")
    frequencies = {"language_model.model.rotary_emb.inv_freq": torch.ones(8)}
    save_file(tensors | frequencies, folder / "model.safetensors", {"format": "pt"})
    packed = tmp_path / "packed"
    cli_program.run("quantize", folder, "-o", packed, "--bits", 4, *QUANTIZE, "--calibration", home.calibration)
    expected = config_of(home.quantized("gemma3", "compressed-tensors", "--bits", 4))["quantization_config"]
    assert config_of(packed)["quantization_config"] == expected
    assert cli_program.tensors(packed).keys() >= frequencies.keys()


@pytest.mark.parametrize("prefix", ["", "model."])
def test_modules_beside_may_be_excluded_by_name(prefix, home, tmp_path):
    """As llm-compressor excludes them, by the names that they have in one version of transformers or another."""
    folder = tmp_path / "named"
    packed = home.quantized("gemma3", "compressed-tensors", "--bits", 4)
    shutil.copytree(packed, folder)
    modules = [name.removesuffix(".weight") for name in outside(packed) if name.endswith(".weight")]
    change_config(folder, lambda config: config["quantization_config"].update(
        ignore=["lm_head", *(prefix + name for name in modules)]))
    assert torch.equal(cli_program.logits(folder, IDS, tmp_path), cli_program.logits(packed, IDS, tmp_path))
    assert "sound" in cli_program.call("inspect", folder).stdout


def test_quantization_in_the_language_models_config(home, tmp_path):
    """Where some programs write it. What replaces it stands where transformers looks, and alone."""
    folder, packed = tmp_path / "inner", home.quantized("gemma3", "gptq", "--bits", 4)
    shutil.copytree(packed, folder)
    (folder / "quantize_config.json").unlink()
    change_config(folder, lambda config: config["text_config"].update(
        quantization_config=config.pop("quantization_config")))
    assert torch.equal(cli_program.logits(folder, IDS, tmp_path), cli_program.logits(packed, IDS, tmp_path))
    cli_program.run("convert", folder, "-o", tmp_path / "out", "--format", "compressed-tensors")
    config = config_of(tmp_path / "out")
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    assert "quantization_config" not in config["text_config"]


SPELLINGS = {  # names of tensors in files: before version 4.52 of transformers, and those of its modules since
    "gemma3": lambda name: name.replace("language_model.model.", "model.language_model.") if "language_model" in name
    else f"model.{name}",
    "mistral3": lambda name: name.replace("language_model.lm_head", "lm_head") if "lm_head" in name
    else name.replace("language_model.model.", "model.language_model.") if "language_model" in name
    else f"model.{name}",
    "qwen2_5_vl": lambda name: name if "lm_head" in name else f"model.{name}" if name.startswith("visual")
    else name.replace("model.", "model.language_model.", 1),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_other_names_of_tensors(case, home, tmp_path):
    folder = renamed(home.model(case), tmp_path / "renamed", SPELLINGS[case])
    expected = multimodal_models.logits(multimodal_models.opened(home.model(case), case))
    compare(multimodal_models.logits(multimodal_models.opened(folder, case)), expected, 1e-6)
    compare(cli_program.logits(folder, IDS, tmp_path), expected)
    packed = tmp_path / "packed"
    cli_program.run("quantize", folder, "-o", packed, "--bits", 4, *QUANTIZE, "--calibration", home.calibration)
    model, notes = MODELS[case][0].from_pretrained(packed, output_loading_info=True)
    assert not any(notes.values()), notes
    compare(cli_program.logits(packed, IDS, tmp_path), multimodal_models.logits(model.eval()), 2e-3)


def test_config_with_all_keys_side_by_side(home, tmp_path):
    """As Qwen2.5-VL's was published, with the type of rotary embedding that it had then."""
    folder = tmp_path / "flat"
    shutil.copytree(home.model("qwen2_5_vl"), folder)

    def flatten(config):
        text = config.pop("text_config")
        rotary = text.pop("rope_parameters")
        config.update({key: value for key, value in text.items() if key not in config and key != "layer_types"},
                      rope_theta=rotary["rope_theta"],
                      rope_scaling={"type": "mrope", "mrope_section": rotary["mrope_section"]})
    change_config(folder, flatten)
    expected = multimodal_models.logits(multimodal_models.opened(home.model("qwen2_5_vl"), "qwen2_5_vl"))
    compare(multimodal_models.logits(multimodal_models.opened(folder, "qwen2_5_vl")), expected, 1e-6)
    compare(cli_program.logits(folder, IDS, tmp_path), expected)


def as_gemma3_was_published(config):
    kept = ["hidden_size", "intermediate_size", "model_type", "num_hidden_layers", "num_attention_heads", "head_dim",
            "num_key_value_heads", "vocab_size", "sliding_window", "query_pre_attn_scalar"]
    text = {key: config["text_config"][key] for key in kept}
    config["text_config"] = text | {"rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                                    "sliding_window_pattern": 2}
    del config["tie_word_embeddings"]


def as_mistral3_was_published(config):
    text = config["text_config"]
    for key in ("rope_parameters", "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"):
        text.pop(key, None)
    text.update(rope_theta=1e9, is_composition=True)
    del config["tie_word_embeddings"]


def as_qwen3_vl_was_published(config):
    text = config["text_config"]
    scaling = {"mrope_interleaved": True, "mrope_section": [2, 3, 3], "rope_type": "default"}
    del text["rope_parameters"], config["dtype"]
    text.update(rope_theta=5000000, rope_scaling=scaling, dtype="bfloat16", tie_word_embeddings=False)


def as_smolvlm_was_published(config):
    text = config["text_config"]
    del text["rope_parameters"]
    text.update(architectures=["VLlama3ForCausalLM"], is_llama_config=True, perceiver_config={"resampler_depth": 6},
                pixel_shuffle_factor=4, qk_layer_norms=False, rope_interleaved=False, rope_theta=100000,
                use_resampler=False, torch_dtype="bfloat16", pad_token_id=2)


def as_llava_was_published(config):
    text = config["text_config"]
    del text["rope_parameters"], config["tie_word_embeddings"]
    text.update(_name_or_path="lmsys/vicuna-7b-v1.5", architectures=["LlamaForCausalLM"], torch_dtype="float16")
    config.update(ignore_index=-100, pad_token_id=32001)


@pytest.mark.parametrize("case, edit", [
    ("gemma3", as_gemma3_was_published), ("mistral3", as_mistral3_was_published),
    ("qwen3_vl", as_qwen3_vl_was_published), ("smolvlm", as_smolvlm_was_published), ("llava", as_llava_was_published)],
    ids=["gemma3", "mistral3", "qwen3_vl", "smolvlm", "llava"])
def test_configs_as_they_were_published(case, edit, home, tmp_path):
    folder = tmp_path / "model"
    multimodal_models.make(case).bfloat16().save_pretrained(folder)
    change_config(folder, lambda config: edit(config) or config.update(
        {"torch_dtype": config.pop("dtype")} if "dtype" in config else {}))
    compare(cli_program.logits(folder, IDS, tmp_path), multimodal_models.logits(
        multimodal_models.opened(folder, case)))


@pytest.mark.parametrize("case", ["gemma3", "llava", "llava of qwen2, tied", "mistral3", "qwen2_vl", "qwen2_5_vl",
                                  "qwen3_vl"])
def test_sizes_that_the_config_leaves_out(case, home, tmp_path):
    """Those of the language model's class in transformers, which then do not fit these tensors."""
    folder = tmp_path / "short"
    shutil.copytree(home.model(case), folder)
    sizes = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"]
    change_config(folder, lambda config: [config["text_config"].pop(key, None) for key in [*sizes, "layer_types"]])
    expected = MODELS[case][0].config_class.from_pretrained(folder).text_config
    said = cli_program.call("inspect", folder, "--json", tmp_path / "report.json")
    assert said.returncode == 1
    shapes = f"[{expected.vocab_size}, {expected.hidden_size}]"
    assert shapes in said.stdout + said.stderr, said.stderr


def test_tweak(home, tmp_path):
    """Norms and scales move, of the language model alone; a GGUF file of that is a reference as well."""
    packed = home.quantized("gemma3", "compressed-tensors", "--bits", 4)
    gguf, fine = tmp_path / "fine.gguf", ["--method", "rtn", "--bits", 8]
    said = cli_program.call("quantize", home.model("gemma3"), "-o", gguf, "--format", "gguf", "--gguf-type", "F32",
                            "--calibration", home.calibration, *QUANTIZE, *fine)
    assert said.returncode == 0, said.stderr
    assert "without multi_modal_projector, vision_tower" in said.stderr
    compare(cli_program.logits(gguf, IDS, tmp_path), cli_program.logits(
        home.quantized("gemma3", "hf", *fine), IDS, tmp_path))
    for name, reference in [("folder", home.model("gemma3")), ("gguf", gguf)]:
        out = tmp_path / name
        cli_program.run("tweak", packed, "--reference", reference, "-o", out, "--calibration", home.calibration,
                        "--lr", 0.02, "--epochs", 4, "--batch", 4, "--dtype", "f32", "--unguarded",
                        "--patch", tmp_path / f"{name}.patch")
        before, after = cli_program.tensors(packed), cli_program.tensors(out)
        moved = {key for key in before if not torch.equal(before[key], after[key])}
        assert before.keys() == after.keys() and len(moved) > 10
        assert all(key.startswith("language_model.") and ("norm" in key or "scale" in key) for key in moved)
        assert (out / "config.json").read_bytes() == (packed / "config.json").read_bytes()
        cli_program.run("apply", packed, tmp_path / f"{name}.patch", "-o", tmp_path / f"{name}-applied")
        applied = tmp_path / f"{name}-applied" / "model.safetensors"
        assert applied.read_bytes() == (out / "model.safetensors").read_bytes()


@pytest.mark.parametrize("change, message", [
    (lambda config: config.pop("text_config"), "`text_config` must be the config of the language model, found none"),
    (lambda config: config.update(text_config=[1]), "`text_config` must be the config of the language model, found [1]"),
    (lambda config: config["text_config"].update(model_type="mamba"), "model_type"),
    (lambda config: config["text_config"].update(model_type=[1]), "`model_type` of `text_config` is [1], a name is needed"),
    (lambda config: config.update(architectures=["Llama4ForConditionalGeneration"]),
     "architecture Llama4ForConditionalGeneration is not supported"),
], ids=["no config", "a list", "another family", "no name", "another model"])
def test_refused_configs(change, message, home, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(home.model("gemma3"), folder)
    change_config(folder, change)
    said = cli_program.call("eval", folder, "--text", folder / "config.json")
    assert said.returncode == 1 and message in said.stderr


@pytest.mark.parametrize("case", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_keys_that_the_config_leaves_out(case, home, tmp_path):
    """Some classes of language models have other defaults than the family that they are of."""
    folder = tmp_path / "short"
    shutil.copytree(home.model(case), folder)

    def change(config):
        del config["text_config"]["rms_norm_eps"], config["text_config"]["rope_parameters"]["rope_theta"]
    change_config(folder, change)
    expected = multimodal_models.logits(multimodal_models.opened(folder, case))
    original = multimodal_models.logits(multimodal_models.opened(home.model(case), case))
    assert (expected - original).abs().max() > 1e-3 * original.abs().max()
    compare(cli_program.logits(folder, IDS, tmp_path), expected)


def test_a_head_is_tied_as_transformers_ties_it(home, tmp_path):
    """It asks the whole model's config and not the language model's."""
    folder = tmp_path / "model"
    shutil.copytree(home.model("gemma3"), folder)

    def change(config):
        del config["tie_word_embeddings"]
        config["text_config"]["tie_word_embeddings"] = False
    change_config(folder, change)
    compare(cli_program.logits(folder, IDS, tmp_path), multimodal_models.logits(
        multimodal_models.opened(folder, "gemma3")))


@pytest.mark.parametrize("case", ["llava", "llava of qwen2, tied", "qwen2_vl", "qwen2_5_vl"])
def test_a_head_that_the_language_models_config_ties(case, home, tmp_path):
    """As files from before version 5 of transformers have it, which some classes heed."""
    folder = tmp_path / "model"
    shutil.copytree(home.model(case), folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if "lm_head" not in name}, folder / "model.safetensors",
              {"format": "pt"})

    def change(config):
        config["tie_word_embeddings"] = False
        config["text_config"]["tie_word_embeddings"] = True
    change_config(folder, change)
    compare(cli_program.logits(folder, IDS, tmp_path), multimodal_models.logits(
        multimodal_models.opened(folder, case)))


def test_no_config_of_a_result_ties_a_head_that_differs(home, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(home.model("llava"), folder)
    change_config(folder, lambda config: config["text_config"].update(tie_word_embeddings=True))
    cli_program.run("quantize", folder, "-o", tmp_path / "out", "--bits", 8, *QUANTIZE, "--calibration", home.calibration)
    config = config_of(tmp_path / "out")
    assert config["tie_word_embeddings"] is False and config["text_config"]["tie_word_embeddings"] is False
    compare(cli_program.logits(folder, IDS, tmp_path), multimodal_models.logits(
        multimodal_models.opened(home.model("llava"), "llava")))


def test_a_tied_embedding_stored_as_the_head_alone(home, tmp_path):
    folder = renamed(home.model("gemma3"), tmp_path / "model", lambda name: name.replace(
        "language_model.model.embed_tokens", "language_model.lm_head"))
    assert "language_model.lm_head.weight" in cli_program.tensors(folder)
    compare(cli_program.logits(folder, IDS, tmp_path), multimodal_models.logits(
        multimodal_models.opened(folder, "gemma3")))


@pytest.mark.parametrize("outer, inner", [({"torch_dtype": "bfloat16"}, {"dtype": "float32"}),
                                          ({"dtype": "bfloat16"}, {"torch_dtype": "float16"}),
                                          ({}, {"dtype": "bfloat16"})], ids=["old key", "new key", "inner alone"])
def test_the_whole_models_dtype_counts(outer, inner, home, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(home.model("gemma3"), folder)

    def change(config):
        for part, keys in ((config, outer), (config["text_config"], inner)):
            part.pop("dtype", None), part.pop("torch_dtype", None)
            part.update(keys)
    change_config(folder, change)
    expected = MODELS["gemma3"][0].from_pretrained(folder, dtype="auto").dtype
    assert f", {str(expected).removeprefix('torch.')}" in cli_program.call("inspect", folder).stdout.splitlines()[0]


@pytest.mark.parametrize("named", ["GPT2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("case", MODELS)
def test_ids_are_those_of_auto_tokenizer(case, named, tmp_path, monkeypatch):
    """Which chooses by the whole model's type."""
    rows = 400
    monkeypatch.setitem(multimodal_models.TEXT, "vocab_size", rows)
    folder = tmp_path / "model"
    multimodal_models.make(case).save_pretrained(folder)
    cli_models.save_with_tokenizer(cli_models.llama(vocab_size=rows, hidden_size=16, intermediate_size=16),
                                   tmp_path / "tokenizer")
    document = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, document["pre_tokenizer"]]}  # unlike all classes
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": named}), encoding="utf-8")
    text = tmp_path / "text.txt"
    text.write_text(" The river carries 2024 stones, it's 12345 e\u0301 don't", encoding="utf-8")
    expected = AutoTokenizer.from_pretrained(folder)(text.read_text(encoding="utf-8"))["input_ids"]
    cli_program.run("generate", folder, "--text", text, "--samples", 1, "--tokens", len(expected), "-o",
                    tmp_path / "ids.safetensors")
    assert load_file(tmp_path / "ids.safetensors")["input_ids"].tolist() == [expected]


def test_a_model_without_its_language_model(home, tmp_path):
    folder = renamed(home.model("gemma3"), tmp_path / "model", lambda name: name.replace("embed_tokens", "embedding"))
    said = cli_program.call("eval", folder, "--text", folder / "config.json")
    assert said.returncode == 1 and "language_model.model.embed_tokens.weight" in said.stderr
    assert "the embedding of the language model" in said.stderr
