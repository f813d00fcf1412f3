import pytest
import yaml
from small_job import small_document, small_job

from factory.errors import JobError
from factory.spec import FitSpec, KlishSpec, KMeansSpec, PluginSegmenterSpec
from factory.spec.read import check_job, load_job

LABELS = {
    "tree": "0" * 16,
    "labels": [{"name": n, "colour": "#123456", "nodes": [i]} for i, n in enumerate("ab")],
}


def load_text(tmp_path, text):
    path = tmp_path / "job.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_job(path)


def refusal(tmp_path, overrides):
    """The lines of the error for the tiny job with `overrides`, without the first."""
    with pytest.raises(JobError) as caught:
        check_job(small_document(tmp_path, overrides), source="job.yaml")
    head, *lines = str(caught.value).splitlines()
    assert head == f"job.yaml: {len(lines)} problem{'s' * (len(lines) != 1)}"
    return [line.removeprefix("  ") for line in lines]


def refused_text(tmp_path, text):
    with pytest.raises(JobError) as caught:
        load_text(tmp_path, text)
    return str(caught.value).replace(str(tmp_path), "")


def test_a_job_file_gives_the_spec_that_its_mapping_gives(tmp_path):
    text = yaml.safe_dump(small_document(tmp_path))
    assert load_text(tmp_path, text) == small_job(tmp_path)


def test_what_is_left_out_has_the_documented_defaults(tmp_path):
    spec = check_job(
        {
            "name": "a",
            "dataset": {
                "num_samples": 1,
                "generator": {"kind": "shapes"},
                "segmenter": {"kind": "kmeans"},
            },
            "output": {"uri": "x"},
        },
        source="job.yaml",
    )
    assert spec.dataset.samples_per_shard == 1000
    assert spec.dataset.segmenter == KMeansSpec(kind="kmeans", num_clusters=8, layers="auto")
    assert spec.dataset.latents.seed == 0
    assert spec.run.executor == "ray"


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ({"kind": "kmeans", "layers": ["a", "b"]}, KMeansSpec),
        ({"kind": "klish", "fit": {"num_images": 4}}, KlishSpec),
        ({"kind": "my.module:Thing", "settings": {"x": 1}}, PluginSegmenterSpec),
    ],
)
def test_a_segmenter_s_kind_decides_which_settings_it_takes(tmp_path, section, kind):
    spec = small_job(tmp_path, {"dataset.segmenter": section})
    assert type(spec.dataset.segmenter) is kind
    if kind is KlishSpec:
        assert spec.dataset.segmenter.fit == FitSpec(num_images=4)


