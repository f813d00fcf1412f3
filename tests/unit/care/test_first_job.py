"""`factory init`: a job that fits a weights file, and runs as it is written."""

import shutil

import pytest
import yaml
from families import save_weights
from typer.testing import CliRunner

from factory.care import first_job
from factory.care.first_job import write_first_job
from factory.cli.app import app
from factory.errors import JobError, MissingWeightsError, WeightsError
from factory.generate.base import GeneratorFacts
from factory.spec.read import load_job


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_first_job_of_a_checkpoint_runs_as_it_is_written(here):
    shutil.copy(save_weights(here, "dcgan_64"), here / "My Net.v2.safetensors")
    said = CliRunner().invoke(app, ["init", "My Net.v2.safetensors", "-o", "first.yaml"])
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    assert lines[0].startswith("wrote first.yaml: dcgan, ")
    assert lines[1].startswith("here: the fit takes ")
    assert lines[-1] == "next: factory run first.yaml"
    spec = load_job("first.yaml")
    assert (spec.name, spec.dataset.generator.kind) == ("my_net_v2", "dcgan")
    assert spec.output.uri == "out/my_net_v2"
    document = yaml.safe_load((here / "first.yaml").read_text())
    document["dataset"] |= {"num_samples": 16, "samples_per_shard": 8}
    document["dataset"]["segmenter"]["fit"] = {"num_images": 8, "pixels_per_image": 32}
    document["dataset"]["segmenter"]["initial_clusters"] = 6
    (here / "short.yaml").write_text(yaml.safe_dump(document))
    ran = CliRunner().invoke(app, ["run", "short.yaml"])
    assert ran.exit_code == 0, ran.output
    assert "16 pairs in 2 shards: out/my_net_v2" in ran.output


def test_a_job_in_another_folder_finds_the_weights_from_anywhere(here, monkeypatch):
    measured = []
    monkeypatch.setattr(
        first_job, "_seconds", lambda text, folder: measured.append(text) or (5.0, 2.0)
    )
    weights = save_weights(here, "pggan_genforce_64")
    said = CliRunner().invoke(app, ["init", str(weights), "-o", "my first.yaml"])
    assert said.output.splitlines()[-1] == "next: factory run 'my first.yaml'"
    measured.clear()
    write_first_job(str(weights), here / "job.yaml")
    assert (
        yaml.safe_load((here / "job.yaml").read_text())["dataset"]["generator"]["weights"]
        == weights.name
    )
    monkeypatch.chdir("/")
    assert load_job(here / "job.yaml").dataset.generator.weights == str(weights)
    assert len(measured) == 1


def test_a_long_fit_is_made_of_fewer_images(here, monkeypatch):
    monkeypatch.setattr(first_job, "_seconds", lambda text, folder: (1200.0, 2.0))
    made = write_first_job(str(save_weights(here, "pggan_genforce_64")), here / "job.yaml")
    fit = load_job("job.yaml").dataset.segmenter.fit
    assert (fit.num_images, fit.pixels_per_image) == (128, 256)  # half the default's images
    assert made.fit_s == 600
    monkeypatch.setattr(first_job, "_seconds", lambda text, folder: (1e6, 2.0))
    made = write_first_job(str(save_weights(here, "pggan_genforce_64")), here / "longer.yaml")
    assert load_job("longer.yaml").dataset.segmenter.fit.num_images == 32


def test_classes_of_the_generator_and_other_methods_are_named(here, monkeypatch):
    monkeypatch.setattr(first_job, "_seconds", lambda text, folder: (None, None))
    made = write_first_job("shipped:blood_cells", here / "job.yaml")
    text = (here / "job.yaml").read_text()
    assert (
        '# classes: ["basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"]  # of 5;'
        in text
    )
    assert "alpha, direction, kmeans, linear, style_mixing" in text
    assert load_job("job.yaml").dataset.latents.truncation_psi == 0.7
    assert (made.method, made.family, made.resolution_px, made.fit_s) == (
        *("klish", "stylegan2", 64, None),
    )


def test_nothing_is_overwritten_and_nothing_unknown_is_written(here):
    (here / "job.yaml").write_text("mine")
    with pytest.raises(JobError, match=r"job.yaml: exists; give another path with -o"):
        write_first_job("shipped:blood_cells", here / "job.yaml")
    assert (here / "job.yaml").read_text() == "mine"
    new = here / "new.yaml"
    with pytest.raises(
        MissingWeightsError, match=r"no file 'nope.pt' in the job's folder, or else in"
    ):
        write_first_job("nope.pt", new)
    with pytest.raises(
        JobError, match=r"WEIGHTS: found the address https://a.org/x; a file, or shipped"
    ):
        write_first_job("https://a.org/x", new)
    (here / "odd.pt").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"odd\.pt"):
        write_first_job("odd.pt", new)
    assert not new.exists()


def test_a_generator_that_no_method_serves_is_told():
    facts = GeneratorFacts(resolution=8, num_classes=0, class_names=(), layers={})
    with pytest.raises(WeightsError, match="none of our methods works on this generator"):
        first_job._choose_method(facts)
