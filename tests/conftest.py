"""Shared fixtures: deterministic weights in a file, the optional folder of real data."""

import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"
MACLIP = [
    ("Good image", "bad image"),
    ("Sharp image", "blurry image"),
    ("sharp edges", "blurry edges"),
    ("High resolution image", "low resolution image"),
    ("Noise-free image", "noisy image"),
]
ARCHITECTURES = {"RN50-quickgelu": "RN50", "ViT-B-32-quickgelu": "ViT-B-32"}
GOLDEN_SEED = 20261123


def pytest_configure(config):
    # Every test reads and writes caches of its own: never the user's.
    os.environ["MAGIQA_CACHE"] = "/nonexistent/magiqa-tests-must-set-cache_dir"
    os.environ["COLUMNS"] = "100"  # screens do not depend on the terminal that the tests run in
    if "PYTEST_XDIST_WORKER" in os.environ:  # a core each: torch's threads would take turns on it
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(tempfile.gettempdir(), "magiqa-tests-matplotlib"))


def pytest_make_parametrize_id(config, val, argname):
    """A readable id of a file, and of a function: its own name, or the argument's for one that has none."""
    if isinstance(val, Path):
        return val.name
    if callable(val) and hasattr(val, "__name__"):
        return argname if val.__name__ == "<lambda>" else val.__name__
    return None


def golden_uniform(name: str, shape, seed: int) -> np.ndarray:
    """Golden numbers from -1 to 1 of a tensor's name."""
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    return rng.random(tuple(shape)) * 2.0 - 1.0


def golden_fill(state: dict, seed: int = GOLDEN_SEED) -> dict:
    """A CLIP state dict of the same names and shapes with golden values (float32).

    They depend on a tensor's name, its shape and the seed alone: not on torch's random generator, and not on the order
    of the tensors. They are rounded to float16, as in OpenAI's checkpoints.
    """
    import torch

    out = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            out[name] = tensor.clone()
            continue
        u = golden_uniform(name, tensor.shape, seed)
        if name == "logit_scale":
            value = np.full(tensor.shape, np.log(100.0))
        elif name.endswith("running_var"):
            value = 1.0 + 0.25 * u
        elif name.endswith("running_mean"):
            value = 0.05 * u
        elif name.endswith(".weight") and tensor.dim() == 1:  # gain of a norm
            value = 0.75 + 0.25 * u
        elif name.endswith("bias"):
            value = 0.01 * u
        elif "embedding" in name:
            value = 0.05 * u
        else:  # convolution, linear, projection: the variance stays
            rows = name.endswith(("proj", "text_projection"))
            fan_in = tensor.shape[0] if rows else np.prod(tensor.shape[1:])
            value = np.sqrt(3.0 / max(int(fan_in), 1)) * u
        out[name] = torch.from_numpy(value.astype(np.float16).astype(np.float32))
    return out


@pytest.fixture(scope="session")
def golden_checkpoints(tmp_path_factory) -> dict[str, Path]:
    """Safetensors files of the golden weights by open_clip name."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("golden")
    out = {}
    for name in ARCHITECTURES:
        out[name] = folder / f"{name}.safetensors"
        state = golden_fill(open_clip.create_model(name, pretrained=None).state_dict())
        save_file({k: v.contiguous() for k, v in state.items()}, out[name])
    return out


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of MAGIQA_TEST_DATA: real data sets and golden images that are not part of the project."""
    root = os.environ.get("MAGIQA_TEST_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("MAGIQA_TEST_DATA is not set to a folder with datasets/AGIQA-3K and golden/")
    return Path(root)


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory) -> Path:
    """The built-in sample, made once for all of pytest-xdist's workers; to be read only."""
    from magiqa.datasets.sample import Sample

    base = tmp_path_factory.getbasetemp()
    root = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "sample"
    Sample(str(root)).load()
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny CLIP and set (see `tiny`), which the tests of a file share."""
    import tiny

    return tiny.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def packed(tmp_path_factory) -> Path:
    """A tiny CLIP and set with a run and its bundle, to be read only."""
    import tiny

    from magiqa.cli.main import main

    made = tiny.make(tmp_path_factory.mktemp("packed"))
    run = made / "run"
    assert main(["evaluate", *tiny.overrides(made, f"out={run}", "views_file=true")]) == 0
    assert main(["pack", str(run), f"cache_dir={made / 'cache'}", tiny.named(made)]) == 0
    return made
