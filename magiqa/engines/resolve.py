"""What ``auto`` becomes on this machine: engine, precision, device, threads."""

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from magiqa.cores import allowed_cores, usable_cores
from magiqa.errors import UserError

ENGINES = ("torch", "compile", "openvino")

PRECISIONS = ("fp32", "bf16", "fp16")

GPU_FILES = (
    "/dev/nvidiactl",
    "/dev/kfd",
    "/dev/dxg",
    "/dev/nvhost-gpu",
    "/dev/nvmap",
)  # NVIDIA, AMD, WSL, Jetson

GPU_DECODERS = 4  # threads share one Python: beside an H200 more than four made everything slower (LOG.md)

MOST_STREAMS = 8  # on a CPU: a stream holds activations of its own, and all share the last cache


@dataclass(frozen=True)
class Resolved:
    """What ``auto`` became: engine, precision, device."""

    engine: str
    precision: str
    device: str


def resolve(engine: str, precision: str, device: str, *, absent: bool = False) -> Resolved:
    """Settle engine, precision and device.

    ``auto`` device is CUDA, then MPS, then the CPU; ``auto`` engine is OpenVINO on the CPU where it is installed,
    otherwise torch.

    Args:
        absent: a device or engine named may be missing here: to find what it encoded elsewhere.

    Raises:
        UserError: an unknown name, or a combination that cannot be.

    Example:
        >>> resolve("torch", "fp32", "cpu")
        Resolved(engine='torch', precision='fp32', device='cpu')
    """
    if engine not in ("auto", *ENGINES):
        raise UserError(f"engine={engine} is not known: use auto, {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision} is not known: use {', '.join(PRECISIONS)}")
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise UserError(f"device={device} is not known: use auto, cpu, cuda, cuda:N or mps")
    if kind == "auto" or (kind != "cpu" and not absent):
        if kind == "auto" and not _gpu_files():
            return resolve(engine, precision, "cpu", absent=absent)
        import torch

        # a GPU may be counted (by the driver's library) and yet be of no use (to a torch that is newer than the driver)
        cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
        mps = torch.backends.mps.is_available()
        if kind == "cuda" and int(index or 0) >= cuda:
            raise UserError(f"device={device}: {_unseen(cuda)}")
        if kind == "mps" and not mps:
            raise UserError("device=mps: torch sees no Apple GPU; use device=cpu")
        if kind == "auto":
            device = kind = "cuda" if cuda else "mps" if mps else "cpu"
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "auto":
        engine = "openvino" if kind == "cpu" and installed and precision != "fp16" else "torch"
    if engine == "openvino":
        if not installed and not absent:
            raise UserError(
                "engine=openvino is not installed: pip install 'magiqa[openvino]', or use engine=torch"
            )
        if kind != "cpu":
            raise UserError(f"engine=openvino runs on the CPU only, not on device={device}; use engine=torch")
    if precision == "fp16" and kind == "cpu":
        raise UserError("precision=fp16 needs device=cuda or mps; on the CPU use fp32 or bf16")
    return Resolved(engine, precision, device)


def _gpu_files() -> bool:
    """Whether a GPU may be here: where Linux shows no file of one, torch (seconds to import) need not be asked."""
    return not sys.platform.startswith("linux") or any(Path(f).exists() for f in GPU_FILES)


def _unseen(usable: int) -> str:
    """Why a CUDA device cannot be used, and what to do."""
    import torch

    counted = torch.cuda.device_count()
    if usable or not counted:
        return f"torch sees {usable} CUDA devices; use another device, or a CUDA build of torch"
    return (
        f"{counted} CUDA devices are there, but torch (built for CUDA {torch.version.cuda}) cannot use them: update "
        "the NVIDIA driver, install a torch built for an older CUDA, or use device=cpu"
    )


def decoders(device: str) -> int:
    """Threads that decode beside a device.

    Beside a GPU up to `GPU_DECODERS` of the cores, which the GPU leaves free, whatever OMP_NUM_THREADS says of torch's.
    """
    return allowed_cores() if device == "cpu" else min(usable_cores(), GPU_DECODERS)


def streams(device: str) -> int:
    """How many callers keep a device busy.

    On a CPU a core each up to `MOST_STREAMS`; beyond, as many (half of that at least) as use the most cores with
    equally many each (12 cores: 6 streams of 2). On a GPU two, so that one copies while one computes.
    """
    if device != "cpu":
        return 2 if device.startswith("cuda") else 1
    cores = threads()
    fewest, most = min(cores, MOST_STREAMS // 2), min(cores, MOST_STREAMS)
    return max(range(fewest, most + 1), key=lambda s: (s * (cores // s), s))


@cache
def threads() -> int:
    """Threads for torch: ``allowed_cores()``, and no more than torch.set_num_threads or the machine's real cores.

    Settled when first asked: engines set torch's number of threads themselves.
    """
    import torch

    return min(torch.get_num_threads(), allowed_cores())
