"""Models in several GGUF files, as llama.cpp's gguf-split leaves them."""
import shutil

import gguf
import numpy
import pytest
import torch

import cli_gguf
import cli_models
import cli_program

IDS = cli_models.ids(2, 24, seed=8)
KIND = gguf.GGMLQuantizationType.Q8_0
GENTLE = ["--dtype", "f32", "--lr", 0.01, "--epochs", 2, "--batch", 4]


def split(source, folder, tensors):
    """The file's tensors in several files, so many in each, and its metadata in the first."""
    reader = gguf.GGUFReader(source)
    groups = [reader.tensors[i:i + tensors] for i in range(0, len(reader.tensors), tensors)]
    paths = [folder / f"part-{i + 1:05}-of-{len(groups):05}.gguf" for i in range(len(groups))]
    for number, (path, group) in enumerate(zip(paths, groups)):
        writer = gguf.GGUFWriter(path, "llama")
        for field in reader.fields.values() if number == 0 else ():
            if not field.name.startswith("GGUF.") and field.name != "general.architecture":
                writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1])
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", len(groups))
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in group:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    model = cli_models.llama()
    cli_models.save_with_tokenizer(model, folder / "float")
    with torch.no_grad():  # so that a tweak has something to win back
        for name, weight in model.named_parameters():
            if "layernorm" in name:
                weight.mul_(1.3)
    cli_gguf.write(folder / "whole.gguf", model, "llama", KIND)
    cli_program.run("generate", folder / "float", "-o", folder / "text", "--samples", 16, "--tokens", 24,
                    "--dtype", "f32")
    (folder / "parts").mkdir()
    assert len(split(folder / "whole.gguf", folder / "parts", 8)) == 3
    return folder


def first(folder):
    return sorted(folder.glob("*-00001-of-*.gguf"))[0]


def refusal(*arguments):
    finished = cli_program.call(*arguments)
    assert finished.returncode == 1 and finished.stderr.count("\n") == 1
    return finished.stderr


def test_logits_are_those_of_the_whole(home, tmp_path):
    whole = cli_program.logits(home / "whole.gguf", IDS, tmp_path)
    assert whole.equal(cli_program.logits(first(home / "parts"), IDS, tmp_path))


def test_gguf_package_splits_alike(home, tmp_path):
    """Files that the package's writer splits by itself."""
    reader = gguf.GGUFReader(home / "whole.gguf")
    writer = gguf.GGUFWriter(tmp_path / "own.gguf", "llama", split_max_tensors=8)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    whole = cli_program.logits(home / "whole.gguf", IDS, tmp_path)
    assert whole.equal(cli_program.logits(first(tmp_path), IDS, tmp_path))


def test_a_missing_file_is_named(home, tmp_path):
    shutil.copytree(home / "parts", tmp_path / "parts")
    gone = sorted((tmp_path / "parts").iterdir())[1]
    gone.unlink()
    assert f"{gone}: is missing" in refusal("inspect", first(tmp_path / "parts"))


def test_another_than_the_first_is_refused(home):
    second = sorted((home / "parts").iterdir())[1]
    assert "is file 2 of 3 of one model; give the first, NAME-00001-of-00003.gguf" in refusal("inspect", second)


def test_other_names_are_refused(home, tmp_path):
    shutil.copy(first(home / "parts"), tmp_path / "model.gguf")
    assert "whose name has to end in -00001-of-00003.gguf" in refusal("inspect", tmp_path / "model.gguf")


@pytest.mark.parametrize("tensors, words", [(7, "is not file 2 of the 3"), (21, "is not file 2 of the 3")])
def test_files_of_different_models(tensors, words, home, tmp_path):
    shutil.copytree(home / "parts", tmp_path / "parts")
    (tmp_path / "other").mkdir()
    others = split(home / "whole.gguf", tmp_path / "other", tensors)
    shutil.copy(others[-1], sorted((tmp_path / "parts").iterdir())[1])
    assert words in refusal("inspect", first(tmp_path / "parts"))


def test_wrong_counts(home, tmp_path):
    """The files hold a tensor less than they announce."""
    shutil.copytree(home / "parts", tmp_path / "parts")
    for path in sorted((tmp_path / "parts").iterdir()):
        reader = gguf.GGUFReader(path, "r+")
        reader.fields["split.tensors.count"].parts[-1][0] += 1
    assert "tensors are in its 3 files, and" in refusal("inspect", first(tmp_path / "parts"))


def joined(paths):
    return {tensor.name: tensor.data.tobytes() for path in paths for tensor in gguf.GGUFReader(path).tensors}


def test_tweak_in_place(home, tmp_path):
    """Every file has its size, only floats differ, and the patch gives the same bytes."""
    target = tmp_path / "out-00001-of-00003.gguf"
    cli_program.run("tweak", first(home / "parts"), "--reference", home / "float", "-o", target, "--patch",
                    tmp_path / "patch", "--calibration", home / "text", *GENTLE)
    before, after = sorted((home / "parts").iterdir()), sorted(tmp_path.glob("out-*.gguf"))
    assert len(after) == 3
    assert [path.stat().st_size for path in before] == [path.stat().st_size for path in after]
    changed = sum(a.read_bytes() != b.read_bytes() for a, b in zip(before, after))
    assert changed > 1
    old, new = joined(before), joined(after)
    for name in old:
        if "norm" not in name:  # the codes of Q8_0 blocks stay
            codes = [numpy.frombuffer(data[name], numpy.uint8).reshape(-1, 34)[:, 2:] for data in (old, new)]
            assert numpy.array_equal(*codes), name
    cli_program.run("apply", first(home / "parts"), tmp_path / "patch", "-o", tmp_path / "again-00001-of-00003.gguf")
    for path in after:
        assert path.read_bytes() == (tmp_path / path.name.replace("out", "again")).read_bytes()


def test_the_result_has_as_many_files(home, tmp_path):
    finished = cli_program.call("tweak", first(home / "parts"), "--reference", home / "float", "-o",
                                tmp_path / "out.gguf", "--calibration", home / "text", *GENTLE)
    assert finished.returncode == 2 and "the model is in 3 files" in finished.stderr
