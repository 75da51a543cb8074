"""Models are looked for where huggingface_hub looks, and what is wrong with its cache is said."""
import json
import os
import shutil
import subprocess
import sys

import pytest
from huggingface_hub.utils import HFValidationError, validate_repo_id

import cli_models
import cli_program

VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME")
ENVIRONMENTS = [
    {},  # the home folder is in the password database
    {"HOME": "/h"},
    {"HOME": "/h/"},
    {"HOME": ""},
    {"HOME": "relative"},
    {"HOME": "/h", "XDG_CACHE_HOME": "/x"},
    {"HOME": "/h", "XDG_CACHE_HOME": "~/x/"},
    {"HOME": "/h", "XDG_CACHE_HOME": "$HOME/x"},
    {"HOME": "/h", "XDG_CACHE_HOME": ""},
    {"HOME": "/h", "XDG_CACHE_HOME": "/x", "HF_HOME": "/y"},
    {"HOME": "/h", "HF_HOME": "~"},
    {"HOME": "/h", "HF_HOME": "~/models/"},
    {"HOME": "/h", "HF_HOME": "~root/models"},
    {"HOME": "/h", "HF_HOME": "~no-such-user/models"},
    {"HOME": "/h", "HF_HOME": "a/~/b"},
    {"HOME": "/h", "HF_HOME": "${A}/b$B_1-c"},
    {"HOME": "/h", "HF_HOME": "$UNSET/b${UNSET}c"},
    {"HOME": "/h", "HF_HOME": "$/b$$A/${}/${A"},
    {"HOME": "/h", "HF_HOME": "$TWICE/c"},
    {"HOME": "/h", "HF_HOME": ""},
    {"HF_HOME": "~/models"},
    {"HOME": "/h", "HF_HOME": "/y", "HUGGINGFACE_HUB_CACHE": "/z"},
    {"HOME": "/h", "HUGGINGFACE_HUB_CACHE": "~/z/${A}"},
    {"HOME": "/h", "HUGGINGFACE_HUB_CACHE": ""},
    {"HOME": "/h", "HF_HUB_CACHE": "/1", "HUGGINGFACE_HUB_CACHE": "/z", "HF_HOME": "/y", "XDG_CACHE_HOME": "/x"},
    {"HOME": "/h", "HF_HUB_CACHE": "~/1/$A"},
    {"HOME": "/h", "HF_HUB_CACHE": "$A~/1/"},
    {"HOME": "/h", "HF_HUB_CACHE": ""},
]
MORE = {"A": "/a", "B_1": "b", "TWICE": "$A"}
ASK = """
import importlib, json, os, sys
from huggingface_hub import constants
for environment in json.load(sys.stdin):
    for name in %r:
        os.environ.pop(name, None)
    os.environ.update(environment)
    print(json.dumps(importlib.reload(constants).HF_HUB_CACHE))
""" % (VARIABLES,)


def without_variables():
    return {name: value for name, value in cli_program.ENVIRONMENT.items() if name not in VARIABLES}


def inspect(model, environment, folder):
    finished = subprocess.run([cli_program.PROGRAM, "inspect", "--quick", model], capture_output=True, text=True,
                              cwd=folder, env=without_variables() | environment, timeout=60)
    lines = finished.stderr.splitlines()
    assert finished.returncode in (0, 1) and len(lines) == finished.returncode, finished.stderr
    return "".join(lines)


def test_variables_are_read_as_huggingface_hub_does(tmp_path):
    environments = [environment | MORE for environment in ENVIRONMENTS]
    asked = subprocess.run([sys.executable, "-c", ASK], input=json.dumps(environments), capture_output=True, text=True,
                           check=True, env=without_variables())
    expected = [json.loads(line) for line in asked.stdout.splitlines()]
    assert len(expected) == len(environments)
    for environment, cache in zip(environments, expected):
        said = inspect("some/model", environment, tmp_path)
        assert f"no hub model of that name in {cache}; for a hub model run `hf download some/model`" in said, environment


