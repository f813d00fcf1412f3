import json
from pathlib import Path

import numpy as np
import pytest
import torch
from contract.test_generators import build, draw
from plugins.mixing_plugins import OddBox
from safetensors.torch import save_file
from small_job import small_job

from factory.errors import JobError, PluginError
from factory.fit.fitted import fit_segmenter
from factory.generate.base import load_generator
from factory.generate.weights.find import find_weights
from factory.identity import digest_of_file
from factory.run.calibrate import calibrate
from factory.segment.base import RenderingSegmenter, generate_and_segment, load_segmenter
from factory.segment.objects.instances import NO_INSTANCE
from factory.segment.style_mixing.divide import ONE_CLASS
from factory.segment.style_mixing.foreground import TOO_SMALL
from factory.spec import GeneratorSpec, StyleMixingSpec

CPU = torch.device("cpu")


def mixing(generator, fitted=None, **settings):
    spec = StyleMixingSpec(kind="style_mixing", **settings)
    return load_segmenter(spec, fitted, generator.facts, CPU)


def masks_of(generator, segmenter, indices):
    with torch.inference_mode():
        return generate_and_segment(generator, segmenter, draw(generator, indices))[1]


@pytest.fixture(scope="module")
def toy():
    return build("shapes")


@pytest.fixture(scope="module")
def cells():
    return build("stylegan2")


def iou(found, truth):
    return float((found & truth).sum() / (found | truth).sum())


def exact(toy, indices):
    return toy.masks(draw(toy, indices))


def test_the_foreground_of_the_toy_is_what_its_exact_masks_say(toy):
    found = masks_of(toy, mixing(toy, stop_px=32), range(24))
    truth = exact(toy, range(24)) > 0
    kept = [i for i, word in enumerate(found.rejections) if not word]
    assert len(kept) >= 20
    ious = [iou(found.masks[i] == 1, truth[i]) for i in kept]
    assert np.mean(ious) > 0.9


def test_confidence_is_high_inside_and_low_where_masks_are_wrong(toy):
    found = masks_of(toy, mixing(toy, stop_px=8), range(16))
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    good = masks_of(toy, mixing(toy, stop_px=32), range(16))
    assert good.confidence.mean() > found.confidence.mean()


@pytest.mark.parametrize("kind", ["toy", "cells"])
@pytest.mark.parametrize("settings", [{}, {"instances": {}}])
def test_one_image_alone_has_the_mask_it_has_among_others(kind, settings, request):
    generator = request.getfixturevalue(kind)
    segmenter = mixing(generator, num_variants=8, **settings)
    whole = masks_of(generator, segmenter, [3, 4, 5, 6, 7, 7])
    for position, index in enumerate([3, 4, 5, 6, 7]):
        alone = masks_of(generator, segmenter, [index])
        assert nearly_equal(alone.masks[0], whole.masks[position])
        confidence = float(whole.confidence[position])
        assert float(alone.confidence[0]) == pytest.approx(confidence, abs=1e-4)
        assert alone.rejections[0] == whole.rejections[position]
    assert nearly_equal(whole.masks[4], whole.masks[5])


def nearly_equal(one, other):
    """How a convolution adds up depends on the batch and the CPU: its last digits differ."""
    return (one != other).float().mean() < 1e-3


def test_white_cells_are_foreground_and_red_ones_are_not(cells):
    with torch.inference_mode():
        batch, found = generate_and_segment(cells, mixing(cells), draw(cells, range(5)))
    for image, mask in zip(batch.images.float(), found.masks, strict=True):
        inside, outside = image[mask == 1], image[mask == 0]
        assert mask[28:36, 28:36].float().mean() > 0.9
        assert inside[:, 1].mean() < outside[:, 1].mean() - 40, "stain is dark in green"
        assert 0.05 < (mask == 1).float().mean() < 0.4


def test_auto_starts_and_stops_at_a_quarter_of_a_small_generator(cells):
    plan = mixing(cells)._mixing
    assert (plan.start, plan.stop_px, plan.side, plan.refine_px) == ("b16.conv1", 16, 16, 2)


