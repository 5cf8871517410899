"""Shared fixtures: deterministic weights in a file, the optional folder of real data."""

import importlib.util
import os
import tempfile
from pathlib import Path

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


def golden_state(name: str) -> dict:
    """The golden weights of an open_clip architecture as a state dict (float32)."""
    import open_clip

    return golden_fill(open_clip.create_model(name, pretrained=None).state_dict())


def _golden_module():
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden_fill(state: dict, seed: int = GOLDEN_SEED) -> dict:
    """A state dict of the same names and shapes with golden values (float32, exact in float16)."""
    return _golden_module().fill(state, seed)


def golden_uniform(name: str, shape, seed: int):
    """Golden numbers from -1 to 1 of a tensor's name."""
    return _golden_module()._uniform(name, shape, seed)


@pytest.fixture(scope="session")
def golden_checkpoints(tmp_path_factory) -> dict[str, Path]:
    """Safetensors files of the golden weights by open_clip name."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("golden")
    out = {}
    for name in ARCHITECTURES:
        out[name] = folder / f"{name}.safetensors"
        save_file({k: v.clone().contiguous() for k, v in golden_state(name).items()}, out[name])
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