REVISION = "0123456789abcdef0123456789abcdef01234567"
OTHER = "89abcdef0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    cli_models.save_with_tokenizer(cli_models.llama(), folder)
    return folder


@pytest.fixture
def hub(tmp_path, made):
    """A cache as `hf download` leaves it: snapshots hold links to blobs."""
    cached = tmp_path / "hub" / "models--some--model"
    snapshot = cached / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (cached / "blobs").mkdir()
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(REVISION)
    for file in made.iterdir():
        shutil.copy(file, cached / "blobs" / f"blob-{file.name}")
        (snapshot / file.name).symlink_to(f"../../blobs/blob-{file.name}")
    (tmp_path / "config.json").write_text("{}")  # what a reference must not reach
    return tmp_path


def of(hub, model="some/model"):
    return inspect(model, {"HF_HUB_CACHE": str(hub / "hub")}, hub)


def test_a_downloaded_model_is_found(hub):
    assert of(hub) == ""
    assert inspect("some/model", {"HOME": str(hub), "HF_HUB_CACHE": "~/$NAME", "NAME": "hub"}, hub) == ""


def test_without_a_reference_the_snapshots_are_named(hub):
    cached = hub / "hub" / "models--some--model"
    (cached / "refs" / "main").unlink()
    said = of(hub)
    assert "some/model: refs/main is missing" in said and REVISION in said and "`hf download some/model`" in said
    assert inspect(str(cached / "snapshots" / REVISION), {}, hub) == ""  # as the message says
    (cached / "snapshots" / OTHER).mkdir()
    (cached / "refs" / "main").write_text("f" * 40)
    said = of(hub)
    assert "refs/main of its hub cache names " + "f" * 40 in said and REVISION in said and OTHER in said
    shutil.rmtree(cached / "snapshots")
    assert f"{cached} has no snapshot: run `hf download some/model`" in of(hub)


REFERENCES = [
    b"", b" \n", b"..", b".", b"../../..", b"../../../", b"/etc", b"%s/../../../.." % REVISION.encode(), b"a/b",
    b"a\nb", b"a b", b"\0", REVISION.encode() + b"\0x", b"x" * 300, b"x" * 1_000_000, b"\x1b[2J"]


def test_a_reference_that_is_no_revision_is_refused(hub):
    for reference in REFERENCES:
        (hub / "hub" / "models--some--model" / "refs" / "main").write_bytes(reference)
        said = of(hub)
        assert "some/model: refs/main of its hub cache does not hold the name of a revision" in said and REVISION in said, said
        assert len(said) < 300


NO_IDS = ["..", ".", "a/b/c", "a--b", "some--model", "some/../model", "models--some--model",
          "some/model.git", "some/-model", "some/model.", "/", "", "some/", "/model",
          "some/\udcff", "x" * 97, "x" * 5000, "some/ü"]


def test_what_is_no_id_is_not_looked_up(hub):
    for model in NO_IDS:
        with pytest.raises(HFValidationError):
            validate_repo_id(model)
        said = of(hub, model)
        assert "hf download" not in said and "hub model" in said or "config.json" in said, said
        assert len(said) < 300


def test_a_link_to_a_deleted_blob_is_named(hub):
    snapshot = hub / "hub" / "models--some--model" / "snapshots" / REVISION
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).rename(hub / "kept")
        (snapshot / name).symlink_to(f"../../blobs/deleted-{name}")
        said = of(hub)
        assert f"{name}: is a link to ../../blobs/deleted-{name}, which is missing" in said, said
        (snapshot / name).unlink()
        (hub / "kept").rename(snapshot / name)
    for name in ("generation_config.json", "tokenizer.json"):  # the first is read with the model, the other for texts
        (snapshot / name).unlink()
        (snapshot / name).symlink_to("deleted")
        finished = subprocess.run([cli_program.PROGRAM, "inspect", snapshot], capture_output=True, text=True,
                                  env=cli_program.ENVIRONMENT)
        assert f"{name}: is a link to deleted, which is missing" in finished.stdout + finished.stderr
        assert finished.returncode == (1 if name == "generation_config.json" else 0)
        if name == "generation_config.json":
            (snapshot / name).unlink()
    said = cli_program.call("eval", snapshot, "--text", hub / "config.json").stderr
    assert "tokenizer.json: is a link to deleted, which is missing" in said
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "shard.safetensors"}}))
    (snapshot / "shard.safetensors").symlink_to("deleted")
    assert "shard.safetensors: is a link to deleted, which is missing" in of(hub)


