"""`normtweak tweak`: what it may change, the layer-wise step against PyTorch, and the guard."""
import random
import re
import shutil
import subprocess
import time

import gguf
import pytest
import torch
from compressed_tensors.compressors.pack_quantized import pack_to_int32
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import cli_gguf
import cli_models
import cli_program

ROWS, TOKENS = 24, 32
CONFIRM, SELECT = 3, 1  # the last rows: one in 8, and one in 16 before them
TRAIN = ROWS - CONFIRM - SELECT
CODES = (".weight_packed", ".weight_zero_point", ".weight_shape")
GUARD_KEYS = {"kept", "accepted", "gain", "stderr", "reason", "candidates"}
NORMS = {"llama": ("layernorm.weight",), "gpt2": ("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias")}
FINAL_NORM = {"llama": ("model.norm.weight",), "gpt2": ("transformer.ln_f.weight", "transformer.ln_f.bias")}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Float models, and quantized ones, packed and exported. The norms of the latter have been moved by noise, so that
    a tweak finds much to win and the guard keeps it."""
    folder = tmp_path_factory.mktemp("tweak")
    cli_program.save_ids(folder / "calibration.safetensors", cli_models.ids(ROWS, TOKENS))
    for family, make in (("llama", cli_models.llama), ("gpt2", cli_models.gpt2)):
        cli_models.save(make(), folder / family)
        noise = {name: 0.2 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(i))
                 for i, (name, tensor) in enumerate(make().state_dict().items()) if name.endswith(NORMS[family])}
        for format in ("compressed-tensors", "hf"):
            output = folder / f"{family}-{format}"
            cli_program.run("quantize", folder / family, "-o", output, "--method", "rtn", "--bits", 4, "--group-size",
                            32, "--tweak", "none", "--format", format, "--calibration",
                            folder / "calibration.safetensors")
            cli_program.change_tensors(output, lambda name, tensor: tensor + noise[name] if name in noise else tensor)
    return folder


def tweak(home, family, to, *options, format="compressed-tensors"):
    """The report, and the tensors before and after."""
    before = home / f"{family}-{format}"
    figures = cli_program.report("tweak", before, "--reference", home / family, "-o", to / "tweaked", "--calibration",
                                 home / "calibration.safetensors", "--dtype", "f32", *options, to=to)
    return figures, cli_program.tensors(before), cli_program.tensors(to / "tweaked")


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def check_report(figures, method):
    assert figures["tweak"] == method and figures["steps"] > 0
    assert GUARD_KEYS <= figures["guard"].keys()
    assert figures["perplexity"].keys() == {"protocol", "float", "quantized", "tweaked", "stderr", "text"}
    assert figures["kld"].keys() == {"quantized", "tweaked", "stderr"}
    assert {"generate", "tweak", "evaluate", "total"} <= figures["seconds"].keys()
    assert figures["held_out_samples"] == CONFIRM
    for key in ("bits", "bits_per_weight", "recovered", "peak_memory_bytes", "seed", "version"):
        assert key in figures


def check_kept(figures):
    assert figures["guard"]["accepted"] and figures["guard"]["kept"] != "untouched"
    assert figures["guard"]["gain"] > 2 * figures["guard"]["stderr"]
    assert figures["kld"]["tweaked"] < 0.7 * figures["kld"]["quantized"]


@pytest.mark.parametrize("tune", ["norms", "norms,scales"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_end_to_end(family, tune, home, tmp_path):
    figures, before, after = tweak(home, family, tmp_path, "--tune", tune, "--lr", 0.02, "--epochs", 4)
    check_report(figures, "end-to-end")
    check_kept(figures)
    moved = changed(before, after)
    assert not any(name.endswith(CODES) for name in moved)
    norms = {name for name in before if name.endswith(NORMS[family] + FINAL_NORM[family])}
    scales = {name for name in before if name.endswith(".weight_scale")}
    if "without norms" not in figures["guard"]["kept"]:
        assert norms <= moved
    assert moved <= (norms if tune == "norms" else norms | scales)
    assert (scales & moved == set()) == (tune == "norms" or "without scales" in figures["guard"]["kept"])
    assert figures["guard"]["candidates"][0]["name"] == "untouched"


@pytest.fixture(scope="module")
def float_zeros(home):
    """A checkpoint with noise on its zero-points, so that tuning them alone wins enough for the guard."""
    cli_program.run("quantize", home / "llama", "-o", home / "float-zeros", "--method", "rtn", "--bits", 2,
                    "--group-size", 32, "--float-zeros", "--tweak", "none", "--calibration",
                    home / "calibration.safetensors")
    generator = torch.Generator().manual_seed(5)
    cli_program.change_tensors(home / "float-zeros", lambda name, tensor: (
        tensor + 0.6 * torch.randn(tensor.shape, generator=generator)).to(tensor.dtype)
        if name.endswith(".weight_zero_point") else tensor)
    return home / "float-zeros"


def test_float_zeros(home, float_zeros, tmp_path):
    """Tuned by default, and stored as they were before, in F16; the codes stay."""
    options = ["--reference", home / "llama", "--calibration", home / "calibration.safetensors", "--dtype", "f32",
               "--epochs", 4]
    before = cli_program.tensors(float_zeros)
    zeros = {name for name in before if name.endswith(".weight_zero_point")}
    for tune in ([], ["--tune", "zeros"]):
        figures = cli_program.report("tweak", float_zeros, "-o", tmp_path / "tweaked", *options, "--lr", 0.03,
                                     *tune, to=tmp_path)
        assert figures["guard"]["accepted"]
        after = cli_program.tensors(tmp_path / "tweaked")
        moved = changed(before, after)
        assert moved & zeros and {after[name].dtype for name in zeros} == {torch.float16}
        assert not any(name.endswith((".weight_packed", ".weight_shape")) for name in moved)
        assert not tune or moved <= zeros


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_export_has_norms_only(family, home, tmp_path):
    """An export holds no codes; its linears stay to the last bit."""
    figures, before, after = tweak(home, family, tmp_path, "--lr", 0.02, "--epochs", 4, format="hf")
    check_kept(figures)
    assert changed(before, after) == {name for name in before if name.endswith(NORMS[family] + FINAL_NORM[family])}


def divergence(model, reference, ids):
    ours, theirs = (cli_models.logits(m, ids).double().log_softmax(-1) for m in (model, reference))
    return (theirs.exp() * (theirs - ours)).sum(-1).mean().item()


def pack_head(folder, bits, symmetric):
    """Packs the head, too, as llm-compressor does with `ignore: []`. Returns its weight as it now is."""
    tensors = cli_program.tensors(folder)
    grouped = tensors.pop("lm_head.weight").float().unflatten(1, (-1, 32))
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if symmetric:
        scale = grouped.abs().amax(-1, keepdim=True) / high
        zero = torch.zeros_like(scale)
    else:
        scale = (grouped.amax(-1, keepdim=True) - grouped.amin(-1, keepdim=True)) / (high - low)
        zero = (low - grouped.amin(-1, keepdim=True) / scale).round().clamp(low, high)
    scale = scale.half().float()
    codes = (grouped / scale + zero).round().clamp(low, high)
    tensors["lm_head.weight_packed"] = pack_to_int32(codes.flatten(1).to(torch.int8), bits)
    tensors["lm_head.weight_scale"] = scale[..., 0].half()
    tensors["lm_head.weight_shape"] = torch.tensor(codes.flatten(1).shape)
    if not symmetric:
        zero_points = pack_to_int32(zero[..., 0].to(torch.int8), bits, packed_dim=0)
        tensors["lm_head.weight_zero_point"] = zero_points.contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    def edit(config):
        quantization = config["quantization_config"]
        quantization["ignore"] = []
        weights = quantization["config_groups"]["group_0"]["weights"]
        if (weights["num_bits"], weights["symmetric"]) != (bits, symmetric):
            quantization["config_groups"]["group_1"] = {"targets": ["lm_head"], "weights": weights | {
                "num_bits": bits, "symmetric": symmetric}}
    cli_models.edit_config(folder, edit)
    return ((codes - zero) * scale).flatten(1)


@pytest.mark.parametrize("bits, symmetric", [(4, False), (8, True)], ids=["as the others", "in its own way"])
def test_a_packed_head_stays(bits, symmetric, home, tmp_path):
    before, tweaked, ids = tmp_path / "before", tmp_path / "tweaked", cli_models.ids(2, TOKENS)
    shutil.copytree(home / "llama-compressed-tensors", before)
    exact = AutoModelForCausalLM.from_pretrained(home / "llama-hf")
    exact.lm_head.weight.data = pack_head(before, bits, symmetric)
    check_reads_as(exact, before, bits, ids, tmp_path)
    reference = AutoModelForCausalLM.from_pretrained(home / "llama")
    selected = divergence(exact, reference, cli_models.ids(ROWS, TOKENS)[TRAIN:TRAIN + SELECT])
    figures = cli_program.report("tweak", before, "--reference", home / "llama", "-o", tweaked, "--calibration",
                                 home / "calibration.safetensors", "--dtype", "f32", "--lr", 0.02, "--epochs", 4,
                                 "--tune", "norms", to=tmp_path)
    check_kept(figures)
    # What chooses among candidates sees the float model with its own head, as what judges them does.
    assert figures["guard"]["candidates"][0] == {"name": "untouched", "kld": pytest.approx(selected, rel=1e-3)}
    stored = cli_program.tensors(tweaked)
    moved = changed(cli_program.tensors(before), stored)
    assert moved == {name for name in stored if name.endswith(NORMS["llama"] + FINAL_NORM["llama"])}
    exact.load_state_dict({name: stored[name] for name in moved}, strict=False)
    check_reads_as(exact, tweaked, bits, ids, tmp_path)
    held_out = cli_models.ids(ROWS, TOKENS)[-CONFIRM:]
    assert figures["kld"]["tweaked"] == pytest.approx(divergence(exact, reference, held_out), rel=1e-3)


def test_a_changed_head_is_the_quantized_models_own(home, tmp_path):
    """The float model's predictions come from its own head, in the choice of a candidate and in the judgement."""
    before = tmp_path / "before"
    shutil.copytree(home / "llama-compressed-tensors", before)
    exact = AutoModelForCausalLM.from_pretrained(home / "llama-hf")
    noise = 0.1 * torch.randn(exact.lm_head.weight.shape, generator=torch.Generator().manual_seed(5))
    cli_program.change_tensors(before, lambda name, tensor: tensor + noise if name == "lm_head.weight" else tensor)
    exact.lm_head.weight.data += noise
    figures = cli_program.report("tweak", before, "--reference", home / "llama", "-o", tmp_path / "tweaked",
                                 "--calibration", home / "calibration.safetensors", "--dtype", "f32", "--lr", 0.02,
                                 "--epochs", 1, to=tmp_path)
    reference = AutoModelForCausalLM.from_pretrained(home / "llama")
    ids = cli_models.ids(ROWS, TOKENS)
    for found, rows in ((figures["guard"]["candidates"][0]["kld"], ids[TRAIN:TRAIN + SELECT]),
                        (figures["kld"]["quantized"], ids[-CONFIRM:])):
        assert found == pytest.approx(divergence(exact, reference, rows), rel=1e-3)


