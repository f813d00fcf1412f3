"""TensorFlow's StyleGAN2 variables get NVIDIA's names, and the third network is the averaged one."""

import numpy as np
import pytest
import torch

from factory.checkpoint.families.tensorflow import is_tensorflow, map_tensorflow, source_of
from factory.checkpoint.pickles.nodes import Array, ByteRange, DType, Kind, PickledObject, Token
from factory.checkpoint.pickles.source import Budget, Stream
from factory.errors import UnknownGeneratorError, WeightsError

NETWORK = Token("dnnlib.tflib.network", "Network", Kind.INSTANCE)


def array(values):
    values = np.asarray(values, dtype=np.float32)
    data = values.tobytes()
    stream = Stream(memoryview(data), "x.pkl")
    return Array(values.shape, DType("f4"), data=ByteRange(stream, 0, len(data)))


def network(variables, components=None, **state):
    pairs = [(name, array(value)) for name, value in variables.items()]
    inside = PickledObject(NETWORK, items=components or {})
    return PickledObject(NETWORK, state={"variables": pairs, "components": inside} | state)


def generator(mapping=None, synthesis=None, **state):
    rng = np.random.default_rng(0)
    conv = rng.normal(size=(3, 3, 2, 5))
    plain = {
        "4x4/Const/const": rng.normal(size=(1, 2, 4, 4)),
        "4x4/Conv/weight": conv,
        "4x4/Conv/mod_weight": rng.normal(size=(7, 2)),
        "4x4/Conv/mod_bias": [0.0, 1.0],
        "8x8/Conv0_up/weight": conv,
        "noise0": rng.normal(size=(1, 1, 4, 4)),
        "noise1": rng.normal(size=(1, 1, 8, 8)),
    }
    parts = {
        "mapping": network({"Dense0/weight": rng.normal(size=(3, 7))} | (mapping or {})),
        "synthesis": network(plain | (synthesis or {})),
    }
    return network({"dlatent_avg": [1.0, 2.0]}, parts, **state), conv


def convert(third):
    trained = network({})
    return map_tensorflow((trained, trained, third), Budget("x.pkl", 2**20))


def test_three_networks_in_a_tuple_are_tensorflow_s():
    net = network({})
    assert is_tensorflow((net, net, net))
    other = PickledObject(Token("argparse", "Namespace", Kind.INSTANCE))
    for found in ((net, net), [net, net, net], (net, net, other), {"G": net}):
        assert not is_tensorflow(found)


def test_variables_are_named_and_turned_as_pytorch_has_them():
    net, conv = generator()
    tensors, _, _ = convert(net)
    conv1, conv0 = tensors["synthesis.b4.conv1.weight"], tensors["synthesis.b8.conv0.weight"]
    assert np.allclose(conv1, conv.transpose(3, 2, 0, 1))
    assert np.allclose(conv0, conv[::-1, ::-1].transpose(3, 2, 0, 1)), (
        "upsampling kernels are flipped"
    )
    assert tensors["synthesis.b4.conv1.affine.weight"].shape == (2, 7)
    assert tensors["synthesis.b4.conv1.affine.bias"].tolist() == [1, 2], "stored minus one"
    assert tensors["mapping.fc0.weight"].shape == (7, 3)
    assert tensors["mapping.w_avg"].tolist() == [1, 2]
    assert tensors["synthesis.b4.const"].shape == (2, 4, 4)
    assert tensors["synthesis.b4.conv1.noise_const"].shape == (4, 4)
    assert tensors["synthesis.b8.conv0.noise_const"].shape == (8, 8)


def test_filters_are_the_kernel_s_outer_product():
    net, _ = generator(static_kwargs={"resample_kernel": [1, 1]})
    tensors, _, _ = convert(net)
    for owner in ("synthesis.b4.conv1", "synthesis.b4", "synthesis.b8.conv0"):
        assert torch.equal(tensors[f"{owner}.resample_filter"], torch.full((2, 2), 0.25))


def test_settings_are_read_and_those_that_are_unknown_are_noted():
    given = {"mapping_lrmul": 0.1, "fmap_base": 8192, "conv_clamp": 256, "colour_of_the_sky": 1}
    _, kwargs, notes = convert(generator(static_kwargs=given)[0])
    assert kwargs["mapping_kwargs"] == {"lr_multiplier": 0.1}
    assert kwargs["synthesis_kwargs"]["channel_base"] == 16384
    assert kwargs["synthesis_kwargs"]["conv_clamp"] == 256
    assert notes[1] == "ignored TensorFlow settings: colour_of_the_sky"
    assert len(convert(generator()[0])[2]) == 1


def test_classes_before_ada_have_no_bias_and_are_normalised_with_the_latent():
    labels = np.ones((4, 3))
    tensors, kwargs, _ = convert(generator({"LabelConcat/weight": labels})[0])
    assert tensors["mapping.embed.weight"].tolist() == [[2.0] * 4] * 3
    assert tensors["mapping.embed.bias"].tolist() == [0, 0, 0]
    assert kwargs["mapping_kwargs"]["joint_norm"] is True


def test_another_network_is_told_with_the_way_to_convert_it():
    with pytest.raises(UnknownGeneratorError, match=r"no StyleGAN2 \(first variable 'lod'\)"):
        convert(network({"lod": 0.0}))


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"4x4/Conv/mystery": [1.0]}, "variable 'synthesis/4x4/Conv/mystery'"),
        ({"4x4/Conv/bias": [[1.0]]}, r"'synthesis/4x4/Conv/bias' with shape \(1, 1\)"),
        ({"8x4/Conv/bias": [1.0]}, "variable 'synthesis/8x4/Conv/bias'"),
    ],
)
def test_a_variable_that_stylegan2_does_not_have_is_named(changed, found):
    with pytest.raises(WeightsError, match=found):
        convert(generator(synthesis=changed)[0])


@pytest.mark.parametrize("kernel", [[0, 0], ["a"], [1] * 65, [1e9]])
def test_a_kernel_that_is_none_is_refused(kernel):
    with pytest.raises(WeightsError, match="resample_kernel"):
        convert(generator(static_kwargs={"resample_kernel": kernel})[0])


def test_the_source_text_is_the_third_network_s():
    net = network({}, build_module_src="# text")
    assert source_of((network({}), network({}), net)) == "# text"
    assert source_of((net, net, network({}, build_module_src=3))) == ""