def test_a_model_that_a_killed_run_set_aside_is_back(hub):
    model = hub / "model"
    shutil.copytree(hub / "hub" / "models--some--model" / "snapshots" / REVISION, model)
    process = subprocess.Popen(["true"])
    process.wait()
    aside = hub / f".model.{process.pid}.replaced"
    for name in ("model", "model/"):
        os.rename(model, aside)
        finished = cli_program.call("inspect", "--quick", hub / name)
        assert finished.returncode == 0, finished.stderr
        assert f"the older one, which it had set aside as {aside}, is back" in finished.stdout
        assert not aside.exists() and (model / "config.json").exists()
        finished = cli_program.call("inspect", "--quick", hub / name)
        assert "is back" not in finished.stdout


# A command that names the folder `result`, and its status.
QUANTIZE = "quantize model --bits 4 --group-size 16 --samples 3 --tokens 8"
RESULTS = [
    ("inspect --quick link", 0), ("inspect --quick chain", 0), ("inspect --quick link/", 0),
    ("inspect --quick ./result/../result", 0), ("inspect --quick result/", 0),
    ("inspect --quick inner/../result/.", 0), ("inspect --quick result/model.safetensors", 0),
    ("inspect --quick link/model.safetensors", 0),
    ("logits model --tokens result/ids.safetensors -o logits", 0),
    ("generate model --text link/text.txt --samples 1 --tokens 8 -o ids", 0),
    ("generate model --samples 1 --tokens 8 -o result/more.safetensors", 0),
    ("eval model --reference ./link --text text.txt --context 16", 0),
    ("inspect --quick model --json result/report.json", 0),
    (QUANTIZE + " --rule nothing=skip -o result", 1), (QUANTIZE + " --rule nothing=skip -o link", 1),
    ("quantize model --bits 4 --group-size 16 --calibration result/ids.safetensors --eval-text missing.txt -o out", 1),
    ("quantize missing --bits 4 -o result", 1),
]


@pytest.mark.parametrize("line, status", RESULTS)
def test_a_result_set_aside_is_found_by_any_path(line, status, hub, tmp_path, monkeypatch):
    """As the system would find the folder itself, were it there: that is what Python's os.path.exists tells after."""
    model = hub / "hub" / "models--some--model" / "snapshots" / REVISION
    shutil.copytree(model, tmp_path / "model")
    shutil.copytree(model, tmp_path / "result")
    cli_program.save_ids(tmp_path / "result" / "ids.safetensors", cli_models.ids(8, 8))
    for folder in (tmp_path, tmp_path / "result"):
        (folder / "text.txt").write_text(cli_models.text(400), encoding="utf-8")
    (tmp_path / "inner").mkdir()
    (tmp_path / "link").symlink_to("inner/../result")
    (tmp_path / "chain").symlink_to(tmp_path / "link")
    process = subprocess.Popen(["true"])
    process.wait()
    aside = tmp_path / f".result.{process.pid}.replaced"
    os.rename(tmp_path / "result", aside)
    monkeypatch.chdir(tmp_path)
    finished = cli_program.call(*line.split())
    assert finished.returncode == status, finished.stderr
    assert os.path.exists("result/config.json") and not aside.exists()
    assert f"which it had set aside as {aside}, is back" in finished.stdout + finished.stderr