def test_all_problems_are_told_at_once_each_with_its_path_and_the_value_found(tmp_path):
    lines = refusal(
        tmp_path,
        {
            "name": "Bad Name",
            "dataset.num_samples": 0,
            "dataset.batchsize": 4,
            "dataset.segmenter.fit.num_image": 3,
            "run.executor": "rya",
            "output": {},
        },
    )
    assert lines == [
        "name: string should match pattern '^[a-z0-9][a-z0-9_-]{0,63}$' (got 'Bad Name')",
        "dataset.num_samples: input should be greater than or equal to 1 (got 0)",
        "dataset.segmenter.fit.num_image: unknown key; did you mean 'num_images'?",
        "dataset.batchsize: unknown key; did you mean 'batch_size'?",
        "run.executor: input should be 'ray' or 'inline' (got 'rya')",
        "output.uri: missing, and required",
    ]


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("colour", 1, "colour: unknown key; known here: beside, dataset, name, output, run"),
        ("outputs", 1, "outputs: unknown key; did you mean 'output'?"),
        (
            "dataset.segmenter.num_cluster",
            4,
            "dataset.segmenter.num_cluster: unknown key; did you mean 'num_clusters'?",
        ),
        (
            "dataset.segmenter.zzz",
            4,
            "dataset.segmenter.zzz: unknown key; known here: clean, confidence, fit, kind, layers, "
            "num_clusters",
        ),
        (
            "dataset.segmenter.num_clusters",
            300,
            "dataset.segmenter.num_clusters: input should be less than or equal to 255 (got 300)",
        ),
        (
            "dataset.latents",
            {"classes": []},
            "dataset.latents.classes: names no class; leave it out to use all classes (got [])",
        ),
        (
            "dataset.segmenter",
            {"kind": "klish", "cut": 30, "initial_clusters": 20},
            "dataset.segmenter: `cut` asks for 30 classes of 20 `initial_clusters`; lower the one or "
            "raise the other (got {'kind': 'klish', 'cut': 30, 'initial_clusters': 20})",
        ),
        (
            "dataset.segmenter",
            {"kind": "klish", "fitted": "a", "layers": ["x"], "fit": {}},
            "dataset.segmenter: `fitted` names a fitted file; leave out fit, layers "
            "(got {'kind': 'klish', 'fitted': 'a', 'layers': ['x'], 'fit': {}})",
        ),
        (
            "dataset.segmenter",
            {"kind": "klish", "cut": 2, "labels": LABELS},
            "dataset.segmenter: `labels` defines the classes already; leave out `cut` (got {'kind': "
            "'klish', 'cut': 2, 'labels': {'tree': '0000000000000000', 'labels': [{'name': 'a', "
            "'colour'...)",
        ),
        (
            "dataset.segmenter",
            {"kind": "klish", "labels": "labels.yaml"},
            "dataset.segmenter.labels: a path is allowed in job files only; give the content "
            "of the labels file (got 'labels.yaml')",
        ),
        ("run.num_actors", 0, "run.num_actors: must be `auto` or at least 1 (got 0)"),
        (
            "run.num_actors",
            10**6,
            "run.num_actors: must be `auto` or at most 100,000 (got 1000000)",
        ),
        (
            "dataset.samples_per_shard",
            10**6 + 1,
            "dataset.samples_per_shard: input should be less than or equal to 1000000 (got 1000001)",
        ),
        (
            "dataset.encode",
            {"image": "tiff"},
            "dataset.encode.image: input should be 'png', 'webp' or 'jpeg' (got 'tiff')",
        ),
        (
            "dataset.accept",
            {"class_share": {3: [0.1, 1.5]}},
            "dataset.accept.class_share.3.1: input should be less than or equal to 1 (got 1.5)",
        ),
        (
            "dataset.generator.sha256",
            "abc",
            "dataset.generator.sha256: string should match pattern '^[0-9a-f]{64}$' (got 'abc')",
        ),
        ("output.uri", "", "output.uri: string should have at least 1 character (got '')"),
        (
            "name",
            "a.b",
            "name: string should match pattern '^[a-z0-9][a-z0-9_-]{0,63}$' (got 'a.b')",
        ),
        (
            "dataset.oversample",
            float("nan"),
            "dataset.oversample: found nan; numbers are finite",
        ),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(tmp_path, path, value, line):
    assert refusal(tmp_path, {path: value}) == [line]


def test_a_value_that_fits_no_member_of_a_union_is_told_under_the_path_people_wrote(tmp_path):
    lines = refusal(tmp_path, {"run.num_actors": "many", "dataset.segmenter.layers": 5})
    assert {line.partition(":")[0] for line in lines} == {
        "run.num_actors",
        "dataset.segmenter.layers",
    }
    assert all(line.endswith(("(got 'many')", "(got 5)")) for line in lines)


@pytest.mark.parametrize("missing", ["name", "dataset", "output"])
def test_a_missing_section_is_named(tmp_path, missing):
    document = small_document(tmp_path)
    del document[missing]
    with pytest.raises(JobError, match=f"^j: 1 problem\n  {missing}: missing, and required$"):
        check_job(document, source="j")


def test_a_segmenter_without_a_kind_is_told_that_it_needs_one(tmp_path):
    lines = refusal(tmp_path, {"dataset.segmenter": {}})
    assert lines == ["dataset.segmenter.kind: missing, and required"]


