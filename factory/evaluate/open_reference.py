"""Open the reference named on the command line: a generator, a network, or files."""

from pathlib import Path

from factory.errors import JobError
from factory.evaluate.reference import ImageInput, Reference
from factory.store import Store

GENERATOR = "generator"
"""Stands for the dataset's own generator, if it has exact masks, in place of a file name."""


_MODELS = (".pt", ".pth", ".ts", ".onnx")


def is_computed(reference: str) -> bool:
    """Whether `reference` runs a network or a generator, instead of reading files."""
    return reference == GENERATOR or reference.endswith(_MODELS)


def open_reference(
    reference: str, store: Store, images: ImageInput, *, trust_plugins: bool = False
) -> Reference:
    """Open a reference by name, for the dataset in `store`.

    Args:
        reference: `generator`, a TorchScript or ONNX file, a tar, or a folder of masks or tars.
        store: The dataset to be scored.
        images: Input format of a network; ignored otherwise.
        trust_plugins: Run a generator of a `module:attribute` that the stored job names.

    Raises:
        JobError: If there is no such file, or it contains no masks.
        PluginError: If the generator has no exact masks, or the network cannot be loaded.
    """
    if reference == GENERATOR:
        from factory.evaluate.reference_generator import GeneratorReference

        return GeneratorReference(store, trust_plugins=trust_plugins)
    path = Path(reference)
    if not path.exists():
        raise JobError(
            f"--reference: no file {reference!r}; give {GENERATOR!r}, a TorchScript (.pt) or ONNX "
            "(.onnx) file, a tar, or a folder of KEY.mask.png or of tars"
        )
    if reference.endswith(_MODELS):
        from factory.evaluate.reference_network import NetworkReference, load_network

        return NetworkReference(path.name, load_network(path), images)
    from factory.evaluate.reference_files import open_files

    return open_files(path)
