"""Tails of the normal and of Student's t distribution: ``scipy.stats`` takes a second to import. Pure."""

from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit


def normal_tail(z: Any) -> Any:
    """The probability above z.

    Example:
        >>> round(float(normal_tail(1.96)), 3)
        0.025
    """
    return ndtr(-z)


def normal_quantile(tail: Any) -> Any:
    """What is exceeded with a probability: the inverse of `normal_tail`."""
    return -ndtri(tail)


def student_tail(t: Any, freedom: float) -> Any:
    """The probability above t with so many degrees of freedom."""
    return stdtr(freedom, -t)


def student_quantile(tail: Any, freedom: float) -> Any:
    """What is exceeded with a probability: the inverse of `student_tail`; infinite at 0 and 1.

    Example:
        >>> round(float(student_quantile(0.025, 15)), 3), float(student_quantile(0.0, 15))
        (2.131, inf)
    """
    inside = -stdtrit(freedom, tail)
    return np.where(np.equal(tail, 0.0), np.inf, np.where(np.equal(tail, 1.0), -np.inf, inside))
