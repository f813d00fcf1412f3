"""What decides bytes on this machine, as receipts state it."""

import torch

from factory.pack.deflate import deflate_version
from factory.pack.encoder import encoder_digest
from factory.provenance import cpu_name, find_versions
from factory.spec import EncodeSpec


def device_name(device: torch.device) -> str:
    """Name of the GPU or CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def find_byte_versions(device: torch.device, encode: EncodeSpec) -> dict[str, str]:
    """Versions of the libraries, and what tells encoders and kernels apart behind equal versions."""
    telling = {"encoder": encoder_digest(encode), "kernels": _kernels(device)}
    return find_versions() | deflate_version() | telling


def _kernels(device: torch.device) -> str:
    """The code that computes sums: their order, and so their last bits, differ with it.

    The processor's name does not tell: that of a virtual machine is made up.
    """
    if device.type == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        return f"CUDA {torch.version.cuda}, cuDNN {cudnn}"
    return torch.backends.cpu.get_cpu_capability()
