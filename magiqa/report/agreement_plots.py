"""The figures of a run: scores against labels, the magnitude cue, groups."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from magiqa.report.captions import figure_note
from magiqa.report.display_names import SCORES as SCORE_NAMES
from magiqa.report.display_names import set_name, short_label
from magiqa.report.plots import dots
from magiqa.report.scatter import Row, agreement_line, magnitude_figure, scatter
from magiqa.report.style import NAMES, SCORES, Width
from magiqa.stats.logistic import WORDS


def run_figures(
    folder: Path,
    scores: pd.DataFrame,
    agreement: pd.DataFrame,
    groups: pd.DataFrame | None,
    record: Mapping[str, Any],
    *,
    width: Width = "page",
) -> list[Path]:
    """Write a run's figures: cues and score against the label, the magnitude cue, SRCC by group where there are any.

    Args:
        folder: where the files go; made if missing.
        scores: a row an image: the label column, `q_sim`, `q_mag`, `q` and optionally `group`.
        agreement: tidy: `score, statistic, value, ci_low, ci_high, n`.
        groups: the same with a column `group`, or None.
        record: the run's record: `dataset`, `backbone` and `fits` are read.
        width: printed width.

    Returns:
        The files written.
    """
    folder, note = Path(folder), figure_note(record)
    written = scatter(
        folder / "scatter", [run_row(scores, agreement, record)], SCORES, note=note, width=width
    )
    written += magnitude_figure(folder / "magnitude", scores, record, note=note)
    if groups is not None and len(groups):
        written += _by_group(folder, agreement, groups, record, width)
    return written


def run_row(
    scores: pd.DataFrame, agreement: pd.DataFrame, record: Mapping[str, Any], *, named: bool = False
) -> Row:
    """A run's panels: titles say the agreement, curves are the record's fits."""
    titles, curves = {}, {}
    for score in SCORES:
        line = agreement_line(agreement, score, intervals=not named)
        titles[score] = line if named else f"{NAMES[score]}\n{line}"
        fit = record.get("fits", {}).get(score) or {}
        curves[score] = fit.get("params")
        status = str(fit.get("status", "not fitted"))
        titles[score] += "" if curves[score] else f"\nno fitted curve ({WORDS.get(status, status)})"
        if curves[score] is not None and not named:
            value = _value(agreement, score, "plcc_logistic")
            titles[score] += f"\nPLCC of the {fit.get('method', '')} fit {value:.3f}"
    data = record["dataset"]
    if named:
        titles[SCORES[0]] = f"{set_name(data)}, n = {data['n']:,}\n{titles[SCORES[0]]}"
    return Row(scores, str(data["label"]), titles, curves)


def fit_remarks(*records: Mapping[str, Any]) -> str:
    """What a reader must know of the curves, of several sets with their names; empty where all is as it should be.

    Example:
        >>> fit_remarks({"fits": {"q_sim": {"params": [0] * 5, "status": "ok"}, "q": {"status": "flat"}}})
        'Fits: none (not fitted): magnitude cue; none (flat): fused score.'
    """
    said: dict[str, list[str]] = {}
    for record in records:
        of: dict[str, list[str]] = {}
        for score in SCORES:
            fit = record.get("fits", {}).get(score) or {}
            status = str(fit.get("status", "not fitted"))
            words = WORDS.get(status, status).replace(":", ",")
            if fit.get("params") is None:
                of.setdefault(f"none ({words})", []).append(SCORE_NAMES[score])
            elif status in WORDS:
                of.setdefault(words, []).append(SCORE_NAMES[score])
        for words, scores in of.items():
            which = "all" if len(scores) == len(SCORES) else ", ".join(scores)
            where = f" on {set_name(record['dataset'])}" if len(records) > 1 else ""
            said.setdefault(words, []).append(which + where)
    parts = [f"{words}: {'; '.join(of_sets)}" for words, of_sets in said.items()]
    return f"Fits: {'; '.join(parts)}." if parts else ""


def grid_figure(
    stem: Path,
    runs: Sequence[tuple[pd.DataFrame, pd.DataFrame, Mapping[str, Any]]],
    *,
    note: str = "",
    width: Width = "page",
) -> list[Path]:
    """Data sets by cues: scores, agreement and record of a run on each set."""
    return scatter(stem, [run_row(*run, named=True) for run in runs], SCORES, note=note, width=width)


def _value(agreement: pd.DataFrame, score: str, statistic: str) -> float:
    """One value of the tidy table; NaN where it has none."""
    rows = agreement[(agreement["score"] == score) & (agreement["statistic"] == statistic)]
    return float(rows["value"].iloc[0]) if len(rows) else float("nan")


def _by_group(
    folder: Path, agreement: pd.DataFrame, groups: pd.DataFrame, record: Mapping[str, Any], width: Width
) -> list[Path]:
    """SRCC by group, what all images give pooled and in the mean above them."""
    rows = groups[(groups["statistic"] == "srcc") & groups["score"].isin(SCORES)]
    order = rows[rows["score"] == "q"].sort_values("value", ascending=False)["group"].tolist()
    rows = rows.set_index("group").loc[order].reset_index()
    rows = rows.rename(columns={"group": "name", "score": "series"})
    pooled = agreement[agreement["statistic"].isin(["srcc", "srcc_within"]) & agreement["score"].isin(SCORES)]
    names = {"srcc": "all images, pooled", "srcc_within": "mean within groups"}
    pooled = pooled.assign(name=pooled["statistic"].map(names)).rename(columns={"score": "series"})
    pooled = pooled.sort_values("statistic", kind="stable")
    rows = pd.concat([pooled, rows], ignore_index=True)
    return dots(
        folder / "srcc_by_group",
        rows.rename(columns={"ci_low": "low", "ci_high": "high"}),
        xlabel=f"SRCC with {short_label(str(record['dataset']['label']))}, 95 % interval",
        title="Agreement by group",
        note=f"{figure_note(record)}; compare cues inside a group, not groups: SRCC falls with the range of the labels",
        bold=tuple(names.values()),
        width=width,
    )
