"""A DCGAN is a chain of convolutions; what no tensor shows is given, usual, or asked for."""

import pytest
import torch
from families import load_tensors

from factory.checkpoint.families.dcgan import kwargs_of_dcgan, renamed
from factory.checkpoint.families.state_dict import StateDict
from factory.errors import UnknownGeneratorError, WeightsError


def state(tensors=None):
    return StateDict("x.pt", load_tensors("dcgan_64") if tensors is None else tensors)


def chain(*shapes):
    return state(
        {f"main.{number}.weight": torch.zeros(shape) for number, shape in enumerate(shapes)}
    )


def test_the_usual_network_is_read_from_shapes_and_its_assumptions_are_told():
    kwargs, assumptions, warnings = kwargs_of_dcgan(state(), {})
    assert (kwargs["z_dim"], kwargs["img_channels"], kwargs["img_resolution"]) == (
        kwargs["layers"][0]["in_channels"], kwargs["layers"][-1]["out_channels"], 64,
    )  # fmt: skip
    assert [layer["stride"] for layer in kwargs["layers"]] == [1, 2, 2, 2, 2]
    assert "output_activation tanh, hidden_activation relu" in assumptions[0]
    assert assumptions[1] == "the first layer has stride 1 and no padding, the others 2 and 1"
    assert len(assumptions) == 2
    assert warnings == []


def test_what_is_given_is_no_assumption():
    given, _, _ = kwargs_of_dcgan(state(), {})
    again, assumptions, _ = kwargs_of_dcgan(state(), given)
    assert (again, assumptions) == (given, [])


def test_settings_are_known_by_the_names_of_older_files():
    assert renamed({"eps": 1e-4, "final_activation": "sigmoid", "classes": 2}) == {
        "bn_eps": 1e-4, "output_activation": "sigmoid", "classes": 2,
    }  # fmt: skip


def test_classes_are_a_part_of_the_first_layers_inputs():
    plain, _, _ = kwargs_of_dcgan(state(), {})
    kwargs, _, _ = kwargs_of_dcgan(state(), {"classes": 2})
    assert (kwargs["classes"], kwargs["z_dim"]) == (2, plain["z_dim"] - 2)
    with pytest.raises(
        WeightsError, match=f"classes {plain['z_dim']} with {plain['z_dim']} inputs"
    ):
        kwargs_of_dcgan(state(), {"classes": plain["z_dim"]})


def test_unusual_kernels_need_strides_and_paddings_that_are_then_taken():
    odd = chain((64, 8, 4, 4), (8, 3, 3, 3))
    with pytest.raises(UnknownGeneratorError, match="kernels of 4, 3 taps"):
        kwargs_of_dcgan(odd, {})
    layers = [
        {"name": "main.0", "kind": "conv_transpose", "stride": 1, "padding": 0},
        {"name": "main.1", "kind": "conv_transpose", "stride": 3, "padding": 0},
    ]
    kwargs, _, _ = kwargs_of_dcgan(odd, {"layers": layers})
    assert kwargs["img_resolution"] == 12
    with pytest.raises(WeightsError, match=r"settings of the layers main\.0, main\.2 for"):
        kwargs_of_dcgan(odd, {"layers": [layers[0], layers[1] | {"name": "main.2"}]})


def test_a_size_that_the_chain_does_not_give_is_refused():
    with pytest.raises(WeightsError, match="img_resolution 128 in the settings, 64 in the tensors"):
        kwargs_of_dcgan(state(), {"img_resolution": 128})


def test_tensors_that_are_no_chain_are_refused():
    with pytest.raises(WeightsError, match="no chain of convolutions"):
        kwargs_of_dcgan(chain((64, 8, 4, 4), (9, 3, 4, 4)), {})
