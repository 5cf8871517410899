"""A user's whole way on the device that `scripts/gpu_check.py` names, beside the CPU's."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from towers import DEVICE, SIZE, error, pictures, plain, tower

from magiqa import Scorer
from magiqa.cli.main import main
from magiqa.engines.build import build
from magiqa.engines.engine import Resolved

GPU = pytest.mark.skipif(DEVICE == "cpu", reason="no GPU is checked")
CUDA = pytest.mark.skipif(not DEVICE.startswith("cuda"), reason="no NVIDIA GPU is checked")
SHAPES = [(224, 224), (300, 257), (512, 384), (640, 230), (250, 250)]  # width, height


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of several sizes and their labels."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i, (width, height) in enumerate(SHAPES):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((width, height))
        noise = rng.normal(0, 10 * i, (height, width, 3))
        Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    pd.DataFrame(
        {"image": [f"{i}.png" for i in range(len(SHAPES))], "mos": [5.0, 4.0, 3.0, 2.0, 1.0]}
    ).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.mark.slow
def test_scores_are_the_cpus_whatever_the_input(folder):
    files = sorted(str(p) for p in folder.glob("*.png"))
    expected = Scorer("demo", engine="torch", device="cpu", batch_size=4)(files)
    scorer = Scorer("demo", engine="torch", device=DEVICE, batch_size=4)
    found = scorer(files)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    arrays = [np.array(Image.open(file)) for file in files]
    np.testing.assert_array_equal(scorer(arrays), found)
    tensors = [torch.from_numpy(a).permute(2, 0, 1).float().div(255).to(DEVICE) for a in arrays]
    np.testing.assert_allclose(scorer(tensors), found, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([scorer(file) for file in files]), found, rtol=0, atol=1e-6)


@GPU
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_on_a_gpu_gives_the_cpus_scores_and_names_the_gpu(folder, tmp_path, precision):
    def scores(device: str, precision: str) -> pd.DataFrame:
        out = tmp_path / device.replace(":", "_") / precision
        asked = [f"dataset.root={folder}", f"device={device}", f"precision={precision}", "engine=torch"]
        asked += [f"out={out}", f"cache_dir={tmp_path / 'cache'}", "cache_engine=same"]
        assert main(["evaluate", "dataset=folder", *asked, "figures=false", "batch_size=4"]) == 0
        return pd.read_csv(out / "scores.csv").set_index("image")

    expected, found = scores("cpu", "fp32"), scores(DEVICE, precision)
    assert list(found.index) == list(expected.index)
    close = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}[precision]
    np.testing.assert_allclose(found["q"], expected["q"], atol=close)


@GPU
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_a_compiled_tower_on_a_gpu_is_within_its_tolerance(kind, precision):
    visual, views = tower(kind), pictures(5)
    engine = build(visual, Resolved("compile", precision, DEVICE), batch_size=4, view_size=SIZE)
    assert error(engine(views), plain(visual, views)) <= engine.resolved.tolerance
