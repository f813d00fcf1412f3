"""A folder that is read as a bucket is, and a digest of all that a reader reads."""

import hashlib
from pathlib import Path

from factory.dataset.reader import open_dataset
from factory.store import LocalStore


class FarStore(LocalStore):
    """Whole files are downloaded; each download is a line of a log."""

    def __init__(self, root: Path, log: Path) -> None:
        super().__init__(str(root))
        self.log = log

    def download(self, path: str, sink) -> bool:
        sink.truncate(sink.seek(0))
        file = Path(self.uri, path)
        if not file.exists():
            return False
        with self.log.open("a") as log:
            log.write(f"{path}\n")
        sink.write(file.read_bytes())
        return True

    def downloads(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


def pixels_of(uri: str, cache_bytes: int) -> str:
    """A digest of two epochs' keys, images and masks."""
    dataset = open_dataset(uri, cache_bytes=cache_bytes)
    pixels = hashlib.sha256()
    for _ in range(2):
        for sample in dataset.samples(shuffle=True):
            pixels.update(sample.key.encode() + sample.image.tobytes() + sample.mask.tobytes())
    return pixels.hexdigest()
