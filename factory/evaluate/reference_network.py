"""A segmentation network (TorchScript or ONNX) as reference.

A TorchScript file is a program: run only files you trust.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from factory.data import IGNORE
from factory.errors import PluginError
from factory.evaluate.reference import ImageInput, ScoredSample

FATAL = 4
"""What ONNX Runtime prints by itself: nothing that an error of ours says."""

_MOST_SHOWN = 160

Network = Callable[[Float[Tensor, "n 3 h w"]], Shaped[Tensor, "..."]]
"""Images to logits [n, k, h, w] (floats) or class ids [n, h, w] (integers), of any size."""


_OPTION = "--reference"


class NetworkReference:
    """The masks that a segmentation network predicts for the dataset's images."""

    classes: tuple[str, ...] = ()
    needs_images = True

    def __init__(
        self, name: str, network: Network, images: ImageInput, option: str = _OPTION
    ) -> None:
        """Use `network` with input images in the format `images`; `option` names it in errors."""
        self.name = name
        self._network, self._images, self._option = network, images, option

    def masks(self, samples: Sequence[ScoredSample]) -> list[UInt8[np.ndarray, "_h _w"] | None]:
        """The network's mask of each image, at the size of the dataset's mask.

        Raises:
            PluginError: If the network fails, or its output is neither logits nor class ids.
        """
        pixels = np.stack([sample.image for sample in samples if sample.image is not None])
        size = samples[0].mask.shape
        keys = [sample.key for sample in samples]
        with torch.inference_mode():
            output = self._network(prepare(torch.from_numpy(pixels), self._images))
            ids = read_ids(output, keys, (size[0], size[1]), f"{self._option}: {self.name}")
        return list(ids.numpy())


def prepare(images: UInt8[Tensor, "n h w 3"], wanted: ImageInput) -> Float[Tensor, "n 3 h2 w2"]:
    """Convert images to a network's input format. Downsampling is antialiased."""
    planes = images.permute(0, 3, 1, 2).float() / 255
    if wanted.size_px is not None:
        side = (wanted.size_px, wanted.size_px)
        planes = functional.interpolate(planes, side, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(row)[:, None, None] for row in (wanted.mean, wanted.std))
    return (planes - mean) / std


def read_ids(
    output: Shaped[Tensor, "..."], keys: Sequence[str], size: tuple[int, int], where: str
) -> UInt8[Tensor, "n h w"]:
    """Class ids of `size` from logits (enlarged bilinearly) or from ids (by nearest neighbour).

    Args:
        output: What a network returned.
        keys: The images it was given, as errors name them.
        size: Rows and columns of the ids.
        where: The network, as errors name it.

    Raises:
        PluginError: If `output` is neither, or some of its logits are not finite.
    """
    found = f"{where}: returned {output.dtype} {list(output.shape)}"
    if output.ndim > 0 and len(output) != len(keys):
        raise PluginError(f"{found} for {len(keys)} {'image' if len(keys) == 1 else 'images'}")
    if output.ndim == 4 and output.is_floating_point() and output[0, 0].numel():
        if not 2 <= output.shape[1] <= IGNORE:
            raise PluginError(
                f"{found}; logits need 2 to {IGNORE} classes: of a single one, export ids instead"
            )
        _check_finite(output, keys, where)
        return functional.interpolate(output.float(), size, mode="bilinear").argmax(1).byte()
    if output.ndim == 3 and _is_whole(output) and output.numel():
        if int(output.min()) < 0 or int(output.max()) > IGNORE:
            raise PluginError(f"{found} with ids beyond 0 to {IGNORE}")
        return functional.interpolate(output[:, None].float(), size, mode="nearest")[:, 0].byte()
    raise PluginError(
        f"{found}; allowed: logits [n, k, h, w] as floats, or class ids [n, h, w] as integers"
    )


def _is_whole(output: Shaped[Tensor, "..."]) -> bool:
    return not output.is_floating_point() and not output.is_complex()


def _check_finite(logits: Float[Tensor, "n k h w"], keys: Sequence[str], where: str) -> None:
    # argmax takes NaN for the largest of all: each picture would have one class, without a word.
    bad = (~logits.isfinite()).flatten(1).sum(dim=1)
    if not bad.any():
        return
    first = int(bad.nonzero()[0])
    raise PluginError(
        where=where,
        found=f"{int(bad[first]):,} of {logits[first].numel():,} logits of image {keys[first]} are NaN "
        "or infinite",
        remedy="check the file's weights, and that mean, std and size are those of its training",
    )


def load_network(path: Path, option: str = _OPTION) -> Network:
    """Load a network from a TorchScript file or an `.onnx` file.

    Of a TorchScript network that returns several tensors, the first is used, or the one named
    `out`; of an ONNX network the first output. `option` is the command's option that names the
    file, for errors.

    Raises:
        PluginError: If it cannot be loaded, or ONNX Runtime is missing.
    """
    return _load_onnx(path, option) if path.suffix == ".onnx" else _load_script(path, option)


def _load_script(path: Path, option: str) -> Network:
    try:
        with warnings.catch_warnings():
            # PyTorch's advice to use another format is for the authors of the file, not for its
            # users.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise PluginError(
            where=f"{option}: {path}",
            found=f"not TorchScript ({_first_sentence(error)})",
            remedy="save the network with torch.jit.trace(network, images).save(path), or as ONNX",
        ) from error

    def run(images: Float[Tensor, "n 3 h w"]) -> Shaped[Tensor, "..."]:
        try:
            output = module(images)
        except RuntimeError as error:
            raise PluginError(f"{option}: {path}: {_last_line(error)}") from error
        if isinstance(output, dict):
            output = output.get("out")
        elif isinstance(output, (tuple, list)) and output:
            output = output[0]
        if not isinstance(output, Tensor):
            raise PluginError(
                f"{option}: {path} returned {type(output).__name__}; allowed: a tensor, several, "
                "or a dictionary with 'out'"
            )
        return output

    return run


def _load_onnx(path: Path, option: str) -> Network:
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as problems
    except ImportError as error:
        raise PluginError(
            f"{option}: {path} needs ONNX Runtime; install it with: pip install 'maskfactory[onnx]'"
        ) from error
    failures = (problems.Fail, problems.InvalidArgument, problems.InvalidGraph)
    broken = (*failures, problems.InvalidProtobuf, problems.NotImplemented, problems.NoSuchFile)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = FATAL
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except broken as error:
        raise PluginError(
            f"{option}: {path} cannot be loaded as ONNX ({_first_line(error)}); export it again"
        ) from error
    entry = session.get_inputs()[0]
    first_output = session.get_outputs()[0].name
    largest = entry.shape[0] if isinstance(entry.shape[0], int) else None

    def run(images: Float[Tensor, "n 3 h w"]) -> Shaped[Tensor, "..."]:
        batches = torch.split(images, largest or len(images))
        try:
            outputs = [session.run([first_output], {entry.name: b.numpy()})[0] for b in batches]
        except failures as error:
            raise PluginError(f"{option}: {path}: {_first_line(error)}") from error
        return torch.cat([torch.from_numpy(output) for output in outputs])

    return run


def _first_sentence(error: Exception) -> str:
    """Torch's reason; its guesses about how the file was saved follow in the same line."""
    return _first_line(error).partition(". ")[0][:_MOST_SHOWN]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
