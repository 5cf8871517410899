"""Choose the engine of an image tower, build it, and check it against plain float32 torch.

On a CPU the cores work side by side, each on micro-batches of its own. Cores that share a layer wait for each other at
its end, and if anything else runs (decoding, another program) they mostly wait.
"""

import copy
import platform
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from magiqa.cores import allowed_cores, streams, threads
from magiqa.engines.engine import (
    Engine,
    EngineKind,
    Resolved,
    checked_error,
    out_of_memory,
    plain_forward,
    probe_views,
    refuse_forks,
)
from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch

    from magiqa.engines.device import OnDevice


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


SAME_VIEWS = 1e-6  # of a normalized pixel


def build(
    visual: "torch.nn.Module",
    resolved: Resolved,
    *,
    view_size: tuple[int, int],
    batch_size: int | Literal["auto"] = "auto",
    on_device: bool | None = None,
) -> Engine:
    """Make and check an engine for an image tower, which stays as it was.

    Args:
        visual: float32, on the CPU, in evaluation mode. batch_size: views a micro-batch. ``auto`` takes the engine's
            own size, and half of it as often as memory runs out.
        on_device: make views on the engine's device, which pixels reach faster than views. Default: on GPUs.

    Raises:
        UserError: the engine cannot run this tower, its features differ from plain float32 torch by more than its
            tolerance, or a batch does not fit into memory.
    """
    import torch

    refuse_forks()
    if getattr(visual, "output_tokens", False):  # CoCa's towers return all tokens too
        visual = copy.copy(visual)
        visual.output_tokens = False  # type: ignore[assignment]
    probe = probe_views(3, view_size)
    reference = plain_forward(visual)(probe)
    cores = torch.get_num_threads()
    try:
        if resolved.device == "cpu":  # of each caller: new threads take it over
            torch.set_num_threads(threads() // streams(resolved.device))
        make = ENGINES[resolved.engine].prepare(visual, resolved, view_size)
        engine = _largest(make, resolved, batch_size, probe, reference)
        if not (resolved.device != "cpu" if on_device is None else on_device):
            engine.way = None
        elif engine.way is not None and (reason := _refusal(engine.way)):
            engine.way = None
            engine.warnings.append(
                f"device={resolved.device}: views {reason}; they are made on the CPU instead (slower)"
            )
    except UserError:
        raise
    except Exception as error:
        if resolved.engine == "torch" and resolved.device == "cpu":
            raise
        raise UserError(
            f"engine={resolved.engine} precision={resolved.precision} device={resolved.device} cannot run this "
            f"backbone ({_first_line(error)}); {resolved.remedy}"
        ) from error
    finally:
        torch.set_num_threads(cores)
    return engine


def _largest(
    make: Callable[[int], Engine],
    resolved: Resolved,
    batch_size: int | Literal["auto"],
    probe: np.ndarray,
    reference: np.ndarray,
) -> Engine:
    """Return an engine of the batch size, or with ``auto`` of the largest half, quarter, ... that fits into memory."""
    own = ENGINES[resolved.engine].batch_sizes[resolved.kind]
    first = size = own if batch_size == "auto" else batch_size
    while True:
        try:
            engine = make(size)
            engine.max_error = _checked(engine, probe, reference)
        except Exception as error:
            if isinstance(error, UserError) or not out_of_memory(error, resolved.device):
                raise
            if batch_size != "auto" or size == 1:
                other = (
                    "a smaller views.window" if resolved.device == "cpu" else "precision=fp16, or device=cpu"
                )
                raise UserError(
                    f"device={resolved.device}: out of memory with batch_size={size}; end what else fills it, or use "
                    f"{f'batch_size={size // 2}, ' if size > 1 else ''}{other}"
                ) from error
            size //= 2
        else:
            if size < first:
                engine.warnings.append(f"out of memory with batch_size={first}; {size} is used instead")
            return engine


def _checked(engine: Engine, probe: np.ndarray, reference: np.ndarray) -> float:
    """Encode a full batch on all streams at once; return the largest error."""
    rows = np.arange(max(len(probe), engine.batch_size)) % len(probe)  # every place of a batch
    with ThreadPoolExecutor(engine.streams) as pool:
        features = list(pool.map(engine, [probe[rows]] * engine.streams))
    return max(checked_error(f, reference[rows], engine.resolved) for f in features)


def _refusal(way: "OnDevice") -> str | None:
    """Return why views are not to be made on a device; None if they are those made on the CPU."""
    try:
        difference = way.difference()
    except RuntimeError as error:  # an operation that a device or a version of torch lacks
        return f"cannot be made there ({_first_line(error)})"
    return (
        None
        if difference <= SAME_VIEWS
        else f"made there differ by {difference:.1e} from those made on the CPU"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
