"""The settings of a generator, and of each family those that a weights file does not contain.

`--config` of `inspect` and `convert` reads the same names from JSON. What follows from the tensors,
such as sizes, depths and most families' classes, is not a setting.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from factory.errors import did_you_mean
from factory.spec.settings import IdentityFields, IsInputPath, Settings, Sha256

_Count = Annotated[int, Field(ge=0, le=2**16, strict=True)]
_Positive = Annotated[float, Field(gt=0, le=2**20, allow_inf_nan=False, strict=True)]


class StyleGAN2Settings(Settings):
    """StyleGAN2 in any layout."""

    lr_multiplier: _Positive = 0.01
    """Learning-rate multiplier of the mapping network, which scales its stored weights."""
    conv_clamp: _Positive | None = None
    """Clamp of every layer's outputs, both signs: 256 in networks trained in mixed precision. Empty =
    none."""


class StyleGAN3Settings(Settings):
    """StyleGAN3 and StyleGAN-XL: the filter design and scale factors."""

    lr_multiplier: _Positive = 0.01
    """Learning-rate multiplier of the mapping network, which scales its stored weights."""
    conv_clamp: _Positive = 256
    """Clamp of every layer's outputs, both signs."""
    num_critical: _Count = 2
    """Number of critically sampled layers at the end."""
    first_cutoff: _Positive = 2
    """Cutoff frequency of the first layer."""
    first_stopband: _Positive = 2**2.1
    """Stopband frequency of the first layer."""
    last_stopband_rel: _Positive = 2**0.3
    """Stopband frequency of the last layer, relative to its cutoff."""
    margin_size: _Count = 10
    """Margin around each feature map, in pixels."""
    output_scale: _Positive = 0.25
    """Factor of the output image."""


class BigGANDeepHFSettings(Settings):
    """BigGAN-deep of Hugging Face; names as in its config.json."""

    layers: list[tuple[bool, _Count, _Count]] | None = None
    """For each layer: whether it doubles the resolution, and its input and output width as multiples of
    the base width. Empty = every second layer doubles."""
    eps: _Positive = 1e-4
    """Epsilon of the batch normalisation."""


class BigGANSettings(Settings):
    """BigGAN and BigGAN-deep of the authors' PyTorch code; names as there."""

    G_depth: Annotated[int, Field(ge=1, le=64, strict=True)] | None = None
    """Blocks per resolution of BigGAN-deep. Empty = inferred from where widths change."""
    BN_eps: _Positive = 1e-5
    """Epsilon of the batch normalisation in the blocks."""


class StyleGAN1Settings(Settings):
    """StyleGAN (first version); names as in genforce."""

    fused_scale: Literal["auto"] | bool = "auto"
    """Whether upsampling is fused into the convolution; `auto` = from 128 px on."""
    mapping_lr_mul: _Positive = 0.01
    """Learning-rate multiplier of the mapping network, which scales its stored weights."""
    use_wscale: bool = True
    """Whether weights are scaled at run time."""
    final_tanh: bool = False
    """Whether a tanh is applied to the image."""


class PGGANSettings(Settings):
    """Progressive GAN; names as in genforce."""

    label_size: _Count = 0
    """Number of classes: the last inputs of the first layer are their one-hot label."""
    fused_scale: bool | None = None
    """Whether upsampling is fused into the convolution. Empty = inferred from where widths change."""
    use_wscale: bool = True
    """Whether weights are scaled at run time."""
    final_tanh: bool = False
    """Whether a tanh is applied to the image."""


class DCGANLayer(Settings):
    """One convolution of a DCGAN."""

    name: str
    """Name of its weights in the file, without `.weight`."""
    kind: Literal["conv_transpose", "conv"] = "conv_transpose"
    """Transposed or plain convolution."""
    stride: Annotated[int, Field(ge=1, le=16, strict=True)]
    """Its stride."""
    padding: Annotated[int, Field(ge=0, le=64, strict=True)]
    """Its padding."""


