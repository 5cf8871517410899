"""Errors that say that memory ran out, in the words of each library."""

from magiqa.engines.engine import Resolved
from magiqa.errors import UserError

_WORDS = ("out of memory", "can't allocate memory", "bad allocation", "bad_alloc", "alloc_failed")


_LIBRARY_BYTES = 1 << 29  # cuDNN says CUDNN_STATUS_INTERNAL_ERROR if only 200 MB are free (H200)


def out_of_memory(error: BaseException, device: str = "cpu") -> bool:
    """Return whether an error says that memory ran out, in the words of any engine on any device.

    Example:
        >>> out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"))
        True
        >>> out_of_memory(RuntimeError("Kernel size can't be greater than actual input size"))
        False
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of CUDA
        return True
    if device.startswith("cuda") and any(name in str(error) for name in ("CUDNN_STATUS", "CUBLAS_STATUS")):
        import torch

        return torch.cuda.mem_get_info(device)[0] < _LIBRARY_BYTES  # too little for the library to start
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def batch_too_large(resolved: Resolved, batch_size: int) -> UserError:
    """Return the error for a batch that does not fit into memory."""
    smaller = f"batch_size={batch_size // 2}, " if batch_size > 1 else ""
    other = "a smaller views.window" if resolved.device == "cpu" else "precision=fp16, or device=cpu"
    return UserError(
        f"device={resolved.device}: out of memory with batch_size={batch_size}; end what else fills it, or use "
        f"{smaller}{other}"
    )
