"""Out of memory: told from other errors, and answered with what to change."""

from magiqa.engines.hardware import half
from magiqa.engines.resolve import Resolved
from magiqa.errors import UserError

_SAID = (
    "out of memory",
    "can't allocate memory",
    "bad allocation",
    "bad_alloc",
    "alloc_failed",
)  # MPS, torch's CPU, OpenVINO, cuBLAS and cuDNN


_LIBRARIES = 1 << 29  # bytes: cuDNN says CUDNN_STATUS_INTERNAL_ERROR with 200 MB (H200)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in the words of any engine on any device.

    Example:
        >>> out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"))
        True
        >>> out_of_memory(RuntimeError("Kernel size can't be greater than actual input size"))
        False
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of CUDA
        return True
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in _SAID)


def starved(error: BaseException, device: str) -> bool:
    """Whether one of CUDA's libraries failed where so little memory is free that it cannot start."""
    if not (
        device.startswith("cuda") and any(said in str(error) for said in ("CUDNN_STATUS", "CUBLAS_STATUS"))
    ):
        return False
    import torch

    return torch.cuda.mem_get_info(device)[0] < _LIBRARIES


def batch_too_large(resolved: Resolved, batch_size: int) -> UserError:
    """What to say where a batch does not fit."""
    smaller = f"batch_size={batch_size // 2}, " if batch_size > 1 else ""
    lighter = resolved.precision == "fp32" and resolved.device != "cpu"
    faster = f"precision={half(resolved.device)}, " if lighter else ""
    other = "a smaller views.window" if resolved.device == "cpu" else "device=cpu"
    return UserError(
        f"device={resolved.device}: out of memory with batch_size={batch_size}; end what else fills it, or use "
        f"{smaller}{faster}{other}"
    )