def check_reads_as(exact, packed, head_bits, ids, to):
    """`logits`, `eval` and `inspect` see the model that transformers has dequantized."""
    # Sums of 64 products in F32 and in another order.
    assert torch.allclose(cli_program.logits(packed, ids, to), cli_models.logits(exact, ids), atol=1e-4)
    for folder in (cli_models.save(exact, to / "exact"), packed):
        cli_models.save_tokenizer(folder)
    (to / "text.txt").write_text(cli_models.text(100), encoding="utf-8")
    found = cli_program.report("eval", packed, "--reference", to / "exact", "--text", to / "text.txt", "--context", 32,
                               to=to)
    assert found["kld"]["mean"] == pytest.approx(0, abs=1e-9)
    found = cli_program.report("inspect", packed, to=to)
    assert found["bits_per_weight"] == pytest.approx(4 + (16 + 4) / 32)  # of the blocks
    heads = [row for row in found["linears"] if row["kind"].endswith("head")]
    assert len(heads) == heads[0]["count"] == 1 and heads[0]["kind"].startswith(f"{head_bits} bits, groups of 32")


def test_figures_are_of_the_held_out_rows(home, tmp_path):
    """And of what was saved: transformers opens it and finds the same divergence."""
    figures, *_ = tweak(home, "llama", tmp_path, "--lr", 0.02, "--epochs", 4, format="hf")
    held_out = cli_models.ids(ROWS, TOKENS)[-CONFIRM:]
    saved, untouched, reference = (AutoModelForCausalLM.from_pretrained(folder) for folder in
                                   (tmp_path / "tweaked", home / "llama-hf", home / "llama"))
    assert figures["kld"]["tweaked"] == pytest.approx(divergence(saved, reference, held_out), rel=1e-3)
    assert figures["kld"]["quantized"] == pytest.approx(divergence(untouched, reference, held_out), rel=1e-3)


