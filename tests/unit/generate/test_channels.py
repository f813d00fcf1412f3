"""Grey, RGB and RGB with alpha go through the whole pipeline; any other number is refused at once."""

import io
import json

import numpy as np
import pytest
import torch
from families import CPU
from PIL import Image
from safetensors.torch import save_file
from small_job import make_small, small_document, small_job
from typer.testing import CliRunner
from variants import of_family, rgba_of_blood_cells, stylegan2

from factory.checkpoint import read_checkpoint, write_safetensors
from factory.cli.app import app
from factory.dataset.reader import open_dataset
from factory.errors import JobError, WeightsError
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.generate.numerics import colours_on_white, flatten_on_white, make_image_batch
from factory.pack import image as pack_image
from factory.pack.image import decode_image, decode_rgba, encode_image
from factory.pack.tar import read_members
from factory.run.estimate import estimate_job
from factory.serve.samples import SampleReader
from factory.serve.view import DatasetView
from factory.spec import EncodeSpec, GeneratorSpec, LatentsSpec
from factory.store import open_store
from factory.streaming import stream


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def job_of(weights, kind="stylegan2", **overrides):
    return {"dataset.generator": {"kind": kind, "weights": str(weights)}, **overrides}


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 5, 6])
@pytest.mark.parametrize("kind", ["stylegan2", "stylegan2-rosinality", "stylegan1", "dcgan"])
def test_other_numbers_of_channels_are_refused_in_one_line_by_every_command(kind, count, tmp_path):
    family, _, layout = kind.partition("-")
    case = "sg2ada_u64_psi1" if layout else "sg2ada_u32_orig_clamp"
    variant = stylegan2(count, case, layout) if family == "stylegan2" else of_family(kind, count)
    weights, job = tmp_path / "odd.pt", tmp_path / "job.yaml"
    torch.save(variant.content, weights)
    job.write_text(json.dumps(small_document(tmp_path, job_of(weights, family))))
    for words in (["inspect", weights], ["plan", job], ["run", job],
                  ["convert", weights, "-o", tmp_path / "x.safetensors"]):  # fmt: skip
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 2, (words, result.output)
        (line,) = [line for line in result.output.splitlines() if " info " not in line]
        assert f"odd.pt: its images have {count} channels; 1 (grey), 3 (RGB), 4 (RGB and" in line
    assert not (tmp_path / "x.safetensors").exists()
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_converted_file_whose_settings_lie_about_its_channels_is_refused(tmp_path):
    tensors = dict(stylegan2(2).content)
    kwargs = {"img_channels": 3, "mapping_kwargs": {}, "synthesis_kwargs": {}}
    metadata = {"family": "stylegan2", "kwargs": json.dumps(kwargs)}
    save_file(tensors, tmp_path / "x.safetensors", metadata)
    spec = GeneratorSpec(kind="stylegan2", weights=str(tmp_path / "x.safetensors"))
    with pytest.raises(WeightsError, match=r"weights: its images have 2 channels"):
        load_generator(spec, tmp_path / "x.safetensors", device=CPU)
    with pytest.raises(WeightsError, match="its images have 2 channels"):
        make_small(tmp_path, job_of(tmp_path / "x.safetensors"))


def test_laying_on_white_is_the_same_where_images_are_made_and_where_they_are_read():
    colours, alpha = np.meshgrid(np.arange(256), np.arange(256))
    pixels = np.stack([colours, 255 - colours, colours, alpha], axis=-1).astype(np.uint8)
    read = pack_image.flatten_on_white(pixels)
    assert np.array_equal(flatten_on_white(torch.from_numpy(pixels)[None])[0].numpy(), read)
    exact = colours * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(read[..., 0] - exact).max() <= 0.5 + 1e-9
    assert np.array_equal(read[255], pixels[255, :, :3])
    assert (read[0] == 255).all()


@pytest.mark.parametrize("spec", [EncodeSpec(), EncodeSpec(png_level=6), EncodeSpec(image="webp")])
def test_colours_under_transparent_pixels_are_kept(spec):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    pixels[:5, :, 3] = 0
    data = encode_image(pixels, spec)
    assert np.array_equal(decode_rgba(data), pixels)
    assert np.array_equal(decode_image(data), pack_image.flatten_on_white(pixels))
    assert decode_rgba(encode_image(pixels[..., :3].copy(), spec)) is None
    with Image.open(io.BytesIO(data)) as picture:  # the library agrees
        assert picture.mode == "RGBA"
        assert np.array_equal(np.asarray(picture), pixels)


def test_grey_is_repeated_and_alpha_laid_on_white_before_the_segmenter_sees_it():
    grey = make_image_batch(torch.tensor([[[[7]]]], dtype=torch.uint8), {})
    assert grey.images.flatten().tolist() == [7, 7, 7]
    assert grey.rgba is None
    clear = torch.tensor(
        [[[[10, 20, 30, 0], [10, 20, 30, 255], [10, 20, 30, 51]]]], dtype=torch.uint8
    )
    batch = make_image_batch(clear, {})
    assert batch.images[0, 0].tolist() == [[255] * 3, [10, 20, 30], [206, 208, 210]]
    assert torch.equal(batch.rgba, clear)
    raw = torch.tensor([-1.0, 0.5, 1.0, 0.0])[None, :, None, None]
    assert colours_on_white(raw).flatten().tolist() == [0.0, 0.75, 1.0]
    assert colours_on_white(raw[:, :1]).flatten().tolist() == [-1.0] * 3