def test_a_key_written_twice_is_refused_with_its_place(tmp_path):
    text = refused_text(tmp_path, "name: a\noutput: {uri: x}\nname: b\n")
    assert text == ("/job.yaml: line 3, column 1: key 'name' is written twice; leave one out")


def test_a_nested_key_written_twice_is_refused(tmp_path):
    assert "key 'uri' is written twice" in refused_text(tmp_path, "output: {uri: x, uri: y}\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "nothing"), ("- a\n", "a list"), ("hello\n", "text"), ("3\n", "a number")],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, found):
    assert refused_text(tmp_path, text) == (
        f"/job.yaml: found {found}; a job file is a mapping with name, dataset, output"
    )


def test_broken_yaml_is_told_in_one_line(tmp_path):
    text = refused_text(tmp_path, "name: [a\ndataset: }\n")
    assert text.startswith("/job.yaml: not valid YAML: ")
    assert "\n" not in text
    assert "line 2" in text


def test_yaml_that_would_run_code_is_refused(tmp_path):
    text = refused_text(tmp_path, "name: !!python/object/apply:os.getcwd []\n")
    assert text == (
        "/job.yaml: line 1, column 7: found the tag "
        "'tag:yaml.org,2002:python/object/apply:os.getcwd'; leave tags out"
    )


def test_a_missing_job_file_is_told_with_its_path(tmp_path):
    with pytest.raises(JobError) as caught:
        load_job(tmp_path / "none.yaml")
    assert str(caught.value) == (
        f"{tmp_path}/none.yaml: cannot read the job file (No such file or directory)"
    )


def test_a_folder_in_place_of_a_job_file_is_refused(tmp_path):
    with pytest.raises(JobError, match=r"cannot read the job file \(Is a directory\)$"):
        load_job(tmp_path)


def test_a_job_file_that_is_no_text_is_refused(tmp_path):
    assert refused_text(tmp_path, b"name: \xff\xfe\n") == (
        "/job.yaml: cannot read the job file (not UTF-8 text)"
    )


def test_a_key_that_is_a_list_is_refused(tmp_path):
    assert "a key is a list or a mapping" in refused_text(tmp_path, "? [a]\n: 1\n")


def test_merge_keys_work_as_in_any_yaml(tmp_path):
    document = small_document(tmp_path)
    text = yaml.safe_dump({k: v for k, v in document.items() if k != "run"})
    text += "run:\n  <<: {executor: inline}\n"
    assert load_text(tmp_path, text).run.executor == "inline"


def test_an_infinite_class_weight_is_refused(tmp_path):
    assert refusal(tmp_path, {"dataset.latents": {"classes": {"a": float("inf")}}})


def test_a_value_in_place_of_a_section_is_told_without_the_name_of_a_class(tmp_path):
    assert refusal(tmp_path, {"dataset.generator": 3}) == [
        "dataset.generator: input should be a mapping of settings (got 3)"
    ]


def test_the_members_of_a_union_with_limits_are_no_part_of_a_path(tmp_path):
    section = {"kind": "klish", "cut": "autoo"}
    lines = refusal(tmp_path, {"dataset.segmenter": section})
    assert {line.partition(":")[0] for line in lines} == {"dataset.segmenter.cut"}


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("kmean", "; did you mean 'kmeans'? (got 'kmean')"),
        ("otsu", ", or module:attribute (got 'otsu')"),
        (None, "dataset.segmenter.kind: missing, and required"),
    ],
)
def test_a_misspelt_method_is_told_and_its_settings_are_not_blamed(tmp_path, kind, told):
    document = small_document(tmp_path, {"dataset.segmenter": {"cut": 3, "fit": {"num_images": 4}}})
    if kind:
        document["dataset"]["segmenter"]["kind"] = kind
    with pytest.raises(JobError) as caught:
        check_job(document, source="job.yaml")
    (line,) = str(caught.value).splitlines()[1:]
    assert line.startswith("  dataset.segmenter.kind: ")
    assert line.endswith(told)
