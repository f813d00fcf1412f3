"""Safe reading of generator checkpoints: any understood file becomes plain tensors and settings.

Guarantees: nothing in a file is executed or imported; a file is read completely or rejected with a
`WeightsError` that names the finding and its byte offset; time and memory are bounded by the file's
size. Formats are detected by content: NVIDIA and TensorFlow network pickles, torch.save files old and
new, safetensors. Each family has one naming scheme for its tensors, and every value that a file does
not state is listed in `assumptions`.

It knows nothing of jobs, networks or images: a generator is built elsewhere, from what is read here.
"""

from factory.checkpoint.base import (
    DISCRIMINATOR_PREFIX,
    FAMILIES,
    Checkpoint,
    Discriminator,
    Family,
)
from factory.checkpoint.channels import CHANNELS, channels_of, check_channels
from factory.checkpoint.files.safetensors_file import write_safetensors
from factory.checkpoint.finite import check_finite
from factory.checkpoint.listing import TensorFacts, list_tensors, read_tensors
from factory.checkpoint.read import read_checkpoint, weights_file

__all__ = [
    "CHANNELS",
    "DISCRIMINATOR_PREFIX",
    "FAMILIES",
    "Checkpoint",
    "Discriminator",
    "Family",
    "TensorFacts",
    "channels_of",
    "check_channels",
    "check_finite",
    "list_tensors",
    "read_checkpoint",
    "read_tensors",
    "weights_file",
    "write_safetensors",
]
