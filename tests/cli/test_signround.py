"""`quantize --method signround`: against SignRound in plain PyTorch with autograd, and what is refused."""
import pytest
import torch

import cli_models
import cli_program
from quantized_linears import unpack_whole

GROUP, TOKENS = 16, 24
ROWS, TRAIN = 11, 8  # rows of the text, and those that are calibrated on: all of them are in each step
ITERATIONS, RATE = 6, 0.05
COMMON = ["--device", "cpu", "--dtype", "f32"]
PLAN = ["--method", "signround", "--group-size", GROUP, *COMMON]
UNTWEAKED = ["--tweak", "none"]
LEARNED = ["--signround-iterations", ITERATIONS, "--signround-rate", RATE]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signround")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "model")
    cli_program.save_ids(folder / "ids.safetensors", cli_models.ids(ROWS, TOKENS))
    cli_program.save_ids(folder / "more.safetensors", cli_models.ids(128, 32))
    return folder


def quantize(home, output, *options, ids="ids.safetensors"):
    return cli_program.report("quantize", home / "model", "-o", output, "--calibration", home / ids, *PLAN, *options,
                              *([] if "--tweak" in options else UNTWEAKED), to=home)


def straight_through(values):
    return values + (values.round() - values).detach()


class Rounding:
    """Of one weight: V, and the shares of each group's range."""

    def __init__(self, weight, bits, symmetric):
        self.groups, self.top, self.symmetric = weight.detach().reshape(weight.shape[0], -1, GROUP), 2**bits - 1, symmetric
        self.low, self.high = self.groups.amin(-1, True).clamp(max=0), self.groups.amax(-1, True).clamp(min=0)
        if symmetric:
            self.high = torch.maximum(-self.low, self.high)
            self.low = -self.high
        self.offsets = torch.zeros_like(self.groups, requires_grad=True)
        self.shares = [torch.ones_like(self.low, requires_grad=True) for _ in range(2)]

    def grid(self):
        low, high = (self.shares[1], self.shares[1]) if self.symmetric else self.shares
        scale = (self.high * high - self.low * low) / self.top
        scale = scale + (scale.half().float() - scale).detach()  # as stored
        if self.symmetric:
            return scale, torch.full_like(scale, (self.top + 1) // 2)
        return scale, straight_through(-self.low * low / scale).clamp(0, self.top)

    def codes(self):
        scale, zero = self.grid()
        return straight_through(self.groups / scale + zero + self.offsets).clamp(0, self.top)

    def weight(self):
        scale, zero = self.grid()
        return ((self.codes() - zero) * scale).flatten(1)

    def step(self, rate):
        for values, least, most in [(self.offsets, -0.5, 0.5), *((share, 0.5, 1) for share in self.shares)]:
            if values.grad is not None:
                values.data = (values - rate * values.grad.sign()).clamp(least, most)
            values.grad = None

    def state(self):
        return [values.detach().clone() for values in (self.offsets, *self.shares)]

    def set(self, state):
        self.offsets.data, self.shares[0].data, self.shares[1].data = state


def first_block(ids, bits, symmetric):
    """Of the first block: the roundings of its linears by name, and the loss before and after."""
    model = cli_models.llama().model
    roundings = {name: Rounding(module.weight, bits, symmetric) for name, module in model.layers[0].named_modules()
                 if isinstance(module, torch.nn.Linear)}

    def output(weights):
        weights = {f"layers.0.{name}.weight": weight for name, weight in weights.items()}
        return torch.func.functional_call(model, weights, (ids,), {"output_hidden_states": True}).hidden_states[1]

    target = output({}).detach()
    best, losses = {}, []
    for iteration in range(ITERATIONS):
        loss = (output({name: each.weight() for name, each in roundings.items()}) - target).square().sum(-1).mean()
        losses.append(loss.item())
        if losses[-1] == min(losses):
            best = {name: each.state() for name, each in roundings.items()}
        loss.backward()
        for each in roundings.values():
            each.step(RATE * (1 - iteration / ITERATIONS))
    for name, each in roundings.items():
        each.set(best[name])
    return roundings, losses[0], min(losses)


def values(tensors, name, bits, symmetric):
    """[out, groups, GROUP]: of a linear of the result."""
    out, columns = tensors[f"{name}.weight_shape"].tolist()
    codes = torch.tensor(unpack_whole(tensors[f"{name}.weight_packed"].numpy(), bits, columns)).reshape(out, -1, GROUP)
    zeros = 2 ** (bits - 1)
    if not symmetric:
        zeros = torch.tensor(unpack_whole(tensors[f"{name}.weight_zero_point"].numpy().T, bits, out)).T[..., None]
    return (codes - zeros) * tensors[f"{name}.weight_scale"].float()[..., None]


@pytest.mark.parametrize("bits, symmetric", [(2, False), (4, False), (4, True)])
def test_as_in_plain_pytorch(bits, symmetric, home, tmp_path):
    figures = quantize(home, tmp_path / "out", "--bits", bits, *LEARNED, *["--symmetric"] * symmetric)
    roundings, before, after = first_block(cli_models.ids(ROWS, TOKENS)[:TRAIN], bits, symmetric)
    found = figures["rounding"][0]
    assert found["loss_before"] == pytest.approx(before, rel=1e-3)
    # Where a gradient is all but 0, its sign follows the rounding of sums.
    assert found["loss_after"] == pytest.approx(after, rel=0.05) and after < 0.95 * before
    tensors = cli_program.tensors(tmp_path / "out")
    near = count = 0
    for name, each in roundings.items():
        found, (scale, _) = values(tensors, f"model.layers.0.{name}", bits, symmetric), each.grid()
        near += ((found - each.weight().reshape(found.shape)).abs() < 0.6 * scale).sum().item()
        count += found.numel()
    assert near > 0.95 * count, near / count


def test_it_is_better_than_round_to_nearest(home, tmp_path):
    learned, again = (quantize(home, tmp_path / name, "--bits", 3, "--signround-iterations", 100, ids="more.safetensors")
                      for name in ("out", "again"))
    assert all(block["loss_after"] < 0.95 * block["loss_before"] for block in learned["rounding"]), learned["rounding"]
    assert again["kld"] == learned["kld"] and again["rounding"] == learned["rounding"]


def test_it_composes(home, tmp_path):
    """With a transform, another method for some linears, and a tweak that learns nothing new of codes."""
    figures = quantize(home, tmp_path / "out", "--bits", 3, *LEARNED, "--transform", "awq", "--rule",
                       "*.v_proj=method:gptq", "--tweak", "end-to-end", "--steps", 2)
    assert len(figures["rounding"]) == 2
    assert [plan["settings"]["method"] for plan in figures["settings"]["quantize"]["plans"]] == ["signround", "gptq"]


REFUSED = {
    "block types": (["--method", "signround", "--format", "gguf", "--gguf-type", "Q4_0"],
                    "signround does not quantize to block types"),
    "no iterations": ([*PLAN, "--signround-iterations", 0], "use 1 or more"),
    "another method": (["--method", "rtn", "--group-size", GROUP, "--signround-rate", 0.1],
                       "--signround-rate: has no effect"),
    "a search": ([*PLAN, "--search-grid"], "--search-grid: has no effect"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_does_not_go_with_is_refused(case, home, tmp_path):
    options, said = REFUSED[case]
    output = tmp_path / ("out.gguf" if "gguf" in options else "out")
    finished = cli_program.call("quantize", home / "model", "-o", output, "--calibration", home / "ids.safetensors",
                                *UNTWEAKED, *options)
    assert finished.returncode in (1, 2) and said in finished.stderr, finished
    assert not output.exists()
