"""Check a discriminator: its settings, and exactly the tensors that they ask for.

What is wrong with it never makes the generator unusable: it is `unfit`, for a reason in one line.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from torch import Tensor

from factory.checkpoint.base import Discriminator
from factory.checkpoint.finite import check_finite
from factory.checkpoint.pickles.source import refuse, shown
from factory.errors import WeightsError

_SETTINGS = (
    *("img_resolution", "img_channels", "c_dim", "conv_clamp", "lr_multiplier", "shortcut"),
)
_MOST_SIDE = 2**14
Found = TypeVar("Found", bound=Discriminator | None)
_ALLOWED = "StyleGAN2's residual discriminator is understood"
_REMEDY = "the generator is read without it"
_UNFIT = (AttributeError, IndexError, KeyError, OverflowError, RecursionError, RuntimeError, TypeError,
          ValueError, ZeroDivisionError)  # fmt: skip


def checked(file: str, tensors: dict[str, Tensor], kwargs: Mapping[str, Any]) -> Discriminator:
    """The discriminator of these tensors and settings, or why it is unfit."""

    def check() -> Discriminator:
        found = {name: kwargs.get(name) for name in _SETTINGS}
        for name in ("img_resolution", "img_channels", "c_dim"):
            if type(found.get(name)) is not int:
                refuse_discriminator(file, f"a discriminator without {name}")
        if found.get("shortcut") not in ("filtered", "pooled"):
            refuse_discriminator(
                file, f"a discriminator of the shortcut {shown(found.get('shortcut'), 20)}"
            )
        if not _is_number(found.get("lr_multiplier")):
            refuse_discriminator(file, "a discriminator whose lr_multiplier is no number")
        clamp = found.get("conv_clamp")
        if clamp is not None and not (_is_number(clamp) and clamp > 0):
            refuse_discriminator(file, "a discriminator whose conv_clamp is no number above 0")
        _check_shapes(file, tensors, found)
        check_finite(file, tensors)
        return Discriminator(tensors, found)

    return guarded(file, check)


def guarded(file: str, make: Callable[[], Found]) -> Found | Discriminator:
    """What `make` reads; what it refuses is why it is unfit."""
    try:
        return make()
    except WeightsError as error:
        reason = str(error).removeprefix(f"{file}: ").partition(";")[0]
        return Discriminator(unfit=reason)
    except _UNFIT as error:
        return Discriminator(unfit=f"its parts do not fit together ({type(error).__name__})")


def _check_shapes(file: str, tensors: Mapping[str, Tensor], kwargs: Mapping[str, Any]) -> None:
    """Require exactly the tensors of the network that `kwargs` describe."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    side = kwargs["img_resolution"]
    if not 4 < side <= _MOST_SIDE or side & (side - 1):
        refuse_discriminator(file, f"a discriminator for images of {side} px")
    expected = _expected(shapes, kwargs)
    missing = sorted(expected.keys() - shapes.keys())
    if missing:
        refuse_discriminator(file, f"a discriminator without the tensor {missing[0]!r}")
    surplus = sorted(shapes.keys() - expected.keys())
    if surplus:
        refuse_discriminator(file, f"a discriminator with the tensor {shown(surplus[0], 60)}")
    wrong = sorted(name for name in expected if shapes[name] != expected[name])
    if wrong:
        name = wrong[0]
        refuse_discriminator(file, f"a discriminator whose {name!r} has shape {shapes[name]} where "
                f"{expected[name]} fits")  # fmt: skip
    if not all(tensor.is_floating_point() for tensor in tensors.values()):
        refuse_discriminator(file, "a discriminator with tensors that are no floats")


def _expected(
    shapes: Mapping[str, tuple[int, ...]], kwargs: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    side, colours, num_classes = kwargs["img_resolution"], kwargs["img_channels"], kwargs["c_dim"]
    width = _length(shapes, f"b{side}.fromrgb.bias")
    expected: dict[str, tuple[int, ...]] = {
        f"b{side}.fromrgb.weight": (width, colours, 1, 1),
        f"b{side}.fromrgb.bias": (width,),
    }
    while side > 4:
        below = _length(shapes, f"b{side}.conv1.bias")
        expected |= {
            f"b{side}.conv0.weight": (width, width, 3, 3), f"b{side}.conv0.bias": (width,),
            f"b{side}.conv1.weight": (below, width, 3, 3), f"b{side}.conv1.bias": (below,),
            f"b{side}.skip.weight": (below, width, 1, 1),
        }  # fmt: skip
        side, width = side // 2, below
    inputs = shapes.get("b4.conv.weight", (0, 0))[1:2]
    num_statistics = (inputs[0] if inputs else 0) - width
    if num_statistics < 0 or (num_statistics and width % num_statistics):
        num_statistics = 1  # the shape of b4.conv is told as wrong
    scores = _length(shapes, "b4.out.bias") if num_classes else 1
    expected |= {
        "b4.conv.weight": (width, width + num_statistics, 3, 3), "b4.conv.bias": (width,),
        "b4.fc.weight": (width, width * 16), "b4.fc.bias": (width,),
        "b4.out.weight": (scores, width), "b4.out.bias": (scores,),
    }  # fmt: skip
    if num_classes and kwargs["shortcut"] == "pooled":
        expected |= {"embed.weight": (scores, num_classes), "embed.bias": (scores,)}
    elif num_classes:
        expected |= _expected_mapping(shapes, num_classes, scores)
    return expected


def _expected_mapping(
    shapes: Mapping[str, tuple[int, ...]], num_classes: int, scores: int
) -> dict[str, tuple[int, ...]]:
    width = _length(shapes, "mapping.embed.bias")
    expected: dict[str, tuple[int, ...]] = {
        "mapping.embed.weight": (width, num_classes), "mapping.embed.bias": (width,)
    }  # fmt: skip
    depth = max(1, sum(name.startswith("mapping.fc") for name in shapes) // 2)
    for number in range(depth):
        out = scores if number == depth - 1 else _length(shapes, f"mapping.fc{number}.bias")
        expected |= {f"mapping.fc{number}.weight": (out, width), f"mapping.fc{number}.bias": (out,)}
        width = out
    return expected


def _length(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    return (shapes.get(name) or (0,))[0]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)


def refuse_discriminator(file: str, found: str) -> NoReturn:
    """Refuse a discriminator because of `found`; see `guarded`.

    Raises:
        WeightsError: Always.
    """
    refuse(file, found, _ALLOWED, _REMEDY)
