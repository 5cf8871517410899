"""What a GPU run depends on that a CPU run does not, for the record."""

from pathlib import Path
from typing import Any

DRIVER = Path("/proc/driver/nvidia/version")  # Linux; elsewhere the driver's version stays unknown


def hardware(device: str) -> dict[str, Any]:
    """The GPU's name and what stands between it and torch; nothing for a CPU.

    Returns:
        For CUDA: gpu, memory_gb, compute_capability, driver (None where the system does not tell), cuda, cudnn.
        For MPS: gpu. What torch was built without is None.
    """
    if device == "cpu":
        return {}
    import platform

    import torch

    if device == "mps":
        return {"gpu": f"{chip()} (MPS), macOS {platform.mac_ver()[0]}"}
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "memory_gb": round(properties.total_memory / 2**30, 1),
        "compute_capability": f"{properties.major}.{properties.minor}",
        "driver": driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def chip() -> str:
    """What the CPU is called, on a Mac the whole chip: Apple M1 and M2 are both ``arm`` to Python."""
    import platform
    import subprocess

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    if not names and platform.system() == "Darwin":
        told = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        names = [told.stdout.strip()] if told.stdout.strip() else []
    return names[0] if names else platform.processor() or platform.machine()


def half(device: str) -> str:
    """The half precision that a device computes fast: bf16 on CPUs and on NVIDIA GPUs from Ampere on, else fp16."""
    if not device.startswith("cuda"):
        return "fp16" if device == "mps" else "bf16"
    import torch

    return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"


def driver() -> str | None:
    """The NVIDIA driver's version, read from where its kernel module tells it."""
    if not DRIVER.is_file():
        return None
    words = DRIVER.read_text().partition("\n")[0].split()
    return next((word for word in words if word[0].isdigit() and "." in word), None)
