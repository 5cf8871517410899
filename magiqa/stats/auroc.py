"""The area under the ROC curve of scores that tell pristine images from distorted ones. Pure."""

import numpy as np
from scipy.special import expit, logit

from magiqa.stats.correlation import ranks
from magiqa.stats.sampled import Sampled, jackknife


def auroc(pristine: np.ndarray, distorted: np.ndarray) -> float:
    """Return the probability that a pristine image has the higher score, in [0, 1]; ties count half.

    Example:
        >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
        0.875
    """
    n, m = len(pristine), len(distorted)
    total = ranks(np.concatenate([pristine, distorted]))[:n].sum()
    return float((total - n * (n + 1) / 2) / (n * m))


def auroc_interval(
    pristine: np.ndarray, distorted: np.ndarray, of_pristine: np.ndarray, of_distorted: np.ndarray
) -> tuple[float, float, float]:
    """Return AUROC with its 95 % interval, by the jackknife over references, on the logit scale.

    Args:
        of_pristine, of_distorted: the number of each image's reference, from 0 on.

    Returns:
        The value, and the ends of its interval: NaN for fewer than five references, and where AUROC is 0 or 1.
    """
    value, units = auroc(pristine, distorted), int(of_pristine.max()) + 1
    if not 0 < value < 1 or units < 2:
        return value, np.nan, np.nan
    without = [auroc(pristine[of_pristine != k], distorted[of_distorted != k]) for k in range(units)]
    parts = jackknife(np.array([without])) * np.sqrt(units / (units - 1))
    ((low, high),) = Sampled(logit(np.array([value])), parts / (value * (1 - value))).intervals()
    return value, float(expit(low)), float(expit(high))