def test_the_published_sizes_of_a_large_generator():
    from factory.generate.base import GeneratorFacts, LayerShape, StyleFacts
    from factory.segment.style_mixing.layers import resolve_mixing

    names = [
        (f"b{px}.conv{i}", px) for px in (4, 8, 16, 32, 64, 128, 256, 512, 1024) for i in (0, 1)
    ]
    layers = {name: LayerShape(8, px, px) for name, px in names}
    sides = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
    spec = StyleMixingSpec(kind="style_mixing")
    skip = GeneratorFacts(1024, 0, (), layers, styles=StyleFacts(tuple(layers)[1:], sides))
    plan = resolve_mixing(spec, skip)
    assert (plan.start, plan.stop_px, plan.side, plan.refine_px) == ("b64.conv1", 128, 128, 4)
    whole = GeneratorFacts(1024, 0, (), layers, styles=StyleFacts(tuple(layers)[1:], (1024,)))
    plan = resolve_mixing(spec, whole)
    assert (plan.stop_px, plan.side) == (1024, 128)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"start": "b7.conv0"},
            "dataset.segmenter.start: found 'b7.conv0'; allowed: auto, or one of b8.conv0, b8.conv1, "
            "b16.conv0, b16.conv1, b32.conv0, b32.conv1, b64.conv0, b64.conv1",
        ),
        (
            {"start": "b32.conv0", "stop_px": 16},
            "dataset.segmenter.stop_px: found 16; from b32.conv0 on this generator has colours at 32, "
            "64 px; use one of these or auto",
        ),
    ],
)
def test_a_setting_that_does_not_fit_the_generator_is_told_with_what_does(cells, settings, message):
    with pytest.raises(JobError) as caught:
        mixing(cells, **settings)
    assert str(caught.value) == message


def test_a_generator_without_styles_is_told_what_works_there(tmp_path):
    torch.manual_seed(0)
    tensors = {
        "main.0.weight": torch.randn(6, 8, 4, 4),
        "main.3.weight": torch.randn(8, 8, 4, 4),
        "main.6.weight": torch.randn(8, 3, 4, 4),
    }
    for place in (1, 4):
        tensors |= {
            f"main.{place}.weight": torch.ones(8),
            f"main.{place}.bias": torch.zeros(8),
            f"main.{place}.running_mean": torch.zeros(8),
            f"main.{place}.running_var": torch.ones(8),
        }
    path = tmp_path / "faces.safetensors"
    save_file(tensors, path)
    dcgan = load_generator(GeneratorSpec(kind="dcgan"), path, device=CPU)
    with pytest.raises(JobError) as caught:
        mixing(dcgan)
    assert str(caught.value) == (
        "dataset.segmenter.kind: found 'style_mixing', but this generator has no style per layer to "
        "mix; methods that work on it: direction, klish, kmeans, linear"
    )


def test_a_generator_that_states_styles_and_cannot_mix_is_a_plugin_error(toy):
    class Empty:
        facts = toy.facts
        draw_z = toy.draw_z
        generate = toy.generate

    with pytest.raises(
        PluginError, match=r"Empty has styles in its facts, but no method `mix`; add it"
    ):
        masks_of(Empty(), mixing(toy), [0])


def test_what_is_rejected_says_why(toy):
    found = masks_of(toy, mixing(toy, foreground={"share": (0.9, 1)}), range(3))
    assert found.rejections == (TOO_SMALL,) * 3
    nothing = masks_of(toy, mixing(toy, instances={"min_px": 1000}), range(3))
    assert set(nothing.rejections) == {NO_INSTANCE}


def test_more_variants_begin_with_the_same_ones(cells):
    with torch.inference_mode():
        few, many = (
            mixing(cells, num_variants=n)._variants(cells, draw(cells, [2])) for n in (3, 6)
        )
    assert torch.allclose(few, many[:3], atol=1e-4)


