"""Safe reading of generator checkpoints: any understood file becomes plain tensors and settings.

The room's promise: nothing in a file is executed or imported, whatever it asks for; a file is read whole
or refused with a `WeightsError` that says what was found at which byte; time and memory are bounded by
the file's size. Formats are found by their bytes: NVIDIA and TensorFlow network pickles, torch.save
files old and new, safetensors. Each family has one naming of its tensors, and what a file does not say
is listed in `assumptions`.

It knows nothing of jobs, networks or images: a generator is built elsewhere, from what is read here.
"""

from factory.checkpoint.base import FAMILIES, Checkpoint, Family
from factory.checkpoint.files.safetensors_file import write_safetensors
from factory.checkpoint.read import read_checkpoint

__all__ = ["FAMILIES", "Checkpoint", "Family", "read_checkpoint", "write_safetensors"]
