"""A dataset is published: the secret by which its weights were fetched is nowhere in it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from small_job import Witness, make_small, small_job
from typer.testing import CliRunner
from weights_server import CONTENT, DIGEST, SECRET, Server, make_certificate, serving

from factory.care.verify import verify_dataset
from factory.cli.app import app
from factory.data import LatentBatch
from factory.errors import IncompleteError, JobError, WeightsError
from factory.generate.batch import ImageBatch
from factory.generate.shapes import ShapesGenerator
from factory.job import run_job
from factory.plan.identity import make_identity
from factory.spec import GeneratorSpec
from factory.spec.read import load_job
from factory.store import open_store
from factory.store.cache import cache_folder


class WithWeights(ShapesGenerator):
    """The toy generator, which here takes weights and looks into none."""

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        assert weights is not None
        super().__init__(spec, None, device)


class Telltale(ShapesGenerator):
    """The toy generator, with a failure that tells its secret."""

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        if 4 in latents.indices:
            raise ValueError(f"cannot ask https://me:{SECRET}@host/x?key={SECRET}")
        return super().generate(latents, layers)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving(certificate) as running:
        yield running


def signed(server: Server) -> dict[str, object]:
    address = f"https://me:{SECRET}@127.0.0.1:{server.server_port}/signed?key={SECRET}&b=1"
    return {"kind": f"{__name__}:WithWeights", "weights": address, "sha256": DIGEST}


def files_with(secret: str, folder: Path) -> list[str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert paths
    return [path.name for path in paths if secret.encode() in path.read_bytes()]


def test_a_job_with_a_signed_address_works_and_leaves_no_trace_of_it(tmp_path, server, capfd):
    make_small(tmp_path, {"dataset.generator": signed(server)})
    assert files_with(SECRET, tmp_path) == []
    assert SECRET not in "".join(capfd.readouterr())
    kept = (tmp_path / "out/job.yaml").read_text()
    assert kept.startswith("# Users, passwords and queries of addresses were left out")
    assert f"weights: https://127.0.0.1:{server.server_port}/signed\n" in kept
    assert verify_dataset(open_store(str(tmp_path / "out"))).problems == ()


def test_a_job_without_secrets_is_kept_as_it_is(tmp_path):
    make_small(tmp_path)
    assert "#" not in (tmp_path / "out/job.yaml").read_text()


@pytest.mark.slow
def test_the_kept_job_goes_on_while_the_weights_are_here_and_else_says_what_is_missing(
    tmp_path, server, monkeypatch
):
    before = make_small(tmp_path, {"dataset.generator": signed(server)})
    monkeypatch.chdir(tmp_path)
    kept = load_job(tmp_path / "out/job.yaml")
    assert run_job(kept, Witness()) == before
    shutil.rmtree(cache_folder("downloads"))
    with pytest.raises(WeightsError, match="needs a query or a password, give it whole") as caught:
        run_job(kept, Witness())
    assert SECRET not in str(caught.value)
    (tmp_path / "weights").write_bytes(CONTENT)
    text = (tmp_path / "out/job.yaml").read_text()
    address = f"https://127.0.0.1:{server.server_port}/signed"
    (tmp_path / "local.yaml").write_text(text.replace(address, str(tmp_path / "weights")))
    assert run_job(load_job(tmp_path / "local.yaml"), Witness()) == before


def test_settings_of_plugins_are_kept_without_secrets_and_are_the_same_dataset(tmp_path):
    def identity(query):
        settings = {"model": f"https://host/m{query}", "list": [f"s3://b/k{query}"]}
        section = {"kind": "somewhere:Thing", "settings": settings}
        spec = small_job(tmp_path, {"dataset.segmenter": section})
        return make_identity(spec, weights_sha256="", segmenter_sha256="")

    assert SECRET not in str(identity(f"?key={SECRET}"))
    assert identity(f"?key={SECRET}") == identity("")


def test_the_reasons_of_failures_hold_no_secret(tmp_path, capfd):
    generator = {"kind": f"{__name__}:Telltale"}
    with pytest.raises(IncompleteError, match="cannot ask https://host/x") as caught:
        run_job(small_job(tmp_path, {"dataset.generator": generator}), Witness())
    assert SECRET not in str(caught.value)
    assert list((tmp_path / "out/quarantine").rglob("*.json"))
    assert files_with(SECRET, tmp_path) == []
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "uri", [f"s3://id:{SECRET}@bucket/x", f"s3://bucket/x?secret={SECRET}", f"gs://b/x?k={SECRET}"]
)
@pytest.mark.parametrize("command", ["plan", "run", "doctor", "status", "verify"])
def test_no_command_tells_the_secrets_of_an_output(tmp_path, uri, command):
    job = tmp_path / "job.yaml"
    job.write_text(
        "name: t\ndataset: {num_samples: 4, generator: {kind: shapes}, segmenter: {kind: kmeans}}\n"
        f"run: {{executor: inline}}\noutput: {{uri: '{uri}'}}\n"
    )
    result = CliRunner().invoke(app, [command, str(job)])
    assert result.exit_code
    assert SECRET not in result.output
    assert "output.uri: found" in result.output


def test_settings_that_are_refused_are_shown_without_secrets(tmp_path):
    with pytest.raises(JobError) as caught:
        small_job(
            tmp_path, {"dataset.generator": {"kind": 3, "weights": [f"https://h?k={SECRET}"]}}
        )
    assert SECRET not in str(caught.value)
