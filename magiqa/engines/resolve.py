"""The engines to choose from, what ``auto`` becomes on this machine, and facts about its CPU and GPU."""

import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magiqa.cores import allowed_cores
from magiqa.engines.engine import Engine, EngineKind, Resolved
from magiqa.errors import UserError


def _torch(*tower: Any) -> Callable[[int], Engine]:
    from magiqa.engines.pytorch import torch_maker  # not at the top: torch takes seconds

    return torch_maker(*tower)


def _openvino(*tower: Any) -> Callable[[int], Engine]:
    from magiqa.engines.openvino import openvino_maker

    return openvino_maker(*tower)


# Batch sizes were measured on two cores (results/speed) and on an H200 (results/gpu); MPS is not measured yet.
_TORCH = EngineKind(
    precisions={"cpu": ("fp32", "bf16"), "cuda": ("fp32", "bf16", "fp16"), "mps": ("fp32", "bf16", "fp16")},
    batch_sizes={"cpu": 16, "cuda": 256, "mps": 32},
    prepare=_torch,
)

# In the order in which ``engine=auto`` takes the first that fits.
ENGINES: dict[str, EngineKind] = {
    "openvino": EngineKind({"cpu": ("fp32", "bf16")}, {"cpu": 10}, _openvino, package="openvino"),
    "torch": _TORCH,
    "compile": _TORCH,
}

PRECISIONS = ("fp32", "bf16", "fp16")

# of NVIDIA, AMD, WSL, Jetson
GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvhost-gpu", "/dev/nvmap")


def check_names(engine: str, precision: str, device: str) -> None:
    """Check the words that a user typed.

    Raises:
        UserError: a name that does not exist, or a combination that no machine has.

    Example:
        >>> check_names("auto", "fp16", "cpu")
        Traceback (most recent call last):
        magiqa.errors.UserError: precision=fp16: engine=auto on device=cpu computes in fp32, bf16; use one of these
    """
    if engine not in ("auto", *ENGINES):
        raise UserError(f"engine={engine} is not known: use auto, {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision} is not known: use {', '.join(PRECISIONS)}")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UserError(f"device={device} is not known: use auto, cpu, cuda, cuda:N or mps")
    kind = device.partition(":")[0]
    if kind == "auto":
        return
    kinds = list(ENGINES.values()) if engine == "auto" else [ENGINES[engine]]
    computed = [p for p in PRECISIONS if any(p in k.precisions.get(kind, ()) for k in kinds)]
    if not computed:
        devices = " or ".join(ENGINES[engine].precisions)
        raise UserError(f"engine={engine} runs on device={devices}, not on device={device}; use engine=torch")
    if precision not in computed:
        raise UserError(
            f"precision={precision}: engine={engine} on device={kind} computes in {', '.join(computed)}; "
            "use one of these"
        )


def resolve(engine: str, precision: str, device: str, *, absent: bool = False) -> Resolved:
    """Settle engine, precision and device.

    ``device=auto`` is CUDA, then MPS, then the CPU. ``engine=auto`` is OpenVINO on a CPU where it is installed,
    otherwise torch.

    Args:
        absent: allow a device or engine that this machine lacks: to find what it encoded elsewhere.

    Raises:
        UserError: an unknown name, a combination that cannot be, a device or package that is not there.

    Example:
        >>> resolve("torch", "fp32", "cpu")
        Resolved(engine='torch', precision='fp32', device='cpu')
    """
    check_names(engine, precision, device)
    device = _present_device(device, absent)
    check_names(engine, precision, device)
    if engine == "auto":
        kind = device.partition(":")[0]
        engine = next(
            n for n, e in ENGINES.items() if e.installed and precision in e.precisions.get(kind, ())
        )
    if not (ENGINES[engine].installed or absent):
        package = ENGINES[engine].package
        raise UserError(
            f"engine={engine} is not installed: pip install 'magiqa[{package}]', or use engine=torch"
        )
    return Resolved(engine, precision, device)


def _present_device(device: str, absent: bool) -> str:
    """Return the device that ``auto`` means, or the one that was typed if it is there."""
    kind, _, index = device.partition(":")
    if kind == "cpu" or (kind != "auto" and absent):
        return device
    if kind == "auto" and not _gpu_files():
        return "cpu"
    import torch

    # a GPU may be counted (by the driver's library) and yet be of no use (to a torch that is newer than the driver)
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if kind == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if kind == "mps" and not mps:
        raise UserError("device=mps: torch sees no Apple GPU; use device=cpu")
    if kind == "cuda" and int(index or 0) >= cuda:
        raise UserError(
            f"device={device}: torch {torch.__version__} can use {cuda} of {torch.cuda.device_count()} CUDA devices; "
            "use another device, update the NVIDIA driver, or install a torch built for this driver's CUDA"
        )
    return device


def _gpu_files() -> bool:
    """Return False only on a Linux without any file of a GPU: importing torch to ask it takes seconds."""
    return not sys.platform.startswith("linux") or any(Path(f).exists() for f in GPU_FILES)


DRIVER = Path("/proc/driver/nvidia/version")  # Linux; elsewhere the driver's version stays unknown


def hardware(device: str) -> dict[str, Any]:
    """Return the GPU's name and the versions between it and torch; nothing for a CPU.

    Returns:
        For CUDA: gpu, memory_gb, compute_capability, driver (None where the system does not tell), cuda, cudnn.
        For MPS: gpu. What torch was built without is None.
    """
    if device == "cpu":
        return {}
    import torch

    if device == "mps":
        return {"gpu": f"Apple GPU (MPS), macOS {platform.mac_ver()[0]}"}
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "memory_gb": round(properties.total_memory / 2**30, 1),
        "compute_capability": f"{properties.major}.{properties.minor}",
        "driver": driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def machine(device: str) -> str:
    """Return the name of what computes: the GPU, or the CPU with the cores that this process may use."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else []
    name = (names or [platform.processor() or platform.machine()])[0]
    return str(hardware(device).get("gpu") or f"{name}, {allowed_cores()} cores")


def driver() -> str | None:
    """Return the NVIDIA driver's version, which its kernel module writes into a file."""
    words = DRIVER.read_text().partition("\n")[0].split() if DRIVER.is_file() else []
    return next((word for word in words if word[0].isdigit() and "." in word), None)
