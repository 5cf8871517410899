"""Facts about this machine's CPU and GPU, for the record and for warnings."""

from pathlib import Path
from typing import Any

DRIVER = Path("/proc/driver/nvidia/version")  # Linux; elsewhere the driver's version stays unknown

BF16_FLAGS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}  # of CPUs in /proc/cpuinfo


def hardware(device: str) -> dict[str, Any]:
    """Return the GPU's name and the versions between it and torch; nothing for a CPU.

    Returns:
        For CUDA: gpu, memory_gb, compute_capability, driver (None where the system does not tell), cuda, cudnn.
        For MPS: gpu. What torch was built without is None.
    """
    if device == "cpu":
        return {}
    import platform

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


def slow_bf16(device: str) -> str | None:
    """Return a warning if a device has no arithmetic for bf16, which costs time there instead of saving it."""
    if device.startswith("cuda"):
        import torch

        slow, name, faster = torch.cuda.get_device_capability(device)[0] < 8, "GPU (before Ampere)", "fp16"
    else:
        flags = (_cpuinfo("flags") or _cpuinfo("Features") or ["bf16"])[
            0
        ].split()  # elsewhere than on Linux: unknown
        slow, name, faster = not BF16_FLAGS & {*flags} and device == "cpu", "CPU", "fp32"
    return (
        f"precision=bf16: this {name} has no arithmetic for it; precision={faster} is faster"
        if slow
        else None
    )


def _cpuinfo(field: str) -> list[str]:
    """Return a field of each core; nothing on systems other than Linux."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field]


def driver() -> str | None:
    """Return the NVIDIA driver's version, which its kernel module writes into a file."""
    words = DRIVER.read_text().partition("\n")[0].split() if DRIVER.is_file() else []
    return next((word for word in words if word[0].isdigit() and "." in word), None)