def blocks_of(model):
    """The blocks of a transformers model, and how one runs on a hidden stream."""
    if hasattr(model, "transformer"):
        return model.transformer.h, lambda block, hidden: only(block(hidden))
    rotary = model.model.rotary_emb

    def run(block, hidden):
        places = torch.arange(hidden.shape[1])[None]
        return only(block(hidden, position_embeddings=rotary(hidden, places), position_ids=places))
    return model.model.layers, run


def only(output):
    return output[0] if isinstance(output, tuple) else output


def embed(model, ids):
    if hasattr(model, "transformer"):
        return model.transformer.wte(ids) + model.transformer.wpe(torch.arange(ids.shape[1]))
    return model.model.embed_tokens(ids)


def dist(output, target):
    """Equation 2 of arXiv 2309.02784, over the tokens of one sample."""
    mean = (target.mean(0) - output.mean(0)).abs()
    variance = (target.var(0, unbiased=False) - output.var(0, unbiased=False)).abs()
    return (mean + variance).mean()


def algorithm_1(exact, quantized, ids, rate, growth, passes, family, float_stream):
    """Norm Tweaking as the paper has it, with Adam afresh for each block. With float_stream, toward the float model's own
    stream, and the last norm as well."""
    exact_blocks, run = blocks_of(exact)
    quantized_blocks, run_quantized = blocks_of(quantized)
    stream, exact_stream = embed(quantized, ids).detach(), embed(exact, ids).detach()

    def train(norms, forward, target, depth):
        adam = torch.optim.Adam(norms, lr=rate * (1 + growth * depth))
        for _ in range(passes):
            for row in range(len(ids)):
                adam.zero_grad()
                dist(forward(stream[row:row + 1])[0], target[row]).backward()
                adam.step()

    for i, (exact_block, block) in enumerate(zip(exact_blocks, quantized_blocks)):
        with torch.no_grad():
            exact_stream = run(exact_block, exact_stream if float_stream else stream)
        norms = [parameter for name, parameter in block.named_parameters() if name.endswith(NORMS[family])]
        train(norms, lambda rows, block=block: run_quantized(block, rows), exact_stream, i / len(quantized_blocks))
        with torch.no_grad():
            stream = run_quantized(block, stream)
    if float_stream:
        last = FINAL_NORM[family][0].removesuffix(".weight")
        norm = quantized.get_submodule(last)
        train(list(norm.parameters()), norm, exact.get_submodule(last)(exact_stream).detach(), 1)
    return quantized.state_dict()