@pytest.mark.slow
def test_each_setting_of_the_method_has_an_effect(cells):
    base = masks_of(cells, mixing(cells), range(6))
    changes = [
        {"num_variants": 5},
        {"variant_psi": 1.5},
        {"start": "b8.conv0"},
        {"stop_px": 32},
        {"num_clusters": 3},
        {"refine_px": 0},
    ]
    for change in changes:
        other = masks_of(cells, mixing(cells, **change), range(6))
        assert not torch.equal(other.confidence, base.confidence), change


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Style mixing of the toy with classes that images share."""
    folder = tmp_path_factory.mktemp("shared")
    settings = {
        "kind": "style_mixing",
        "stop_px": 32,
        "classes": {"num_classes": 4, "num_images": 24},
    }
    dataset = small_job(folder, {"dataset.segmenter": settings}).dataset
    weights = find_weights(dataset.generator)
    path = folder / "segmenter.safetensors"
    path.write_bytes(fit_segmenter(dataset, weights, device=CPU, on_progress=lambda *_: None))
    return dataset.segmenter, path


def test_shared_classes_mean_the_same_in_every_image(toy, shared):
    spec, path = shared
    segmenter = load_segmenter(spec, path, toy.facts, CPU)
    assert [label.name for label in segmenter.labels] == [f"class_{i:02d}" for i in range(4)]
    found = masks_of(toy, segmenter, range(32)).masks
    truth = exact(toy, range(32))
    table = torch.bincount((truth * 4 + found).flatten(), minlength=16).view(4, 4).double()
    purity = table.amax(dim=0).sum() / table.sum()
    owners = table.argmax(dim=0).tolist()
    assert sorted(owners) == [0, 1, 2, 3]
    assert purity > 0.9


def test_shared_classes_must_be_fitted_first(toy, shared):
    with pytest.raises(JobError, match="not fitted yet; run `factory fit` first"):
        load_segmenter(shared[0], None, toy.facts, CPU)


def test_an_image_of_one_class_is_rejected(toy, shared, tmp_path):
    from factory.segment.segmenter_file import encode_segmenter, read_segmenter

    spec, path = shared
    tensors, facts = read_segmenter(path)
    far = {name: rows * 0 + 1e6 for name, rows in tensors.items()}
    far["prototypes"][0] = 0
    other = tmp_path / "one.safetensors"
    other.write_bytes(encode_segmenter(far, facts))
    found = masks_of(toy, load_segmenter(spec, other, toy.facts, CPU), [0])
    assert found.rejections == (ONE_CLASS,)


def test_more_classes_than_clusters_is_an_error_with_a_way_out(tmp_path):
    settings = {"kind": "style_mixing", "classes": {"num_classes": 20, "num_images": 2}}
    dataset = small_job(tmp_path, {"dataset.segmenter": settings}).dataset
    with pytest.raises(JobError) as caught:
        fit_segmenter(
            dataset, find_weights(dataset.generator), device=CPU, on_progress=lambda *_: None
        )
    assert str(caught.value) == (
        "dataset.segmenter.classes.num_classes: found 20, but 2 images have only 8 clusters; raise "
        "classes.num_images"
    )


def test_connected_instances_of_the_toy_are_its_square_and_its_disc(toy):
    segmenter = mixing(toy, stop_px=32, instances={"min_px": 20})
    assert isinstance(segmenter, RenderingSegmenter)
    found = masks_of(toy, segmenter, range(16))
    truth = exact(toy, range(16))
    apart = 0
    for one, exact_mask in zip(found.instances, truth, strict=True):
        assert one.ids.dtype == np.uint16
        assert len(one.num_px) == one.ids.max() == len(one.class_ids) == len(one.scores)
        for number, (left, top, right, bottom) in enumerate(one.boxes_xyxy, start=1):
            rows, columns = np.nonzero(one.ids == number)
            assert (left, top) == (columns.min(), rows.min())
            assert (right, bottom) == (columns.max() + 1, rows.max() + 1)
            assert one.num_px[number - 1] == len(rows) >= 20
        square, disc = (exact_mask == 1).numpy(), (exact_mask >= 2).numpy()
        owners = {np.bincount(one.ids[part]).argmax() for part in (square, disc) if part.any()}
        apart += len(owners) == 2 and 0 not in owners
    assert apart >= 4, "where square and disc do not touch they are two"


def test_a_detector_s_boxes_are_clustered_one_by_one(toy):
    instances = {
        "detector": "plugins.mixing_plugins:CentreBox",
        "class_names": ["thing", "middle"],
    }
    segmenter = mixing(toy, stop_px=32, instances=instances)
    found = masks_of(toy, segmenter, range(12))
    kept = [one for one in found.instances if one.class_ids]
    assert len(kept) >= 6
    for one, mask in zip(found.instances, found.masks, strict=True):
        assert np.array_equal(one.ids > 0, mask.numpy() == 1)
        if one.class_ids:
            assert one.class_ids == (1,)
            assert one.scores == (0.9,)
            left, top, right, bottom = one.boxes_xyxy[0]
            assert left >= 4
            assert top >= 4
            assert right <= 28
            assert bottom <= 28
    assert segmenter.instance_classes == ("thing", "middle")


def test_a_box_that_ends_inside_a_clustered_pixel_has_that_pixel_and_stays_a_box(toy):
    instances = {"detector": "plugins.mixing_plugins:OddBox"}
    found = masks_of(toy, mixing(toy, stop_px=8, refine_px=0, instances=instances), range(12))
    left, top, right, bottom = OddBox.BOX
    seen = torch.zeros(32, 32, dtype=torch.bool)
    for one, confidence in zip(found.instances, found.confidence_by_px, strict=True):
        if one.class_ids:
            judged = confidence < 1
            assert judged[4:28, 4:28].float().mean() > 0.9, "whole clustered pixels of 4 x 4 px"
            assert not judged[:4].any()
            assert not judged[28:].any()
            seen |= torch.from_numpy(one.ids > 0)
    assert seen[bottom - 1].any(), "its last row lies in a pixel that it shares with what is below"
    seen[top:bottom, left:right] = False
    assert not seen.any()


def test_boxes_of_nothing_reject_the_sample(toy):
    segmenter = mixing(toy, instances={"detector": "plugins.mixing_plugins:Nothing"})
    assert masks_of(toy, segmenter, [0]).rejections == (NO_INSTANCE,)


def test_a_class_without_a_name_is_told_with_what_to_do(toy):
    segmenter = mixing(toy, instances={"detector": "plugins.mixing_plugins:CentreBox"})
    with pytest.raises(JobError) as caught:
        masks_of(toy, segmenter, [0])
    assert str(caught.value) == (
        "dataset.segmenter.instances.class_names: the detector found class 1; there are names for 0 "
        "to 0: name every class, or set class_offset"
    )


def test_a_plugin_that_is_no_detector_is_refused(toy):
    with pytest.raises(PluginError, match=r"NoDetector is not a detector; it needs detect"):
        mixing(toy, instances={"detector": "plugins.mixing_plugins:NoDetector"})


def onnx_detector(path: Path, layout: str) -> str:
    """A network of constants: one box in the middle, in one of the layouts that tools export."""
    import onnx
    from onnx import TensorProto, helper

    def constant(name, array, kind):
        flat = np.asarray(array)
        tensor = helper.make_tensor(name + "_value", kind, flat.shape, flat.ravel().tolist())
        return helper.make_node("Constant", [], [name], value=tensor)

    box = [5.0, 5.0, 27.0, 27.0]
    parts = {
        "rows": [("rows", [[[*box, 0.8, 0.0], [0, 0, 4, 4, 0.1, 0.0]]], TensorProto.FLOAT)],
        "three": [
            ("boxes", [box], TensorProto.FLOAT),
            ("labels", [1], TensorProto.INT64),
            ("scores", [0.8], TensorProto.FLOAT),
        ],
        "strange": [("heat", [[0.5, 0.5]], TensorProto.FLOAT)],
    }[layout]
    nodes = [constant(*part) for part in parts]
    outputs = [
        helper.make_tensor_value_info(name, kind, np.asarray(value).shape)
        for name, value, kind in parts
    ]
    shape = [1, 3, 64, 64] if layout == "rows" else [1, 3, "h", "w"]
    if layout == "rows":  # a network of one input size: boxes are in its pixels
        parts[0][1][0][0][:4] = [10.0, 10.0, 54.0, 54.0]
        nodes = [constant(*part) for part in parts]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "detector", [image], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    return digest_of_file(path)


@pytest.mark.parametrize(("layout", "offset"), [("rows", 0), ("three", 1)])
def test_onnx_detectors_are_read_in_both_layouts(toy, tmp_path, layout, offset):
    digest = onnx_detector(tmp_path / "d.onnx", layout)
    instances = {
        "detector": str(tmp_path / "d.onnx"),
        "sha256": digest,
        "class_offset": offset,
    }
    segmenter = mixing(toy, stop_px=32, instances=instances)
    found = segmenter._detector.detect(np.zeros((32, 32, 3), np.uint8))
    assert found.boxes_xyxy[0].tolist() == [5, 5, 27, 27]
    kept = [one for one in masks_of(toy, segmenter, range(8)).instances if one.class_ids]
    assert kept
    assert all(one.class_ids == (0,) and one.scores == (0.8,) for one in kept)


def test_an_onnx_detector_must_be_the_one_the_job_means(toy, tmp_path):
    path = tmp_path / "d.onnx"
    instances = {"detector": str(path), "sha256": "0" * 64}
    with pytest.raises(JobError, match=r"detector: no file .*d\.onnx; paths are relative"):
        mixing(toy, instances=instances)
    digest = onnx_detector(path, "strange")
    with pytest.raises(JobError, match=f"has sha256 {digest}, the job says 0000"):
        mixing(toy, instances=instances)
    with pytest.raises(PluginError, match=r"gives float32\[1, 2\]; it needs boxes"):
        masks_of(toy, mixing(toy, instances=instances | {"sha256": digest}), [0])
    path.write_bytes(b"no network")
    with pytest.raises(JobError, match="is not an ONNX network"):
        mixing(toy, instances=instances | {"sha256": digest_of_file(path)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"instances": {"detector": "a.onnx"}}, "an .onnx detector decides bytes: add its sha256"),
        (
            {"instances": {}, "classes": {"num_classes": 3}},
            "instances are parts of the foreground: leave out `classes`",
        ),
        ({"foreground": {"share": [0.5, 0.1]}}, "the first share is the minimum"),
        ({"num_variant": 3}, "dataset.segmenter.num_variant: unknown key; did you mean"),
        (
            {"classes": {"num_clases": 3}},
            "dataset.segmenter.classes.num_clases: unknown key; did you mean 'num_classes'?",
        ),
    ],
)
def test_mistakes_in_the_job_are_told_by_name(tmp_path, settings, message):
    with pytest.raises(JobError) as caught:
        small_job(tmp_path, {"dataset.segmenter": {"kind": "style_mixing", **settings}})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "num_images"),
    [
        ({"kind": "style_mixing", "classes": {"num_classes": 3, "num_images": 1000}}, 1000),
        (
            {
                "kind": "distil",
                "samples": 1000,
                "teacher": {
                    "kind": "style_mixing",
                    "classes": {"num_classes": 3, "num_images": 1000},
                },
            },
            2000,
        ),
        ({"kind": "style_mixing"}, 0),
    ],
)
def test_a_dry_run_foresees_the_time_of_the_fit(tmp_path, settings, num_images):
    settings = json.loads(json.dumps(settings))
    mixer = settings.get("teacher", settings)
    mixer |= {"num_variants": 2}
    with torch.inference_mode():
        found = calibrate(small_job(tmp_path, {"dataset.segmenter": settings}))
    assert (found["fit_s"] > 0) == (num_images > 0)
