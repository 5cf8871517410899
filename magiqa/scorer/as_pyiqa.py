"""A scorer that is called as a metric of pyiqa is: in place of ``pyiqa.create_metric("maclip")`` in a loop."""

from typing import Any

import torch

from magiqa.errors import UserError
from magiqa.scorer.scorer import Scorer


class PyiqaMetric(torch.nn.Module):
    """A scorer with the attributes of pyiqa's ``InferenceModel`` (pyiqa 0.1.16).

    Args:
        scorer: scores the images, on its own device; ``to`` moves nothing.

    Example:
        >>> metric = PyiqaMetric(Scorer("demo", batch_size=5)).eval()
        >>> metric(torch.rand(2, 3, 224, 224)).shape, metric.lower_better
        (torch.Size([2, 1]), False)
    """

    metric_mode = "NR"
    lower_better = False
    as_loss = False
    score_range = "~0, ~1"

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer
        self.metric_name = "magiqa"
        self.device = torch.device("cpu")  # where scores of files lie

    def forward(self, target: Any, ref: Any = None) -> torch.Tensor:
        """Score images.

        Args:
            target: a tensor (N, 3, H, W) in [0, 1], a path or a Pillow image. ref: None; there is no reference.

        Returns:
            float32 (N, 1), on the tensor's device, higher = better.

        Raises:
            UserError: a reference is given; what `Scorer` raises.
        """
        if ref is not None:
            raise UserError("PyiqaMetric: scores need no reference; call it with the images alone")
        device = target.device if isinstance(target, torch.Tensor) else None
        return torch.from_numpy(self.scorer(target)).float()[:, None].to(device)
