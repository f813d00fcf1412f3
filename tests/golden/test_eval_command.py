import json

import numpy as np
import pytest
from small_job import make_small
from typer.testing import CliRunner

from factory.cli.app import app
from factory.pack.image import encode_mask


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_small(folder)
    return folder / "out"


def call(*words):
    return CliRunner().invoke(app, ["eval", "masks", *(str(word) for word in words)])


def test_scores_are_told_as_a_table_and_as_json(out):
    words = call(out, "--reference", "generator")
    assert words.exit_code == 0, words.output
    lines = words.stdout.splitlines()
    assert lines[0] == "13 samples against generator shapes"
    assert lines[1] == "                 all classes  without ground"
    assert [line[:16].strip() for line in lines[2:10]] == [
        "ARI",
        "AMI",
        "V-measure",
        "homogeneity",
        "completeness",
        "pixel accuracy",
        "mIoU per image",
        "mIoU global",
    ]
    assert lines[10] == "class     share  IoU per image  IoU global  clusters"
    scores = json.loads(call(out, "--reference", "generator", "--json").stdout)
    assert f"ARI             {scores['all_classes']['ari']:>12.4f}" in lines[2]
    assert scores["reference"] == "generator shapes"
    assert lines[-1] == (
        f"clusters matched greedily on {scores['num_matched_on']} samples; accuracy and IoU from the "
        f"other {scores['num_scored']}"
    )


def test_names_ignored_pixels_and_leftovers_are_told(tmp_path, out):
    mask = np.zeros((32, 32), np.uint8)
    mask[0] = 255
    (tmp_path / "000000000.mask.png").write_bytes(encode_mask(mask))
    settings = ["--match", "names", "--reference-names", "cluster_02, other", "--samples", 3]
    lines = call(out, "--reference", tmp_path, *settings).stdout.splitlines()
    assert lines[0] == f"1 samples against {tmp_path}"
    assert lines[1] == "                 all classes"
    assert lines[-3:] == [
        "clusters of no class: cluster_00, cluster_01, cluster_03",
        "clusters matched by name",
        "32 pixels ignored (255 on either side)",
    ]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--reference", "nowhere"], 2, "error: --reference: no file 'nowhere'; "),
        (["--reference", "generator", "--match", "hungarian"], 2, "'hungarian' is not one of"),
        (["--reference", "generator", "--background", "9"], 2, "error: --background: found '9'; "),
        ([], 2, "Missing option '--reference'"),
    ],
)
def test_mistakes_are_one_message_with_their_exit_code(out, words, code, text):
    result = call(out, *words)
    assert result.exit_code == code
    assert text in result.output
    assert "Traceback" not in result.output


def test_a_folder_without_a_dataset_is_refused(tmp_path, out):
    result = call(tmp_path, "--reference", out)
    assert result.exit_code == 6
    strange = f"error: {tmp_path}: no dataset here; make one with `factory run JOB`\n"
    assert result.stderr == strange
