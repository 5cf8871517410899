"""Is the constrained logistic fit the best one? Against a global optimizer under the same constraint, on runs' scores.

    python scripts/fit_global.py RUN... --out results/coverage/fits.csv

A row a run, score, method and number of images (all, and random ones): the sums of squares left, as shares of the
labels' own; ``worse`` is ours less the optimizer's: below 0 ours is better. Differential evolution looks for the width
and the place of the transition, the rest is least squares.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import differential_evolution
from scipy.special import expit

from magiqa.runs.read import read
from magiqa.stats.logistic import fit_logistic, narrowest

SCORES = ("q", "q_sim", "q_mag", "laplacian", "bytes")


def least(x: np.ndarray, y: np.ndarray, line: bool, seed: int = 0) -> float:
    """The least sum of squares of a monotone logistic no steeper than `narrowest` allows."""
    x = (x - np.median(x)) / x.std()
    off = y - y.mean()

    def squares(p: np.ndarray) -> float:
        u = np.exp(p[0]) * (x - p[1])
        bend = (
            -expit(-u) if u.min() >= 0 else expit(u)
        )  # beyond the scores its digits are in the small exponential
        found = [float(off @ off)]
        for columns in ([bend, x], [bend], [x]) if line else ([bend],):
            centered = [c - c.mean() for c in columns]
            design = np.stack([c / max(float(np.linalg.norm(c)), 1e-300) for c in centered], axis=1)
            b = np.linalg.lstsq(design, off, rcond=None)[0]
            if len(b) == 1 or b[0] * b[1] >= 0:
                found.append(float(np.sum((off - design @ b) ** 2)))
        return min(found)

    bounds = [(np.log(5e-3 / np.ptp(x)), -np.log(narrowest(x))), (x.min() - 5, x.max() + 5)]
    return float(differential_evolution(squares, bounds, seed=seed, tol=1e-8, popsize=10).fun)


def rows(run: Path, sizes: tuple[int, ...]) -> pd.DataFrame:
    """All scores of a run."""
    (found,), _ = read([run])
    y_all = found.scores[found.label].to_numpy(float)
    out = []
    for score in SCORES:
        x_all = found.scores[score].to_numpy(float)
        for size in (len(y_all), *sizes):
            at = np.random.default_rng(size).permutation(len(y_all))[:size]
            x, y = x_all[at], y_all[at]
            total = float(np.sum((y - y.mean()) ** 2))
            for method in ("monotone", "logistic4"):
                fit = fit_logistic(x, y, method)
                ours, theirs = size * fit.rmse**2 / total, least(x, y, method == "monotone") / total
                out.append((found.name, score, method, size, fit.status, ours, theirs, ours - theirs))
                print(*out[-1], flush=True)
    names = ["run", "score", "method", "n", "status", "left", "left_by_optimizer", "worse"]
    return pd.DataFrame(out, columns=names)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/coverage/fits.csv"))
    parser.add_argument("--sizes", type=int, nargs="*", default=[50, 300])
    given = parser.parse_args()
    table = pd.concat([rows(run, tuple(given.sizes)) for run in given.runs], ignore_index=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out, index=False, float_format="%.3g", lineterminator="\n")
    print(
        f"{given.out}: {len(table)} fits, the worst {table['worse'].max():+.1e} of the labels' sum of squares"
    )


if __name__ == "__main__":
    main()