@pytest.mark.parametrize("family, growth, passes, float_stream",
                         [("llama", 1, 1, False), ("llama", 4, 2, False), ("gpt2", 1, 1, False), ("llama", 1, 1, True),
                          ("gpt2", 2, 1, True)])
def test_layerwise_is_the_papers_algorithm(family, growth, passes, float_stream, home, tmp_path):
    rate = 0.01
    options = ["--target", "float-stream", "--final-norm"] if float_stream else []
    figures, before, after = tweak(home, family, tmp_path, "--method", "layerwise", "--lr", rate, "--lr-scale", growth,
                                   "--epochs", passes, *options)
    check_report(figures, "layerwise")
    parts = 3 if float_stream else 2
    assert figures["steps"] == parts * passes * TRAIN
    assert len(figures["blocks"]) == parts
    check_kept(figures)
    for block in figures["blocks"]:
        assert block["loss_after"] < block["loss_before"]
    exact = AutoModelForCausalLM.from_pretrained(home / family)
    quantized = AutoModelForCausalLM.from_pretrained(home / f"{family}-hf")
    ids = cli_models.ids(ROWS, TOKENS)[:TRAIN]
    expected = algorithm_1(exact, quantized, ids, rate, growth, passes, family, float_stream)
    norms = {name for name in before if name.endswith(NORMS[family] + (FINAL_NORM[family] if float_stream else ()))}
    assert changed(before, after) == norms  # the last norm only where asked for; no scale, no code
    for name in norms:
        # Two Adams in F32 differ by a few ulp of 1 after so many steps; they moved by more than 1e-2.
        assert (after[name] - expected[name]).abs().max() < 1e-5, name
        assert (after[name] - before[name]).abs().mean() > rate


