"""What tests found, in a sentence: for captions that can be read without their figure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

LEVEL = 0.05

MOST_NAMED = 8


def verdict(
    table: pd.DataFrame, names: Sequence[str], difference: str, rows: str, *, ordered: bool = False
) -> str:
    """Which rows differ significantly, by the p that holds for all rows of the table at once.

    Args:
        table: `diff` and `p_adjusted`. names: of its rows. difference: of what to what. rows: what they are.
        ordered: rows follow a number, so that neighbors are named by the first and the last of them.

    Example:
        >>> rows = pd.DataFrame({"diff": [0.0, 0.1, -0.2, 0.1], "p_adjusted": [np.nan, 0.01, 0.03, 0.4]})
        >>> verdict(rows, ["a", "b", "c", "d"], "Difference to a", "variants")
        'Difference to a (p < 0.05, adjusted by max-T for all 3 variants). Above 0: b. Below 0: c. Not significant: d.'
        >>> verdict(rows.assign(diff=0.0, p_adjusted=np.nan), ["a", "b", "c", "d"], "Difference to a", "variants")
        'Difference to a: not tested, as no row differs.'
        >>> verdict(rows.assign(diff=np.nan, p_adjusted=np.nan), ["a", "b", "c", "d"], "Difference to a", "variants")
        'Difference to a: not tested.'
    """
    if "p_adjusted" not in table:
        return ""
    p, gap = table["p_adjusted"].to_numpy(float), table["diff"].to_numpy(float)
    tested, sure = np.isfinite(p), p < LEVEL
    if not tested.any():
        return f"{difference}: not tested" + (", as no row differs." if (np.abs(gap) < 1e-12).all() else ".")
    count = int(tested.sum())
    family = f"adjusted by max-T for all {count} {rows}" if count > 1 else "one test"
    found = _parts(names, tested, sure & (gap > 0), sure & (gap < 0), "not significant", ordered)
    return f"{difference} (p < {LEVEL:g}, {family}). {found}"


def pairs_verdict(table: pd.DataFrame) -> str:
    """How many pairs of methods differ, and which do not.

    Args:
        table: of `magiqa compare`, one statistic.

    Example:
        >>> pairs_verdict(pd.DataFrame({"a": ["q", "q"], "b": ["q_sim", "bytes"], "p_adjusted": [0.4, 0.01]}))
        'Of 2 pairs 1 differ significantly; not so: q and q_sim.'
    """
    p = table["p_adjusted"].to_numpy(float)
    tested = np.isfinite(p)
    alike = [f"{r.a} and {r.b}" for r in table[tested & ~(p < LEVEL)].itertuples(index=False)]
    text = f"Of {int(tested.sum())} pairs {int((p < LEVEL).sum())} differ significantly"
    if alike and len(alike) <= MOST_NAMED:
        text += f"; not so: {'; '.join(alike)}"
    return f"{text}." if tested.any() else "No pair was tested."


def excess_verdict(table: pd.DataFrame, names: Sequence[str], difference: str) -> str:
    """Which differences have an interval, each alone, that leaves out 0.

    Args:
        table: `diff, diff_low, diff_high`. names: of its rows. difference: of what to what.
    """
    low, high = table["diff_low"].to_numpy(float), table["diff_high"].to_numpy(float)
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return f"{difference}: no intervals."
    found = _parts(names, known, low > 0, high < 0, "0 inside the interval")
    return f"{difference} (95 % interval, each row alone). {found}"


def _parts(
    names: Sequence[str],
    known: np.ndarray,
    above: np.ndarray,
    below: np.ndarray,
    rest: str,
    ordered: bool = False,
) -> str:
    """Which rows are above and below 0 and which are neither: by name where they are few."""
    parts = []
    for word, at in (("above 0", above), ("below 0", below), (rest, known & ~above & ~below)):
        if not at.any():
            continue
        some = [str(name) for name, there in zip(names, at, strict=True) if there]
        if ordered:
            some = _runs(names, known, at)
        said = "; ".join(some) if len(some) <= MOST_NAMED else str(at.sum())
        whole = at.sum() == known.sum() > 1
        parts.append(f"{word[:1].upper()}{word[1:]}: {'all' if whole else said}.")
    return " ".join(parts)


def _runs(names: Sequence[str], known: np.ndarray, at: np.ndarray) -> list[str]:
    """Names; of three neighbors and more the first and the last. What is not known parts no neighbors.

    Example:
        >>> _runs(list("abcdef"), np.ones(6, bool), np.array([1, 1, 1, 0, 1, 0], bool))
        ['a to c (3)', 'e']
    """
    kept = np.flatnonzero(known)
    hits = at[kept]
    starts = np.flatnonzero(np.diff(hits, prepend=False, append=False).astype(bool))
    out: list[str] = []
    for start, stop in zip(starts[::2], starts[1::2], strict=True):
        some = [str(names[k]) for k in kept[start:stop]]
        out += some if len(some) < 3 else [f"{some[0]} to {some[-1]} ({len(some)})"]
    return out
