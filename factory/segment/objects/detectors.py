"""Object detectors: a protocol for plugins, and an adapter for ONNX files.

A detector is any object with `detect`; `module:attribute` names a class (or function) that is called
with the generator's facts and returns one. The `.onnx` adapter knows the two layouts that most tools
export: boxes, labels and scores as three tensors (torchvision), or rows of x1, y1, x2, y2, score and
class as one (YOLO with its suppression built in). Other layouts need a plugin.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int64, UInt8
from PIL import Image

from factory.errors import JobError, PluginError
from factory.generate.base import GeneratorFacts
from factory.identity import digest_of_file
from factory.plugins import Registry
from factory.spec.style_mixing import InstancesSpec

DETECTORS = Registry(noun="detector", group="factory.detectors", table={})


@dataclass(frozen=True, slots=True)
class Detections:
    """The objects that a detector found in one image, in any order."""

    boxes_xyxy: Float[np.ndarray, "n 4"]
    """Left, top, right and bottom in pixels of the image; 0 is its left or upper edge."""
    class_ids: Int64[np.ndarray, " n"]
    """The detector's own class numbers."""
    scores: Float[np.ndarray, " n"]
    """0 to 1."""


@runtime_checkable
class Detector(Protocol):
    """Finds the objects of an image."""

    def detect(self, image: UInt8[np.ndarray, "h w 3"]) -> Detections:
        """Detect the objects of `image` (RGB, 0 to 255)."""


def load_detector(spec: InstancesSpec, facts: GeneratorFacts) -> Detector:
    """Load the detector that `spec` names.

    Raises:
        JobError: If its file is missing or has another SHA-256 than the job states.
        PluginError: If it cannot be loaded, or is not a detector.
    """
    if spec.is_onnx:
        return OnnxDetector(Path(spec.detector), spec.sha256)
    make = DETECTORS.load(spec.detector)
    detector = make(facts) if callable(make) else make
    if not isinstance(detector, Detector):
        raise PluginError(
            f"detector {spec.detector!r}: {type(detector).__name__} is not a detector; it needs "
            "detect (see factory/segment/objects/detectors.py)"
        )
    return detector


class OnnxDetector:
    """A detector as an ONNX file, run on one thread of the CPU."""

    def __init__(self, path: Path, sha256: str | None) -> None:
        """Load `path`.

        Raises:
            JobError: If it is missing, changed, or not an ONNX file.
            PluginError: If onnxruntime is not installed.
        """
        where = "dataset.segmenter.instances.detector"
        if not path.is_file():
            raise JobError(f"{where}: no file {path}; paths are relative to the working folder")
        digest = digest_of_file(path)
        if sha256 is not None and digest != sha256:
            raise JobError(
                f"{where}: {path} has sha256 {digest}, the job says {sha256}; use the file that the "
                "job means, or change the job"
            )
        try:
            import onnxruntime
        except ImportError as error:
            raise PluginError(
                f"{where}: {path} needs onnxruntime; run `pip install 'maskfactory[onnx]'`"
            ) from error
        options = onnxruntime.SessionOptions()
        # One thread: the order of sums, and so the bytes, must not depend on the number of cores.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise JobError(
                f"{where}: {path} is not an ONNX network ({_first_line(error)})"
            ) from error
        self._path = path
        self._input = self._session.get_inputs()[0]

    def detect(self, image: UInt8[np.ndarray, "h w 3"]) -> Detections:
        """Detect the objects of `image`, which is resized if the network takes one size only.

        The network gets RGB from 0 to 1, or uint8 if its input has that type.

        Raises:
            PluginError: If its outputs have an unknown layout.
        """
        sides = self._input.shape[-2:]
        height, width = (
            wanted if isinstance(wanted, int) else side
            for wanted, side in zip(sides, image.shape[:2], strict=True)
        )
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(resized).transpose(2, 0, 1)
        if self._input.type != "tensor(uint8)":
            pixels = pixels.astype(np.float32) / 255
        pixels = pixels[None] if len(self._input.shape) == 4 else pixels
        outputs = self._session.run(None, {self._input.name: np.ascontiguousarray(pixels)})
        found = self._read([np.asarray(output) for output in outputs])
        scale = np.array([image.shape[1] / width, image.shape[0] / height] * 2)
        return Detections(found.boxes_xyxy * scale, found.class_ids, found.scores)

    def _read(self, outputs: list[np.ndarray]) -> Detections:
        if len(outputs) == 1 and outputs[0].shape[-1] == 6:
            rows = outputs[0].reshape(-1, 6).astype(np.float64)
            return Detections(rows[:, :4], rows[:, 5].astype(np.int64), rows[:, 4])
        boxes = [part for part in outputs if part.ndim > 1 and part.shape[-1] == 4]
        labels = [part for part in outputs if np.issubdtype(part.dtype, np.integer)]
        scores = [
            part for part in outputs if part.ndim < 3 and np.issubdtype(part.dtype, np.floating)
        ]
        scores = [part for part in scores if not any(part is box for box in boxes)]
        if len(outputs) != 3 or not (len(boxes) == len(labels) == len(scores) == 1):
            shapes = ", ".join(f"{part.dtype}{list(part.shape)}" for part in outputs)
            raise PluginError(
                f"dataset.segmenter.instances.detector: {self._path} gives {shapes}; it needs boxes "
                "[n, 4], labels [n] and scores [n], or one tensor [n, 6]; otherwise write a "
                "`module:attribute` detector (see factory/segment/objects/detectors.py)"
            )
        return Detections(
            boxes[0].reshape(-1, 4).astype(np.float64),
            labels[0].reshape(-1).astype(np.int64),
            scores[0].reshape(-1).astype(np.float64),
        )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
