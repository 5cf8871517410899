"""Magnitude cues of many variants at once: the same numbers as one by one, in a tenth of the time. Pure."""

from collections.abc import Callable, Sequence

import numpy as np

from magiqa.method.cues import BoxCox, standardize

_ROWS = 64  # views at a time for many lambdas: 64 x 1,024 float64 stay in a core's own cache


def box_cox_means(log1p_magnitude: np.ndarray, lams: Sequence[float]) -> np.ndarray:
    """Mean over D of the Box-Cox transform for many lambdas: (V, D) -> (V, L).

    On a regular grid each lambda follows from its neighbor by expm1(a + b) = expm1(a) + expm1(b) + expm1(a) expm1(b),
    outwards from 0, where all terms have one sign and nothing cancels: the last of 50 steps differs from a direct
    expm1 by some 1e-14 of its value, at a tenth of the time.
    """
    order = sorted(range(len(lams)), key=lambda i: lams[i])
    out = np.empty((len(log1p_magnitude), len(lams)))
    for start in range(0, len(log1p_magnitude), _ROWS):
        logs = log1p_magnitude[start : start + _ROWS]
        rows = slice(start, start + len(logs))
        for sign in (1, -1):
            steps: dict[float, np.ndarray] = {}
            last, value = 0.0, np.zeros_like(logs)
            scratch = np.empty_like(logs)
            for i in order if sign > 0 else reversed(order):
                lam = lams[i]
                if lam == 0 and sign > 0:
                    out[rows, i] = logs.mean(axis=1)
                if lam * sign <= 0:
                    continue
                step = round(lam - last, 9)
                if step and abs(step) <= 0.25 and abs(lam - last - step) < 1e-12:
                    if step not in steps:
                        steps[step] = np.expm1(step * logs)
                    np.add(value, 1.0, out=scratch)
                    scratch *= steps[step]
                    value += scratch
                else:
                    value = np.expm1(lam * logs)
                out[rows, i] = value.mean(axis=1) / lam
                last = lam
    return out


def magnitudes(rows: np.ndarray, cues: Sequence[Callable[[np.ndarray], np.ndarray]]) -> np.ndarray:
    """Many magnitude cues of features (V, D): (len(cues), V). log1p once for all lambdas of one kind."""
    out = np.empty((len(cues), len(rows)))
    for standardized in (True, False):
        lams = {
            i: c.lam for i, c in enumerate(cues) if isinstance(c, BoxCox) and c.standardize == standardized
        }
        if len(lams) > 1:
            a = standardize(rows) if standardized else np.abs(rows.astype(np.float64))
            out[list(lams)] = box_cox_means(np.log1p(a), list(lams.values())).T
        else:
            for i in lams:
                out[i] = cues[i](rows)
    for i, cue in enumerate(cues):
        if not isinstance(cue, BoxCox):
            out[i] = cue(rows)
    return out
