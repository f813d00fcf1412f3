import json
import pickle
import shutil
import warnings
from dataclasses import asdict
from zipfile import ZipFile

import onnx
import pytest
import torch
from colour_network import Colours, colour_facts, write_colours
from onnx import TensorProto, helper

from factory.downstream.model_file import open_model
from factory.downstream.network import make_network
from factory.downstream.package import NetworkFacts, write_network
from factory.errors import FactoryError, JobError, PluginError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return write_colours(tmp_path_factory.mktemp("net"))


def refusal(path):
    with pytest.raises(FactoryError) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def save(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return path


def test_both_files_and_their_folder_open_to_the_same_answers(trained):
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 255
    found = [open_model(trained / name) for name in ("model.pt", "model.onnx", ".")]
    assert found[0].facts == found[1].facts == colour_facts()
    answers = [one.probabilities(images) for one in found]
    assert torch.allclose(answers[0], answers[1], atol=1e-5)
    assert torch.equal(answers[0], answers[2])
    assert torch.allclose(answers[0].sum(dim=1), torch.ones(2, 16, 16))
    assert torch.equal(answers[0].argmax(dim=1), images.argmax(dim=1))


def test_the_network_that_factory_train_makes_passes_the_check(tmp_path):
    write_network(make_network(3, "S"), colour_facts(), tmp_path)
    assert open_model(tmp_path).probabilities(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)


def test_files_that_are_no_network_are_told(tmp_path, trained):
    assert "no such file" in refusal(tmp_path / "nothing.pt")
    assert "a folder without a network" in refusal(tmp_path)
    for name in ("a.pt", "a.onnx"):
        (tmp_path / name).write_bytes(b"no network")
        assert name in refusal(tmp_path / name)
    (tmp_path / "a.bin").write_bytes(b"x")
    assert "the ending '.bin'" in refusal(tmp_path / "a.bin")
    torch.save({"state": torch.zeros(1)}, tmp_path / "state.pt")
    assert "no code" in refusal(tmp_path / "state.pt")
    half = (trained / "model.pt").read_bytes()[:-200]
    (tmp_path / "half.pt").write_bytes(half)
    assert "not TorchScript" in refusal(tmp_path / "half.pt")
    save(Colours(), tmp_path / "mute.pt")
    assert "does not say what its classes are" in refusal(tmp_path / "mute.pt")


def test_an_onnx_file_reads_no_other_file(tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4], bytes(16), raw=True)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "secret.bin"
    shape = ["n", 3, "h", 4]
    ends = [helper.make_tensor_value_info(n, 1, shape) for n in ("images", "logits")]
    node = helper.make_node("Add", ["images", "w"], ["logits"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "reads.onnx")
    assert "reads.onnx" in refusal(tmp_path / "reads.onnx")


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ()},
        {"classes": ("a", "a", "b")},
        {"std": (0.0, 1.0, 1.0)},
        {"mean": (float("nan"),) * 3},
        {"size_px": 0},
        {"size_px": 10**6},
    ],
)
def test_facts_that_no_training_writes_are_refused(changes, trained, tmp_path):
    shutil.copy(trained / "model.onnx", tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    facts = asdict(NetworkFacts(**{**asdict(colour_facts()), **changes}))
    onnx.helper.set_model_props(model, {"maskfactory.json": json.dumps(facts)})
    onnx.save(model, tmp_path / "model.onnx")
    assert "its facts are damaged" in refusal(tmp_path / "model.onnx")


FACTS = '{"classes": %s, "mean": [0, 0, 0], "std": [1, 1, 1], "size_px": %s, "dataset_id": "d"}'


@pytest.mark.parametrize(
    "text",
    [
        *(b"\xff", b"[]", b"{}", b"[" * 100_000, b"no JSON"),
        *(
            (FACTS % case).encode()
            for case in (('"abc"', "16"), ('["a", 1]', "16"), ('["a"]', "1e400"))
        ),
    ],
)
def test_facts_that_are_none_are_one_line(text, trained, tmp_path):
    path = tmp_path / "model.pt"
    with ZipFile(trained / "model.pt") as whole, ZipFile(path, "w") as changed:
        for entry in whole.infolist():
            is_facts = entry.filename.endswith("maskfactory.json")
            changed.writestr(entry.filename, text if is_facts else whole.read(entry))
    assert "its facts are damaged; train or export it again" in refusal(path)


class Runs:
    """A pickle that writes a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["data.pkl", "constants.pkl"])
def test_no_pickle_in_a_file_is_run(name, trained, tmp_path):
    code, path = pickle.dumps(Runs(tmp_path / "ran")), tmp_path / "model.pt"
    with ZipFile(trained / "model.pt") as whole, ZipFile(path, "w") as changed:
        for entry in whole.infolist():
            is_changed = entry.filename.endswith(f"/{name}")
            changed.writestr(entry.filename, code if is_changed else whole.read(entry))
    assert "not TorchScript" in refusal(path)
    path.write_bytes(code)
    assert "not TorchScript" in refusal(path)
    for is_zip in (True, False):
        torch.save({"a": Runs(tmp_path / "ran")}, path, _use_new_zipfile_serialization=is_zip)
        refusal(path)
    assert not (tmp_path / "ran").exists()


def test_an_onnx_network_that_fails_says_so_in_one_line_and_the_runtime_nothing(tmp_path, capfd):
    ends = [
        helper.make_tensor_value_info("images", 1, ["n", 3, "h", "w"]),
        helper.make_tensor_value_info("logits", 1, None),
    ]
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [7, -1])
    node = helper.make_node("Reshape", ["images", "s"], ["logits"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.helper.set_model_props(model, {"maskfactory.json": json.dumps(asdict(colour_facts()))})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(PluginError) as caught:
        open_model(tmp_path / "model.onnx").probabilities(torch.ones(1, 3, 16, 16))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


class TwoClasses(torch.nn.Module):
    def forward(self, images):
        return images[:, :2]


class Nothing(torch.nn.Module):
    def forward(self, images):
        return images * float("nan")


@pytest.mark.parametrize(
    ("kind", "said"), [(TwoClasses, "logits of its 3 classes"), (Nothing, "no finite numbers")]
)
def test_answers_that_are_none_are_told(kind, said, tmp_path):
    write_network(kind(), colour_facts(), tmp_path)
    model = open_model(tmp_path / "model.onnx")
    with pytest.raises(PluginError, match=said):
        model.probabilities(torch.ones(1, 3, 16, 16))


def test_a_missing_file_is_the_user_s_error(tmp_path):
    with pytest.raises(JobError):
        open_model(tmp_path / "nothing.onnx")
