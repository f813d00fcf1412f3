"""What a GPU is told before it computes: arithmetic that repeats, and float32 that is float32."""

import os

import torch

_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def prepare_device(device: torch.device) -> torch.device:
    """Make a GPU repeat its bytes; nothing on a CPU. The only place that sets this; returns `device`.

    - cuDNN may choose kernels that add in any order (for transposed convolutions it does: two calls
      differ in their last digits), or whichever is fastest at the moment: both are switched off.
    - PyTorch lets float32 convolutions round their inputs to TF32's 10 bits: feature maps then
      differ from a CPU's by up to 3e-3 of the largest value, and by 2e-6 without it.
    - cuBLAS repeats its sums if the workspace has a fixed size. It reads the variable when its first
      handle is made, so that this must come before the first product.
    """
    if device.type != "cuda":
        return device
    os.environ.setdefault(*_WORKSPACE)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return device
