"""What a file format can hold of a generator's images."""

from factory.errors import JobError
from factory.generate.base import Generator
from factory.spec import DatasetSpec

_RGBA = 4


def check_encoding(dataset: DatasetSpec, generator: Generator) -> None:
    """Reject a file format that would lose the alpha of the generator's images.

    Raises:
        JobError: If there is one.
    """
    if generator.facts.channels == _RGBA and dataset.encode.image == "jpeg":
        raise JobError(
            where="dataset.encode.image",
            found="found 'jpeg', but the generator's images have alpha, which JPEG cannot hold",
            remedy="use png or webp",
        )
