import warnings

import pytest
import torch
import yaml
from small_job import small_document
from small_label import fitted_tree, small_material
from typer.testing import CliRunner

from factory.cli.app import app
from factory.cli.review import check_names
from factory.segment.tree.labels_file import encode_labels_file, read_labels_file
from factory.spec.labels import LabelsSpec

NAMES = ("ground", "disc", "core")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A job with names for three nodes, and a network that sees ground everywhere."""
    monkeypatch.chdir(tmp_path)
    tree = small_material().tree
    (tmp_path / "tree.safetensors").write_bytes(fitted_tree())
    labels = [
        {"name": name, "colour": "#000000", "nodes": [node]}
        for name, node in zip(NAMES, tree.by_size(tree.flat_cut(3)), strict=True)
    ]
    spec = LabelsSpec.model_validate({"tree": tree.digest(), "labels": labels})
    (tmp_path / "names.yaml").write_bytes(encode_labels_file(spec))
    section = {"kind": "klish", "fitted": "tree.safetensors", "labels": "names.yaml"}
    document = small_document(tmp_path, {"dataset.segmenter": section})
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    save(OnlyGround())
    monkeypatch.setattr("factory.label.survey.NUM_SURVEYED", 12)
    return tmp_path


def save(network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(network).save("net.pt")


class OnlyGround(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(images.shape[0], images.shape[2], images.shape[3], dtype=torch.long)


class Seventh(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full([images.shape[0], images.shape[2], images.shape[3]], 7)


class Broken(torch.nn.Module):
    """Logits of three classes, as large as they get from weights that diverged."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.log(images - images)


class FourClasses(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images, images[:, :1]], dim=1)


def run(*words):
    return CliRunner().invoke(app, words)


def by_model(*words, names="ground,disc,core", who="net 1"):
    model = ["--model", "net.pt", "--model-names", names]
    return run("label", "job.yaml", "--review", who, *model, *words)


@pytest.mark.slow
def test_a_model_disputes_what_it_sees_otherwise_and_fit_plan_and_card_tell_it(here):
    result = by_model()
    assert result.exit_code == 0, result.output
    ground, disc, core = (label.nodes[0] for label in read_labels_file(here / "names.yaml").labels)
    lines = result.stdout.splitlines()
    assert f"{ground:>5}  ground  ground at 100%" in lines
    assert f"{disc:>5}  disc    ground at 100%  disputed" in lines
    assert lines[-1] == "2 of 3 nodes disputed; the verdicts of net 1 are in names.yaml"
    found = read_labels_file(here / "names.yaml").reviews
    assert [(one.who, one.node, one.proposed) for one in found] == [
        ("net 1", ground, None),
        ("net 1", disc, "ground"),
        ("net 1", core, "ground"),
    ]
    told = f"node {disc} is named disc, and net 1 says ground ({found[0].when[:10]}): look at it"
    assert told in run("fit", "job.yaml").stdout
    made = run("run", "job.yaml")
    assert made.exit_code == 0, made.output
    assert told in (here / "out" / "README.md").read_text()
    assert told in run("plan", "job.yaml").stdout


@pytest.mark.slow
def test_names_that_the_model_has_no_class_for_are_told(here):
    lines = by_model(names="ground,disc").stdout.splitlines()
    assert lines[-2] == "the model has no class for core: it cannot confirm nodes of that name"


def test_reviews_change_no_identity_of_a_dataset(here):
    before = run("run", "job.yaml")
    assert before.exit_code == 0, before.output
    assert by_model().exit_code == 0
    again = run("run", "job.yaml")
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"who": ""},
            "--model: found net.pt and no reviewer; a model goes over names that another",
        ),
        ({"who": "<b>"}, "--review: found '<b>'; give the name of the reviewer"),
        ({"names": "ground"}, "--model-names: found 'ground'; give the name of each"),
        ({"names": ""}, "--model-names: found ''; give the name of each"),
        (
            {"names": "ground,disk,core|x"},
            "--model-names: found 'disk' and 'x'; names.yaml has ground, ",
        ),
        (
            {"names": "ground,,core"},
            "--model-names: found ''; names.yaml has ground, disc, core; give",
        ),
        (
            {"names": "ground,disc|disc"},
            "--model-names: found 'disc' twice in one class; leave one",
        ),
    ],
)
def test_what_cannot_be_reviewed_is_told_before_anything_is_drawn(here, changes, words):
    result = by_model(**changes)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            Broken(),
            "--model: net.pt: 3,072 of 3,072 logits of image 0 are NaN or infinite; check the file's",
        ),
        (
            Seventh(),
            "--model-names: found 3 names, and net.pt sees class 7 in image 0; give the name",
        ),
        (
            FourClasses(),
            "--model-names: found 3 names, and net.pt has 4 classes; give the name of each",
        ),
    ],
)
def test_a_model_that_cannot_be_believed_writes_no_verdicts(here, network, words):
    save(network)
    before = (here / "names.yaml").read_bytes()
    result = by_model()
    assert result.exit_code in {2, 3}
    assert result.stderr.splitlines()[-1].startswith(f"error: {words}")
    assert (here / "names.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--model-names", "ground,disc"),
            "--model-names: found without --model; it is about a model",
        ),
        (
            ("--review", "anna", "--size", "8"),
            "--mean/--std/--size: found without --model; it is about",
        ),
        (("--model", "net.pt"), "--model: found net.pt and no reviewer; a model goes over names"),
    ],
)
def test_options_of_a_review_that_another_one_needs_are_told(here, words, told):
    result = run("label", "job.yaml", "--no-open", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {told}")
    assert len(result.stderr.splitlines()) == 1


def test_files_that_are_missing_or_no_network_are_told_by_the_option_s_name(here):
    (here / "net.pt").write_bytes(b"no network")
    result = by_model()
    assert result.exit_code != 0
    assert result.stderr.startswith("error: --model: net.pt: not TorchScript")
    (here / "net.pt").unlink()
    assert by_model().stderr.startswith("error: --model: no file net.pt; give a TorchScript")
    (here / "names.yaml").unlink()
    result = run("label", "tree.safetensors", "job.yaml", "--review", "anna", "-o", "other.yaml")
    assert result.stderr == (
        "error: --review: no file other.yaml; name the classes first: factory label\n"
    )


def test_several_ids_of_a_model_may_have_one_name(here):
    file = here / "names.yaml"
    assert check_names("ground|core, disc ,disc", file) == [["ground", "core"], ["disc"], ["disc"]]
