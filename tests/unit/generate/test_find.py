import pytest
import torch
from safetensors.torch import save_file

from factory.errors import WeightsError
from factory.generate import SHIPPED
from factory.generate.base import load_generator
from factory.generate.weights.find import TensorBag, find_weights, read_weights
from factory.generate.weights.shipped import find_shipped_weights
from factory.identity import digest_of_file
from factory.spec import GeneratorSpec


def refusal(call):
    with pytest.raises(WeightsError) as caught:
        call()
    return str(caught.value)


def spec(weights="", sha256=None):
    return GeneratorSpec(kind="stylegan2", weights=weights, sha256=sha256)


def bag():
    return TensorBag({"a": torch.ones(2, 3).half(), "b": torch.zeros(4)}, source="f.safetensors")


def test_a_bag_gives_each_tensor_once_as_float32():
    tensors = bag()
    assert "a" in tensors
    assert tensors.take("a", 2, 3).dtype == torch.float32
    assert "a" not in tensors
    tensors.take("b")
    tensors.finish()


def test_a_tensor_that_is_missing_is_named():
    assert refusal(lambda: bag().take("c")) == (
        "f.safetensors: tensor 'c' is missing; the file is not whole"
    )


def test_a_tensor_of_another_shape_is_told_with_both():
    assert refusal(lambda: bag().take("a", 3, 2)) == (
        "f.safetensors: tensor 'a' has shape (2, 3), expected (3, 2); the file's settings do not "
        "fit its tensors"
    )


def test_tensors_that_are_left_are_counted():
    assert refusal(bag().finish) == (
        "f.safetensors: 2 tensors do not belong to this network, the first is 'a'; it is another "
        "architecture than its settings say"
    )


def test_no_weights_are_no_file_and_no_digest():
    found = find_weights(spec())
    assert (found.path, found.sha256) == (None, "")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_in_the_package_and_can_be_demanded_by_digest(name):
    found = find_weights(spec(f"shipped:{name}"))
    assert found.sha256 == digest_of_file(found.path)
    assert find_weights(spec(f"shipped:{name}", found.sha256)) == found


def test_weights_that_are_not_shipped_are_told_with_those_that_are():
    assert refusal(lambda: find_weights(spec("shipped:cats"))) == (
        f"dataset.generator.weights: nothing shipped as 'cats'; shipped: {', '.join(SHIPPED)}"
    )


def test_a_missing_file_is_told_with_what_to_give(tmp_path):
    path = tmp_path / "none.safetensors"
    ways = ", ".join(f"shipped:{name}" for name in SHIPPED)
    assert refusal(lambda: find_weights(spec(str(path)))) == (
        f"dataset.generator.weights: no file '{path}'; give the path of a weights file, or one of "
        f"{ways}"
    )


def test_another_digest_than_the_job_demands_is_told_with_both(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(b"x")
    found = digest_of_file(path)
    assert refusal(lambda: find_weights(spec(str(path), "0" * 64))) == (
        f"dataset.generator.sha256: {path} has {found}, the job demands {'0' * 64}; get the right "
        "file, or correct the job if you trust this one"
    )


@pytest.mark.parametrize("data", [b"", b"no tensors here", b"\x80\x02}q\x00."])
def test_what_is_no_safetensors_file_is_refused(tmp_path, data):
    path = tmp_path / "w"
    path.write_bytes(data)
    text = refusal(lambda: read_weights(path))
    assert text.startswith(f"{path}: not a whole safetensors file (")
    assert text.endswith("); get it again")


def test_a_safetensors_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "w"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-4])
    assert "not a whole safetensors file" in refusal(lambda: read_weights(path))


def test_settings_and_metadata_come_with_the_tensors(tmp_path):
    path = tmp_path / "w"
    save_file({"a": torch.ones(2)}, path, metadata={"kwargs": '{"x": 1}', "license": "MIT"})
    content = read_weights(path)
    assert content.kwargs == {"x": 1}
    assert content.metadata["license"] == "MIT"
    assert content.tensors.take("a", 2).tolist() == [1, 1]


def test_stylegan2_without_weights_says_what_to_give():
    text = refusal(lambda: load_generator(spec(), None, device=torch.device("cpu")))
    assert text == ("dataset.generator.weights: missing; stylegan2 needs a weights file")


def test_tensors_of_another_network_are_refused(tmp_path):
    path = tmp_path / "w"
    original = read_weights(find_weights(spec("shipped:blood_cells")).path)
    tensors = dict(original.tensors._tensors)
    save_file(tensors | {"synthesis.extra": torch.zeros(1)}, path)
    text = refusal(lambda: load_generator(spec(), path, device=torch.device("cpu")))
    assert text == (
        f"{path}: 1 tensors do not belong to this network, the first is 'synthesis.extra'; it is "
        "another architecture than its settings say"
    )


def test_weights_somewhere_else_are_not_taken_for_a_path():
    text = refusal(lambda: find_weights(spec("https://127.0.0.1:9/none.safetensors")))
    assert text.startswith("dataset.generator")


def test_what_is_not_shipped_is_left_to_whoever_asked(tmp_path):
    assert find_shipped_weights(str(tmp_path / "own.pt"), "FILE") is None
    found = find_shipped_weights("shipped:blood_cells", "FILE")
    assert found == find_weights(spec("shipped:blood_cells")).path
    refused = refusal(lambda: find_shipped_weights("shipped:cats", "FILE"))
    assert refused.startswith("FILE: nothing shipped as 'cats'")