def test_layerwise_final_norm(home, tmp_path):
    figures, before, after = tweak(home, "gpt2", tmp_path, "--method", "layerwise", "--lr", 0.01, "--final-norm",
                                   "--target", "float-stream", "--loss", "mse")
    check_kept(figures)
    assert changed(before, after) == {name for name in before if name.endswith(NORMS["gpt2"] + FINAL_NORM["gpt2"])}


@pytest.mark.parametrize("method", ["end-to-end", "layerwise"])
@pytest.mark.parametrize("format", ["compressed-tensors", "hf"])
def test_absurd_rates_change_nothing(method, format, home, tmp_path):
    figures, *_ = tweak(home, "llama", tmp_path, "--method", method, "--lr", 1e4, format=format)
    assert figures["guard"]["kept"] == "untouched" and not figures["guard"]["accepted"]
    assert figures["guard"]["reason"]
    assert figures["kld"]["tweaked"] == figures["kld"]["quantized"] and figures["recovered"] == 0
    assert changed(cli_program.tensors(home / f"llama-{format}"), cli_program.tensors(tmp_path / "tweaked")) == set()


def test_replaces_an_older_result(home, tmp_path):
    """The folder is exchanged at the end; what the older one had more goes. A link to it stays one."""
    shutil.copytree(home / "llama-compressed-tensors", tmp_path / "older")
    (tmp_path / "older" / "vocab.json").touch()
    (tmp_path / "link").symlink_to("older")
    cli_program.run("tweak", home / "llama-hf", "--reference", home / "llama", "-o", tmp_path / "link",
                    "--calibration", home / "calibration.safetensors", "--lr", 0.02, "--dtype", "f32")
    assert cli_program.file_bytes(tmp_path / "older").keys() == cli_program.file_bytes(home / "llama-hf").keys()
    assert cli_program.tensors(tmp_path / "older").keys() == cli_program.tensors(home / "llama-hf").keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "older"]
    assert (tmp_path / "link").readlink().name == "older"


def test_killed_at_any_moment(home, tmp_path):
    """The old result stays, or the new one is there; the next run gives what one that was never killed gives."""
    def command(epochs):
        return list(map(str, [cli_program.PROGRAM, "tweak", home / "llama-compressed-tensors", "--reference",
                              home / "llama", "-o", tmp_path / "out", "--calibration",
                              home / "calibration.safetensors", "--dtype", "f32", "--lr", 0.02, "--epochs", epochs,
                              "--quiet"]))

    results = {}
    for epochs in (4, 1):
        begin = time.monotonic()
        subprocess.run(command(epochs), env=cli_program.ENVIRONMENT, check=True)
        results[epochs], seconds = cli_program.file_bytes(tmp_path / "out"), time.monotonic() - begin
    assert results[1] != results[4]
    draw = random.Random(0)
    for _ in range(12):
        process = subprocess.Popen(command(4), env=cli_program.ENVIRONMENT)
        time.sleep(seconds * draw.uniform(0.1, 1.5))  # more steps take longer
        process.kill()
        process.wait()
        assert cli_program.file_bytes(tmp_path / "out") in results.values()
    subprocess.run(command(4), env=cli_program.ENVIRONMENT, check=True)
    assert cli_program.file_bytes(tmp_path / "out") == results[4]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("options", [["--budget", "3s", "--lr", 0.05], ["--budget", "3s"],
                                     ["--epochs", 50, "--lr", 0.4]], ids=["time", "time and trials", "early stop"])