class DCGANSettings(Settings):
    """Chains of convolutions from a latent to an image."""

    classes: _Count = 0
    """Number of classes: the last inputs of the first layer are their one-hot label."""
    latent: Literal["normal", "uniform"] = "normal"
    """Distribution of a latent's numbers: standard normal, or uniform from -1 to 1."""
    output_activation: Literal["tanh", "sigmoid", "none"] = "tanh"
    """Activation of the last layer."""
    hidden_activation: Literal["relu", "leaky_relu"] = "relu"
    """Activation of all other layers; `leaky_relu` has slope 0.2."""
    bn_eps: _Positive = 1e-5
    """Epsilon of the batch normalisation."""
    layers: Annotated[list[DCGANLayer], Field(min_length=2, max_length=64)] | None = None
    """All convolutions in order, for layouts other than 4x4 kernels that double the resolution: a file
    does not contain strides and paddings."""


FAMILY_SETTINGS: dict[str, type[Settings]] = {
    "biggan_ajbrock": BigGANSettings,
    "biggan_deep_hf": BigGANDeepHFSettings,
    "dcgan": DCGANSettings,
    "pggan": PGGANSettings,
    "stylegan1": StyleGAN1Settings,
    "stylegan2": StyleGAN2Settings,
    "stylegan3": StyleGAN3Settings,
    "stylegan_xl": StyleGAN3Settings,
}
"""The settings of each family, by generator `kind`."""


def check_family_settings(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Validate a generator's settings; those of plugins are returned unchanged.

    Returns:
        The given settings as plain JSON values; defaults are not filled in.

    Raises:
        ValidationError: With one problem per setting that is unknown to the family or invalid.
    """
    model = FAMILY_SETTINGS.get(kind)
    if model is None:
        return settings
    unknown = [
        _unknown(kind, model, key, settings[key]) for key in settings.keys() - model.model_fields
    ]
    if unknown:
        raise ValidationError.from_exception_data(kind, unknown)
    return model.model_validate(settings).model_dump(mode="json", exclude_unset=True)


def _unknown(kind: str, model: type[Settings], key: str, value: object) -> InitErrorDetails:
    known = sorted(model.model_fields)
    hint = did_you_mean(key, known) or f"it has {', '.join(known)}"
    problem = PydanticCustomError("unknown_setting", f"is no setting of {kind}; {hint}")
    return InitErrorDetails(type=problem, loc=(key,), input=value)


class GeneratorSpec(Settings):
    """The pretrained image generator, and how it is evaluated."""

    identity_fields = IdentityFields(
        ("kind", "precision", "noise"), later={"settings": {}}, left_out=("weights", "sha256")
    )

    kind: str
    """Generator family, e.g. `stylegan2`; `factory generators` lists them. Or `module:attribute`."""
    weights: Annotated[str, IsInputPath()] = ""
    """Weights: a file, `shipped:blood_cells`, or `https://...` with `sha256`. Paths are relative to
    the job's file; where nothing lies there, to the folder the command runs in."""
    sha256: Sha256 | None = None
    """Expected SHA-256 of the weights; others are refused. Required for downloads."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the synthesis network. The mapping network and the image sum stay float32."""
    noise: Literal["const", "none", "per_sample"] = "const"
    """Noise inputs: the maps stored in the checkpoint, none, or new maps drawn from each sample's
    seed."""
    settings: dict[str, Any] = Field({})
    """Settings of the network that the weights file does not contain, such as `classes: 8` of a
    `dcgan`; `factory inspect` lists what was assumed. Each family has its own
    (`factory explain KIND`); a plugin gets them unchanged."""

    @field_validator("settings")
    @classmethod
    def _of_its_family(cls, value: dict[str, Any], info: Any) -> dict[str, Any]:  # noqa: ANN401 - its type can't be checked
        return check_family_settings(info.data.get("kind", ""), value)
