"""The template that `inspect` prints for an unknown network becomes a plugin when it is filled in."""

import json
import sys

import pytest
import torch
from families import CPU, GOLDEN
from safetensors.torch import load_file, save_file
from small_job import make_small, small_document
from typer.testing import CliRunner

from factory.checkpoint import TensorFacts
from factory.cli.app import app
from factory.errors import JobError, PluginError, WeightsError
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.generate.template import plugin_template
from factory.spec import GeneratorSpec, LatentsSpec

WEIGHTS = GOLDEN / "generators" / "anime_dcgan64.safetensors"
ANIME = "anime_dcgan:AnimeDCGAN"
MINE = "my_generator:MyGenerator"
SETTINGS = {
    "RESOLUTION = 0": "RESOLUTION = 64",
    "Z_DIM = 0": "Z_DIM = 128",
    "    # FILL IN: the feature maps": '    f"up.{i}": LayerShape(c, 8 << i, 8 << i)\n'
    "    for i, c in enumerate([64, 64, 32, 32])\n    # the feature maps",
}
FORWARD = """
        x = functional.linear(z, w["fc.weight"], w["fc.bias"]).reshape(len(z), 4, 4, -1)
        x, features = x.permute(0, 3, 1, 2), {}
        for i in range(4):
            x = functional.relu(functional.conv_transpose2d(
                x, w[f"up.{i}.weight"], w[f"up.{i}.bias"], stride=2, padding=1))
            p = {part: w[f"bn.{i}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")}
            x = features[f"up.{i}"] = functional.batch_norm(x, *p.values(), eps=1e-3)
        x = functional.conv_transpose2d(x, w["out.weight"], w["out.bias"])[:, :, 1:65, 1:65]
        return torch.sigmoid(x) * 2 - 1, features
"""
UNFILLED = '        raise PluginError("my_generator.py: _synthesise is not filled in yet")\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(GOLDEN.parent / "plugins"))
    yield tmp_path
    sys.modules.pop("my_generator", None)


def inspected(path) -> tuple[str, str]:
    """What is printed of a network of no known family, and the error."""
    result = CliRunner().invoke(app, ["inspect", str(path)])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    return result.stdout, result.stderr


def load(kind):
    return load_generator(GeneratorSpec(kind=kind, weights=str(WEIGHTS)), WEIGHTS, device=CPU)


def test_the_tensors_are_listed_and_the_error_names_the_template(folder):
    printed, error = inspected(WEIGHTS)
    for name, tensor in load_file(WEIGHTS).items():
        (line,) = [line for line in printed.splitlines() if line.startswith(f"    {name} ")]
        kind = str(tensor.dtype).removeprefix("torch.")
        shape = " x ".join(map(str, tensor.shape)) or "one number"
        assert line.split()[1:] == [kind, *shape.split()]
    assert f"It has {len(load_file(WEIGHTS))} tensors" in printed
    assert "`factory inspect` lists its tensors and prints a template" in error
    compile(printed, "my_generator.py", "exec")


def test_as_json_both_are_fields_and_the_error_is_too(folder):
    result = CliRunner().invoke(app, ["inspect", "--json", str(WEIGHTS)])
    assert result.exit_code == 2
    printed = json.loads(result.stdout)
    assert printed["num_tensors"] == len(load_file(WEIGHTS))
    assert {"name": "fc.weight", "dtype": "float32", "shape": [2048, 128]} in printed["tensors"]
    assert printed["template"] == inspected(WEIGHTS)[0].rstrip("\n") + "\n"
    assert json.loads(result.stderr)["error"] == "UnknownGeneratorError"