def test_the_report_repeats_a_run(options, home, tmp_path):
    """Also one that stopped early: the rates fall over the steps that were planned."""
    (tmp_path / "again").mkdir()
    first, _, tweaked = tweak(home, "llama", tmp_path, "--method", "end-to-end", *options)
    planned, taken, rates = first["training"]["planned_steps"], first["steps"], first["training"]["rates"]
    second, before, again = tweak(home, "llama", tmp_path / "again", "--steps", planned, "--stop-after", taken, "--batch",
                                  first["training"]["batch_rows"], "--lr", repr(rates["norms"]), "--lr-scales",
                                  repr(rates["scales"]))
    assert ("stopped_early" in first["guard"]) == (taken < planned) >= ("--epochs" in options)
    assert not changed(tweaked, again) and (changed(before, tweaked) or taken < planned)
    assert first["training"]["stopped"] == ("completed" if taken == planned else "no-gain")
    for report in (first, second):
        report.pop("seconds")
        report["guard"].pop("stopped_early", None)
    assert first["steps"] == second["steps"] and first["guard"] == second["guard"]


@pytest.mark.parametrize("options", [[], ["--lr-scales", 0.01, "--lr-zeros", 0.05]], ids=["one rate", "three rates"])
def test_the_summary_repeats_a_run(options, home, float_zeros, tmp_path):
    common = ["tweak", float_zeros, "--reference", home / "llama", "--calibration", home / "calibration.safetensors",
              "--dtype", "f32"]
    shown = cli_program.call(*common, "-o", tmp_path / "first", "--epochs", 3, "--lr", 0.02, *options)
    again = re.search("again with (.*)", shown.stdout + shown.stderr).group(1)
    cli_program.run(*common, "-o", tmp_path / "second", *again.split())
    first, second = cli_program.tensors(tmp_path / "first"), cli_program.tensors(tmp_path / "second")
    assert changed(cli_program.tensors(float_zeros), first) and not changed(first, second)


def with_config(source, folder, **changes):
    """A copy with other values in its config; None takes a key out."""
    shutil.copytree(source, folder)

    def edit(config):
        config.update(changes)
        for key in [key for key, value in config.items() if value is None and key in changes]:
            config.pop(key)
    cli_models.edit_config(folder, edit)
    return folder


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32, "rope_theta": 10000.0}
OTHER_MODELS = {
    "key-value heads": ({"num_key_value_heads": 4}, "key-value heads: 2 here, 4 there"),
    "head size": ({"head_dim": 32}, "head size: 16 here, 32 there"),
    "MLP size": ({"intermediate_size": 128}, "MLP size: 96 here, 128 there"),
    "activation": ({"hidden_act": "gelu"}, "activation: silu here, gelu there"),
    "epsilon": ({"rms_norm_eps": 1e-5}, "norm epsilon: 1e-06 here, 1e-05 there"),
    "base": ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, "rotary base: 10000 here, 500000 there"),
    "scaling": ({"rope_parameters": LLAMA3}, "rotary scaling: none here, llama3 there"),
    "biases": ({"attention_bias": True}, "biases of query, key and value: no here, yes there"),
}


