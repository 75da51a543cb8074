"""A number out of bounds is a usage error of one line: the option, the value and the bound. No model is opened."""
import re

import pytest

import cli_program

COMMANDS = {
    "quantize": "quantize model -o out",
    "tweak": "tweak model --reference float -o out",
    "generate": "generate model -o out",
    "eval": "eval model --text text.txt",
    "logits": "logits model --tokens ids.safetensors -o out",
    "inspect": "inspect model",
    "search": "search model -o out --grid lr=1e-5",
}
NO_COUNTS, NO_NUMBERS = ["1.5", "nan", "0x8"], ["nan", "inf", "fast"]

# options, a command that has them, values, what the line says about each value
CASES = [
    (["--group-size"], "quantize", ["-1"], "is too small; at least 0"),
    (["--damping"], "quantize", ["-0.1"], "is too small; at least 0"),
    (["--damping", "--drift-correction"], "quantize", ["1.1"], "is too large; at most 1"),
    (["--lr-scales", "--lr-zeros"], "tweak", ["0", "-1e-3"], "is too small; more than 0"),
    (["--lr"], "tweak", ["-1e-3"], "is too small; at least 0"),
    (["--keep", "--adaptive"], "search", ["0", "-1"], "is too small; at least 1"),
    (["--lr-scale"], "tweak", ["-1.5"], "is too small; at least -1"),
    (["--epochs", "--steps", "--stop-after", "--batch"], "tweak", ["0", "-1"], "is too small; at least 1"),
    (["--context"], "tweak", ["1", "0", "-1"], "is too small; at least 2"),
    (["--max-tokens", "--max-examples"], "tweak", ["-1"], "is too small; at least 0"),
    (["--samples", "--tokens"], "generate", ["0", "-1"], "is too small; at least 1"),
    (["--top-k", "--generate-batch"], "generate", ["-1"], "is too small; at least 0"),
    (["--temperature"], "generate", ["0", "-1"], "is too small; more than 0"),
    (["--top-p"], "generate", ["0", "-0.5"], "is too small; more than 0"),
    (["--top-p"], "generate", ["1.01"], "is too large; at most 1"),
    (["--context"], "eval", ["1", "0", "-1"], "is too small; at least 2"),
    (["--max-tokens", "--max-examples", "--batch-rows"], "eval", ["-1"], "is too small; at least 0"),
    (["--threads", "--seed"], "logits", ["-1"], "is too small; at least 0"),
    (["--threads"], "inspect", ["4097", "100000000000"], "is too large; at most 4096"),
    (["--seed"], "inspect", ["18446744073709551616"], "is too large; at most 18446744073709551615"),
    (["--samples", "--steps", "--group-size", "--max-tokens"], "quantize", ["2147483648", "99999999999999999999"],
     "is too large; at most 2147483647"),
    (["--group-size", "--epochs", "--steps", "--batch", "--context", "--max-tokens", "--max-examples", "--samples",
      "--tokens", "--top-k", "--generate-batch", "--threads", "--seed"], "quantize", NO_COUNTS, "a whole number"),
    (["--batch-rows"], "eval", NO_COUNTS, "a whole number"),
    (["--damping", "--lr", "--lr-scales", "--lr-zeros", "--lr-scale", "--temperature", "--top-p"], "quantize",
     NO_NUMBERS, "a number is expected"),
    (["--budget"], "tweak", ["0s", "-5m", "1e300h", "0.5-tokens", "1e30-tokens", "nans", "5"], "500k-tokens"),
]
ROWS = [(command, option, values, words) for options, command, values, words in CASES for option in options]


@pytest.mark.parametrize("command, option, values, words", ROWS,
                         ids=[f"{command} {option} {values[0]}" for command, option, values, _ in ROWS])
def test_out_of_bounds(command, option, values, words):
    for value in values:
        finished = cli_program.call(*COMMANDS[command].split(), option, value)
        assert (finished.returncode, finished.stdout) == (2, ""), finished
        assert finished.stderr.startswith(f"normtweak: {option}: {value}") and finished.stderr.count("\n") == 1
        assert words in finished.stderr and f"normtweak {command} --help" in finished.stderr


@pytest.mark.parametrize("option, values", [
    ("--seed", ["0", "18446744073709551615"]), ("--top-p", ["1", "1e-3", ".5"]), ("--temperature", ["0.01", "20"]),
    ("--damping", ["0", "1"]), ("--lr-scale", ["-1", "0", "2.5"]), ("--max-tokens", ["0", "2147483647"]),
    ("--top-k", ["0", "+5"]), ("--batch", ["1"]), ("--budget", ["1-tokens", "0.5k-tokens", "1.5h"])])
def test_at_the_bounds(option, values):
    """Accepted; what is then missing is the model."""
    for value in values:
        finished = cli_program.call(*COMMANDS["quantize"].split(), "--tweak", "none", option, value)
        assert finished.returncode == 1 and "no such file" in finished.stderr, finished


@pytest.mark.parametrize("command", COMMANDS)
def test_every_number_has_bounds(command):
    """Help shows them behind the type, as in INT:POSITIVE."""
    shown = re.findall(r"(--[a-z-]+) (?:U?INT|FLOAT)(.?)", cli_program.call(command, "--help").stdout)
    assert shown and [option for option, more in shown if more != ":"] == []