def test_unfilled_it_says_in_one_line_what_is_missing(folder):
    text, _ = inspected(WEIGHTS)
    (folder / "my_generator.py").write_text(text)
    generator = {"dataset.generator": {"kind": MINE, "weights": str(WEIGHTS)}}
    (folder / "job.yaml").write_text(json.dumps(small_document(folder, generator)))
    result = CliRunner().invoke(app, ["run", str(folder / "job.yaml")])
    assert (result.exit_code, "Traceback" in result.output) == (3, False)
    assert "RESOLUTION, Z_DIM or LAYERS are not filled in yet" in result.stderr
    sys.modules.pop("my_generator")
    for empty, filled in SETTINGS.items():
        assert empty in text
        text = text.replace(empty, filled)
    (folder / "my_generator.py").write_text(text)
    plugin = load(MINE)
    latents = LatentSampler(plugin, LatentsSpec(), GeneratorSpec(kind=MINE)).draw([0])
    with pytest.raises(PluginError, match="_synthesise is not filled in yet"):
        plugin.generate(latents, ())


@pytest.mark.slow
def test_filled_in_it_is_a_plugin_that_makes_the_network_s_images(folder):
    text, _ = inspected(WEIGHTS)
    for empty, filled in {**SETTINGS, UNFILLED: FORWARD}.items():
        assert empty in text
        text = text.replace(empty, filled)
    (folder / "my_generator.py").write_text(text)
    mine, reference = load(MINE), load(ANIME)
    assert mine.facts.layers == reference.facts.layers
    latents = LatentSampler(mine, LatentsSpec(seed=2, truncation_psi=0.8), GeneratorSpec(kind=MINE))
    batch = latents.draw(range(3))
    ours = mine.generate(batch, ["up.1", "up.3"])
    theirs = reference.generate(batch, ["up.1", "up.3"])
    assert (ours.images.int() - theirs.images.int()).abs().max() <= 1
    for name, maps in theirs.features.items():
        torch.testing.assert_close(ours.features[name], maps, atol=1e-4, rtol=1e-4)
    manifest = make_small(folder, {"dataset.generator": {"kind": MINE, "weights": str(WEIGHTS)}})
    assert manifest.num_samples == 13
    for kind in ("float16", "bfloat16"):
        spec = GeneratorSpec(kind=MINE, weights=str(WEIGHTS), precision=kind)
        with pytest.raises(JobError, match=r"dataset\.generator\.precision: found"):
            load_generator(spec, WEIGHTS, device=CPU)
    with pytest.raises(WeightsError, match="missing"):
        load_generator(GeneratorSpec(kind=MINE), None, device=CPU)


def test_names_of_a_hostile_file_stay_text(folder, monkeypatch):
    names = [
        'a"""\nimport os\nos.mkdir("RAN")\n"""',
        "\x1b]0;title\x07red",
        "b\\",
        "\u202egnp",
        "@UNDER@",
    ]
    tensors = {f"net.{name}": torch.zeros(2, 2) for name in names}
    path = folder / 'x"""@UNDER@.pt'
    torch.save(tensors, path)
    printed, error = inspected(path)
    assert all(character.isprintable() or character == "\n" for character in printed + error)
    assert "UNDER = 'net.'" in printed
    monkeypatch.chdir(folder)
    exec(compile(printed, "x", "exec"), {"__name__": "x"})
    assert not (folder / "RAN").exists()


def test_of_very_many_tensors_the_first_are_named_and_all_are_counted(folder):
    save_file({f"n.{i:04}": torch.zeros(1) for i in range(1000)}, folder / "x.safetensors")
    printed, error = inspected(folder / "x.safetensors")
    assert "n.0039" in printed
    assert "n.0040" not in printed + error
    assert "... and 960 more" in printed
    assert "It has 1,000 tensors" in printed


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["a.b.c", "a.b.d"], "a.b."),
        (["a.b", "c"], ""),
        (["a.bc", "a.bd"], "a."),
        (["x"], ""),
        ([], ""),
    ],
)
def test_what_all_names_begin_with_is_found(names, prefix):
    text = plugin_template("x", [TensorFacts(name, "float32", (1,)) for name in names])
    assert f"UNDER = {prefix!r} " in text
