"""The adapters: within torchmetrics itself, and called as pyiqa's evaluation loops call a metric."""

import warnings

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from magiqa import Scorer
from magiqa.errors import UserError
from magiqa.scorer.as_pyiqa import PyiqaMetric

torchmetrics = pytest.importorskip("torchmetrics")

from magiqa.scorer.as_torchmetrics import MeanQuality  # noqa: E402


@pytest.fixture(scope="module")
def scorer(folder) -> Scorer:
    keys = ("backbone", "views", "engine", "batch_size", "workers")
    return Scorer.compose(*(o for o in tiny.overrides(folder) if o.startswith(keys)))


@pytest.fixture(scope="module")
def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(n, 3, 70, 64 + n, generator=generator) for n in (3, 1, 2)]


def test_the_mean_is_over_images_not_batches(scorer, batches):
    metric, reference = MeanQuality(scorer), torchmetrics.MeanMetric()
    for batch in batches:
        q = torch.from_numpy(scorer(batch)).float()
        reference.update(q)
        assert float(metric(batch)) == pytest.approx(float(q.mean()), rel=1e-6)  # forward: the batch's own
    assert float(metric.compute()) == pytest.approx(float(reference.compute()), rel=1e-6)
    metric.reset()
    with pytest.raises(UserError, match="call update"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics' own, of the same
        metric.compute()


@pytest.mark.slow
def test_a_pyiqa_loop_finds_what_it_asks_for(scorer, batches, tmp_path):
    metric = PyiqaMetric(scorer).to("cpu").eval()
    assert (metric.metric_mode, metric.lower_better) == ("NR", False)
    for batch in batches:
        scores = metric(batch)
        assert scores.shape == (len(batch), 1) and scores.dtype == torch.float32
        np.testing.assert_allclose(scores.squeeze(1).cpu().detach().numpy(), scorer(batch), rtol=1e-6)
    pixels = (batches[0][0].permute(1, 2, 0) * 255).byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = scorer(pixels)[0]
    assert metric(str(tmp_path / "a.png")).item() == pytest.approx(expected, rel=1e-6)
    assert metric(Image.fromarray(pixels), None).item() == pytest.approx(expected, rel=1e-6)
    with torch.no_grad():
        assert torch.cat([metric(b) for b in batches]).shape == (6, 1)
    with pytest.raises(UserError, match="no reference"):
        metric(batches[0], batches[0])
