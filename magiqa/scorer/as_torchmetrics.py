"""A scorer as a metric of torchmetrics (``pip install torchmetrics``)."""

from typing import Any

import torch
from torchmetrics import Metric

from magiqa.errors import UserError
from magiqa.scorer.scorer import Scorer

STEP = 2.0**-32  # what the sum is counted in: whole numbers round nowhere, and MPS has no float64


class MeanQuality(Metric):
    """The mean score of all images seen, over batches and processes; higher = better.

    Args:
        scorer: scores the images, on its own device. kwargs: torchmetrics' own.

    Example:
        >>> metric = MeanQuality(Scorer("demo", batch_size=5))
        >>> metric.update(torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)))
        >>> bool(0 < metric.compute() < 1.5)
        True
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: torch.Tensor
    count: torch.Tensor

    def __init__(self, scorer: Scorer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scorer = scorer
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, images: Any) -> None:
        """Take images as `Scorer` takes them: a batch (N, 3, H, W) in [0, 1], or a list."""
        q = self.scorer(images)
        self.total += round(float(q.sum()) / STEP)
        self.count += len(q)

    def compute(self) -> torch.Tensor:
        """Return the mean, a scalar.

        Raises:
            UserError: no image was seen.
        """
        if int(self.count) == 0:
            raise UserError("MeanQuality: no image was seen; call update(images) first")
        return torch.tensor(int(self.total) * STEP / int(self.count), device=self.total.device)
