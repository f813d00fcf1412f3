"""Weights of any format in a job: converted once, checked, and told about."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_job import make_small
from typer.testing import CliRunner

from factory.cli.app import app
from factory.errors import JobError, WeightsError
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.generate.numerics import to_bytes
from factory.generate.weights.find import find_weights, read_weights
from factory.pack.image import decode_image
from factory.pack.tar import read_members
from factory.spec import GeneratorSpec, LatentsSpec
from factory.store.cache import cache_folder

PARITY = Path(__file__).parents[2] / "golden" / "parity"
PICKLE = PARITY / "sg2ada_u64_scrubbed_p3.pkl"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def spec_of(path: Path, kind: str = "stylegan2") -> GeneratorSpec:
    return GeneratorSpec(kind=kind, weights=str(path))


def test_a_pickle_is_converted_once_and_then_comes_from_the_cache() -> None:
    first = find_weights(spec_of(PICKLE))
    assert first.path is not None
    assert first.path.parent == cache_folder("weights")
    assert first.sha256 in first.path.name
    made = first.path.stat().st_mtime_ns
    assert find_weights(spec_of(PICKLE)) == first
    assert first.path.stat().st_mtime_ns == made


@pytest.mark.slow
def test_a_damaged_conversion_is_made_again() -> None:
    path = find_weights(spec_of(PICKLE)).path
    assert path is not None
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    find_weights(spec_of(PICKLE))
    assert path.read_bytes() == good


def test_what_states_its_family_is_used_as_it_is() -> None:
    found = find_weights(GeneratorSpec(kind="stylegan2", weights="shipped:blood_cells"))
    assert found.path is not None
    assert found.path.name == "blood_cells_64.safetensors"


def test_weights_of_another_family_are_refused_with_the_right_kind() -> None:
    with pytest.raises(WeightsError) as caught:
        find_weights(spec_of(PARITY / "sg3t_64_scrubbed_p4.pkl"))
    assert str(caught.value) == (
        "dataset.generator.kind: found 'stylegan2', but "
        f"{PARITY / 'sg3t_64_scrubbed_p4.pkl'} holds a stylegan3; set kind: stylegan3"
    )


def test_a_plugin_of_ones_own_gets_the_file_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"whatever")
    assert find_weights(spec_of(tmp_path / "odd", "my:Own")).path == tmp_path / "odd"


def test_a_hostile_file_is_refused_by_name(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pkl"
    bad.write_bytes(b"\x80\x04cos\nsystem\n\x8c\x04true\x85R.")
    with pytest.raises(WeightsError, match=r"bad\.pkl.*os\.system"):
        find_weights(spec_of(bad))


def test_the_folder_of_a_model_has_a_digest_that_names_its_files(tmp_path: Path) -> None:
    case = "biggan_deep_hf_64_t04"
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(PARITY / f"{case}.safetensors", folder / "model.safetensors")
    config = json.loads((PARITY / f"{case}.json").read_text())["config"]
    (folder / "config.json").write_text(json.dumps(config))
    found = find_weights(spec_of(folder, "biggan_deep_hf"))
    assert found.path is not None
    assert read_weights(found.path).metadata["family"] == "biggan_deep_hf"
    (folder / "config.json").write_text(json.dumps(config) + "\n")
    assert find_weights(spec_of(folder, "biggan_deep_hf")).sha256 != found.sha256


@pytest.mark.slow
def test_inspect_tells_all_and_convert_keeps_all(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["inspect", "--json", str(PICKLE)])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert (found["family"], found["resolution"]) == ("stylegan2", 64)
    assert found["layers"][-1] == {
        "name": "b64.conv1",
        "channels": 16,
        "height": 64,
        "width": 64,
    }
    assert len(found["source_sha256"]) == 64
    out = tmp_path / "converted.safetensors"
    run = CliRunner().invoke(app, ["convert", str(PICKLE), "-o", str(out)])
    assert run.exit_code == 0, run.output
    again = json.loads(CliRunner().invoke(app, ["inspect", "--json", str(out)]).stdout)
    for name in ("family", "layers", "num_parameters", "source_sha256"):
        assert again[name] == found[name]
    text = CliRunner().invoke(app, ["inspect", str(out)]).stdout
    assert "image       64 x 64 px" in text
    assert "layer       b64.conv1       16 x 64 x 64" in text


def test_inspect_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<html>Sign in</html>")
    run = CliRunner().invoke(app, ["inspect", str(tmp_path / "page")])
    assert run.exit_code == 2
    assert "Traceback" not in run.output


def test_an_nvidia_seed_gives_nvidia_s_latent() -> None:
    spec = spec_of(PICKLE)
    generator = load_generator(spec, find_weights(spec).path, device=CPU)
    sampler = LatentSampler(generator, LatentsSpec(seed=85, draw="nvidia_seed"), spec)
    expected = np.random.RandomState(87).randn(1, 64)[0].astype(np.float32)
    assert np.array_equal(sampler.draw([2]).z[0], expected)


def test_a_family_without_nvidia_seeds_says_so() -> None:
    spec = GeneratorSpec(kind="shapes")
    generator = load_generator(spec, None, device=CPU)
    with pytest.raises(JobError, match=r"dataset\.latents\.draw: found 'nvidia_seed', but shapes"):
        LatentSampler(generator, LatentsSpec(draw="nvidia_seed"), spec)


def test_seeds_beyond_nvidia_s_are_refused() -> None:
    spec = spec_of(PICKLE)
    generator = load_generator(spec, find_weights(spec).path, device=CPU)
    latents = LatentsSpec(seed=2**32 - 1, draw="nvidia_seed")
    sampler = LatentSampler(generator, latents, spec)
    assert len(sampler.draw([0]).z) == 1
    with pytest.raises(JobError, match=r"NVIDIA's seeds end at 4294967295, sample 1 would need"):
        sampler.draw([1])


@pytest.mark.slow
def test_a_whole_job_runs_on_a_pickle_with_nvidia_s_seeds(tmp_path: Path) -> None:
    """The image of sample i is what NVIDIA's tool makes of seed `seed + i`, psi 0.7."""
    job = {
        "dataset.num_samples": 3,
        "dataset.batch_size": 2,
        "dataset.generator": {"kind": "stylegan2", "weights": str(PICKLE)},
        "dataset.latents": {"draw": "nvidia_seed", "seed": 10, "truncation_psi": 0.7},
        "dataset.segmenter.layers": ["b64.conv1"],
    }
    make_small(tmp_path, job)
    spec = spec_of(PICKLE)
    network = load_generator(spec, find_weights(spec).path, device=CPU).network
    z = torch.from_numpy(np.random.RandomState(12).randn(1, 64)).float()
    with torch.inference_mode():
        image, _ = network.synthesise(network.styles(z, None, psi=0.7), network.const_noise())
    expected = to_bytes(image)[0].numpy()
    shard = next((tmp_path / "out" / "data" / "train").glob("*.tar"))
    made = decode_image(dict(read_members(shard))["000000002.image.png"])
    assert np.abs(made.astype(int) - expected.astype(int)).max() <= 1