@pytest.mark.parametrize("case", OTHER_MODELS)
def test_another_model_is_no_reference(case, home, tmp_path):
    changes, difference = OTHER_MODELS[case]
    reference = with_config(home / "llama", tmp_path / "other", **changes)
    finished = cli_program.call("tweak", home / "llama-hf", "--reference", reference, "-o", tmp_path / "tweaked",
                                "--calibration", home / "calibration.safetensors", "--quiet")
    assert (finished.returncode, len(finished.stderr.splitlines())) == (1, 1)
    assert f"{home / 'llama-hf'}: is no quantization of {reference}: {difference}" in finished.stderr


def test_another_family_or_a_tied_head_is_no_reference(home, tmp_path):
    tied = cli_models.save(cli_models.llama(tie_word_embeddings=True), tmp_path / "tied")
    for reference, difference in ((home / "gpt2", "family: llama here, gpt2 there"),
                                  (tied, "head tied to the embedding: no here, yes there")):
        finished = cli_program.call("tweak", home / "llama-hf", "--reference", reference, "-o", tmp_path / "tweaked",
                                    "--calibration", home / "calibration.safetensors", "--quiet")
        assert finished.returncode == 1 and difference in finished.stderr


def tweak_briefly(quantized, reference, home, to):
    cli_program.run("tweak", quantized, "--reference", reference, "-o", to, "--steps", 1, "--lr", 1e-3, "--calibration",
                    home / "calibration.safetensors")


def test_a_reference_may_spell_its_config_in_another_way(home, tmp_path):
    other = with_config(home / "llama", tmp_path / "other", rope_parameters=None, rope_theta=10000, head_dim=None,
                        rope_scaling={"type": "linear", "factor": 1}, max_position_embeddings=64, torch_dtype="float32",
                        dtype=None)
    tweak_briefly(home / "llama-hf", other, home, tmp_path / "tweaked")


def test_a_tied_head_may_be_stored_as_a_copy(home, tmp_path):
    cli_models.save(cli_models.llama(tie_word_embeddings=True), tmp_path / "tied")
    copy = with_config(tmp_path / "tied", tmp_path / "copy", tie_word_embeddings=False)
    tensors = cli_program.tensors(copy)
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, copy / "model.safetensors")
    tweak_briefly(copy, tmp_path / "tied", home, tmp_path / "tweaked")


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True, "rms_norm_eps": 1e-5},
                                     {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 3e4}}])
def test_the_reference_may_be_a_gguf_file(changes, home, tmp_path):
    """The numbers of its metadata are of F32."""
    exact = cli_models.llama(**changes)
    cli_gguf.write(tmp_path / "exact.gguf", exact, "llama", gguf.GGMLQuantizationType.F16)
    cli_models.save(exact, tmp_path / "exact")
    cli_program.run("quantize", tmp_path / "exact.gguf", "-o", tmp_path / "quantized", "--method", "rtn", "--group-size",
                    32, "--tweak", "none", "--calibration", home / "calibration.safetensors")
    for reference in ("exact.gguf", "exact"):
        tweak_briefly(tmp_path / "quantized", tmp_path / reference, home, tmp_path / "tweaked")


@pytest.mark.parametrize("method", ["end-to-end", "layerwise"])
def test_within_quantize(method, home, tmp_path):
    """The codes of an end-to-end tweak are those without one."""
    for name, how in (("tweaked", method), ("plain", "none")):
        figures = cli_program.report(
            "quantize", home / "llama", "-o", tmp_path / name, "--bits", 2, "--group-size", 32, "--tweak", how, "--lr",
            0.01, "--calibration", home / "calibration.safetensors", "--dtype", "f32", to=tmp_path)
        if name == "tweaked":
            check_report(figures, method)
            assert {"quantize", "tweak"} <= figures["seconds"].keys()
            lost = figures["perplexity"]["quantized"] - figures["perplexity"]["float"]
            won = figures["perplexity"]["quantized"] - figures["perplexity"]["tweaked"]
            assert figures["recovered"] == pytest.approx(won / lost if lost > 0 else 0)
    moved = changed(cli_program.tensors(tmp_path / "plain"), cli_program.tensors(tmp_path / "tweaked"))
    if method == "end-to-end":
        assert moved and not any(name.endswith(CODES) for name in moved)