@pytest.mark.parametrize("kind", ["stylegan1", "stylegan3", "stylegan2"])
def test_mixed_styles_of_images_with_alpha_lie_on_white(kind, tmp_path):
    variant = stylegan2(4) if kind == "stylegan2" else of_family(kind, 4)
    torch.save(variant.content, tmp_path / "x.pt")
    write_safetensors(read_checkpoint(tmp_path / "x.pt", settings=variant.settings), tmp_path / "x")
    spec = GeneratorSpec(kind=kind)
    generator = load_generator(spec, tmp_path / "x", device=CPU)
    latents = LatentSampler(generator, LatentsSpec(seed=4), spec).draw([0])
    with torch.inference_mode():
        batch = generator.generate(latents, ())
        start = generator.facts.styles.layers[0]
        mixed = generator.mix(latents, latents, start, generator.facts.resolution)
    as_bytes = ((mixed * 127.5 + 128).clamp(0, 255)).to(torch.uint8).permute(0, 2, 3, 1)
    # clamped before or after they are laid on white: only colours within their range are equal
    inside = ((batch.rgba > 0) & (batch.rgba < 255)).all(dim=-1)
    assert inside.sum() > 5
    assert (as_bytes.int() - batch.images.int())[inside].abs().max() <= 2


@pytest.mark.slow
def test_a_format_without_alpha_is_refused_by_plan_and_run_before_anything_is_made(tmp_path):
    torch.save(stylegan2(4).content, tmp_path / "x.pt")
    overrides = job_of(tmp_path / "x.pt", **{"dataset.encode": {"image": "jpeg"}})
    message = "dataset.encode.image: found 'jpeg', but the generator's images have alpha"
    for command in (estimate_job, lambda job: make_small(tmp_path, overrides), stream):
        with pytest.raises(JobError) as caught:
            command(small_job(tmp_path, overrides))
        assert str(caught.value).startswith(message), str(caught.value)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Blood cells on a transparent ground, with objects."""
    folder = tmp_path_factory.mktemp("alpha")
    rgba_of_blood_cells(folder / "cells.safetensors")
    segmenter = {"kind": "style_mixing", "num_variants": 6, "stop_px": 64,
                 "instances": {"class_names": ["cell"], "min_px": 8}}  # fmt: skip
    overrides = {"dataset.segmenter": segmenter, "dataset.num_samples": 4,
                 "dataset.samples_per_shard": 4, "dataset.oversample": 4}  # fmt: skip
    make_small(folder, job_of(folder / "cells.safetensors", **overrides))
    return folder


def stored_rgba(folder):
    files = dict(read_members(folder / "out/data/train/tiny-000000.tar"))
    return {name[:9]: decode_rgba(data) for name, data in files.items() if "image.png" in name}


@pytest.mark.slow
def test_what_reads_images_with_alpha_gets_them_on_white(cells, tmp_path):
    stored = stored_rgba(cells)
    for picture in stored.values():
        assert picture[..., 3].min() < 40
        assert picture[..., 3].max() > 215
    flat = {key: pack_image.flatten_on_white(picture) for key, picture in stored.items()}
    dataset = open_dataset(cells / "out")
    assert {sample.key for sample in dataset} == flat.keys()
    for sample in dataset:
        assert np.array_equal(sample.image, flat[sample.key])
    view = DatasetView(open_store(str(cells / "out")))
    snapshot, key = view.snapshot(), min(flat)
    served = SampleReader(open_store(str(cells / "out"))).picture(snapshot, key, "image")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(served))), flat[key])
    result = CliRunner().invoke(
        app, ["export", "coco", str(cells / "out"), "-o", str(tmp_path / "coco")]
    )
    assert result.exit_code == 0, result.output
    for key, picture in flat.items():
        with Image.open(tmp_path / f"coco/images/{key}.png") as exported:
            assert (exported.mode, exported.size) == ("RGB", (64, 64))
            assert np.array_equal(np.asarray(exported), picture)
    preview = ["preview", "-o", str(tmp_path / "preview.png")]
    for words in (["verify", "--deep", "--regenerate", "2"], preview):
        result = CliRunner().invoke(app, [*words, str(cells / "out")])
        assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_a_stream_gives_the_pixels_that_a_dataset_with_alpha_gives_back(cells, tmp_path):
    overrides = job_of(cells / "cells.safetensors")
    make_small(tmp_path, overrides)
    written = {sample.key: sample.image for sample in open_dataset(tmp_path / "out")}
    streamed = list(stream(small_job(tmp_path, overrides), num_samples=5, progress=False))
    assert len(streamed) == 5
    for pair in streamed:
        assert np.array_equal(np.moveaxis(np.asarray(pair["image"]), 0, -1), written[pair["key"]])
