"""A report of runs and ablations: tables, figures, and the page that holds them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from magiqa import __version__
from magiqa.report.ablation_plots import ablation_figure
from magiqa.report.agreement_plots import run_figures
from magiqa.report.beside import published_table
from magiqa.report.gallery import gallery
from magiqa.report.methods import agreement_table
from magiqa.report.page import Block, Fold, Page, Panel, Picture, Section, folded
from magiqa.report.pictures import Pictures, group_names
from magiqa.report.plots import NAMES, caption, dots
from magiqa.report.table import Table
from magiqa.report.tables import frame_table, groups_table
from magiqa.report.typeset import write_tables
from magiqa.runs.folder import ResultFolder
from magiqa.runs.listed import files_of, read_listed
from magiqa.runs.names import CUES, backbone, dataset, slug
from magiqa.runs.read import Run, Sheet, long_table, read


def report(folders: Sequence[Path], out: Path, *, thumbnails: bool = True) -> list[Path]:
    """Write tables (CSV, Markdown, LaTeX), figures (PNG, PDF) and `report.html` for run and ablation folders.

    Args:
        folders: written by `magiqa evaluate` or `magiqa ablate`, or folders that hold such.
        out: where to write; made if missing.
        thumbnails: put small copies of the images into the page; False where these may not be published.

    Returns:
        The files written.

    Raises:
        UserError: nothing to report in a folder, a file that cannot be read, or `out` cannot be written.
    """
    out = Path(out).expanduser()
    runs, sheets = read([Path(folder).expanduser() for folder in folders])
    with ResultFolder(out, "report", ["report.html", "tables.tex"], record="report.json") as results:
        _report(runs, sheets, results, thumbnails)
        listed = results.record({"magiqa": __version__, "command": "report"})["files"]
    return [out / name for name in listed]


def _report(runs: Sequence[Run], sheets: Sequence[Sheet], results: ResultFolder, thumbnails: bool) -> None:
    folders_read = len(runs) + len({sheet.file.parent for sheet in sheets})
    page = Page(folders_read, _labels(runs, sheets))
    tables: list[Table] = []
    if runs:
        tables += _agreement(runs, page, results)
        pictures = Pictures(runs, thumbnails)
        blocks = []
        for k, run in enumerate(runs):
            run_figures(results.figure_path(run.name), run.scores, run.agreement, run.groups, run.record)
            groups = groups_table(run)
            tables += [groups] if groups else []
            blocks.append(_run(k, run, groups, pictures))
        page.sections.append(Section("runs", "Runs", blocks, pictures.remark))
        page.data = pictures.data(runs)
    by_folder: dict[Path, list[Sheet]] = {}
    for sheet in sheets:
        by_folder.setdefault(sheet.file.parent, []).append(sheet)
    for anchor, title, ablation in (("ablations", "Ablations", True), ("more", "More results", False)):
        found = [_result(some, results) for some in by_folder.values() if some[0].ablation == ablation]
        tables += [table for made, _ in found for table in made]
        if found:
            page.sections.append(Section(anchor, title, [block for _, block in found]))
    write_tables(tables, results)
    results.text("report.html", page.html())


def _labels(runs: Sequence[Run], sheets: Sequence[Sheet]) -> list[str]:
    """The labels of weights that are not published ones."""
    records = [run.record for run in runs] + [sheet.record for sheet in sheets]
    records += [r["start"] for r in records if isinstance(r.get("start"), dict)]  # where a walk began
    return sorted({str(r["backbone"]["label"]) for r in records if r.get("backbone", {}).get("label")})


def _agreement(runs: Sequence[Run], page: Page, results: ResultFolder) -> list[Table]:
    """The main table, all statistics, a figure a data set; published values beside measured ones."""
    main = agreement_table(runs)
    rows = long_table(runs)
    plots = []
    for k, (one, part) in enumerate(rows[rows["statistic"] == "srcc"].groupby("dataset", sort=False)):
        part = part.sort_values("value", ascending=False, kind="stable")
        several = len(set(part["backbone"]) - {""}) > 1
        names = part["method"] + part["backbone"].map(lambda b, on=several: f" · {b}" if b and on else "")
        frame = pd.DataFrame(
            {"name": names, "value": part["value"], "low": part["ci_low"], "high": part["ci_high"]}
        )
        labels = sorted({b for b in part["backbone"] if b})
        files = dots(
            results.figure_path(f"methods_{k + 1}_{slug(str(one))}"),
            frame,
            xlabel=f"SRCC with {part['label'].iloc[0]}, 95 % interval",
            title="Agreement by method",
            note=" · ".join([str(one), *labels]),
        )
        plots.append(Picture(files[0], f"SRCC by method on {one}; the same numbers are in the table above"))
    every = Fold("All statistics", frame_table("statistics", "All statistics", rows))
    block = Block(tables=[main], figures=plots, folds=[every])
    page.sections.append(Section("agreement", "Agreement", [block]))
    beside, refused = published_table(runs)
    note = "" if beside else "No run here follows the protocol of a published row with published weights."
    folds = [Fold("Runs that are not compared", items=refused)] if refused else []
    block = Block(note=note, tables=[beside] if beside else [], folds=folds)
    page.sections.append(Section("published", "Published values", [block]))
    return [main, *([beside] if beside else [])]


def _run(k: int, run: Run, groups: Table | None, pictures: Pictures) -> Block:
    """One run: facts, scatter plots, groups, gallery, other tables of its folder, record."""
    record = run.record
    folds = [Fold("Groups", groups)] if groups else []
    file = run.folder / "comparison.csv"
    if file.is_file():
        name = f"{run.name}-{slug(file.stem)}"
        folds.append(Fold(file.name, frame_table(name, file.stem, pd.read_csv(file))))
    return Block(
        title=run.name,
        anchor=f"run-{k}",
        run=k,
        facts=[
            ("data set", dataset(record)),
            ("backbone", backbone(record)),
            ("weights", str(record.get("backbone", {}).get("weights_sha256", ""))[:16]),
            *(
                (group, record.get("choices", {}).get(group))
                for group in ("prompts", "views", "magnitude", "fusion")
            ),
            ("notes", "; ".join(map(str, record["dataset"].get("notes", [])))),
            ("warnings", "; ".join(map(str, record.get("warnings", [])))),
            ("images", pictures.note(run)),
        ],
        panels=[_panel(run, score) for score in CUES],
        groups=group_names(run),
        folds=folds,
        gallery=list(gallery(run, pictures)),
        record=record,
    )


def _panel(run: Run, score: str) -> Panel:
    """A score's canvas and its heading."""
    rows = run.agreement[run.agreement["score"] == score].set_index("statistic")
    parts = [
        f"{s.upper()} {rows.loc[s, 'value']:.3f} [{rows.loc[s, 'ci_low']:.3f}, {rows.loc[s, 'ci_high']:.3f}]"
        for s in ("srcc", "plcc")
        if s in rows.index and not pd.isna(rows.loc[s, "value"])
    ]
    fit = run.record.get("fits", {}).get(score) or {}
    if fit.get("params") is None:
        parts.append(f"no fitted curve ({fit.get('status', 'not fitted')})")
    alt = f"{NAMES[score]} against {run.label}: {', '.join(parts)}. Arrow keys go from image to image."
    return Panel(score, NAMES[score], parts, alt)


def _result(sheets: Sequence[Sheet], results: ResultFolder) -> tuple[list[Table], Block]:
    """A folder of an ablation or another result: its figures, tables, notes and record."""
    first = sheets[0]
    record = first.record
    about = record.get(str(record.get("command", "")).replace("ablate", "ablation"))
    about = about if isinstance(about, dict) else {}
    title = f"{'Ablation' if first.ablation else str(record.get('command', 'results')).capitalize()} {first.result}"
    words = caption(record)
    reference = None if about.get("reference") is None else str(about["reference"])
    tables = []
    for sheet in sheets:
        of = f"{title}: {sheet.file.stem}" if len(sheets) > 1 else title
        name = f"ablation_{sheet.name}" if sheet.ablation else sheet.name
        tables.append(frame_table(name, f"{of}; {words}", sheet.table, reference=reference))
    notes = [str(note) for note in about.get("notes") or []]
    split = about.get("split_half") or {}
    if split.get("optimism") is not None:
        notes.append(
            f"Picked on these images, {about.get('best')} gains {about.get('best_gain') or 0:+.4f}. A variant picked "
            f"on one half of them gains {split['optimism']:.4f} less on the other ({split.get('splits')} splits)."
        )
    tables[-1].notes.extend(notes)
    drawn = [name for name in files_of(record) if name.startswith("figures/")]
    # an ablation over several numbers: a figure each
    several = [name for name in drawn if name.startswith("figures/ablation_")]
    if first.ablation and not several and {"variant", "srcc"} <= set(first.table):
        files = ablation_figure(results.figure_path(tables[0].name), first.table, record)
    else:
        files = _copied(first.file.parent, record, drawn, results.figure_path(first.result))
    plots = [
        Picture(f, f"{title}: {f.stem}; the tables hold its numbers") for f in files if f.suffix == ".png"
    ]
    shown, folds, left_out = folded(tables)
    block = Block(
        title=title,
        anchor=f"result-{slug(first.result)}",
        note=" ".join([words, *left_out]),
        tables=shown,
        figures=plots,
        folds=folds,
        record=record,
    )
    return tables, block


def _copied(source: Path, record: dict[str, Any], names: Sequence[str], folder: Path) -> list[Path]:
    """Copies of the figures that a record lists, each as it was drawn: nothing else that lies there."""
    files = []
    for name in names:
        if name.endswith((".png", ".pdf")):
            folder.mkdir(parents=True, exist_ok=True)
            files.append(folder / Path(name).name)
            files[-1].write_bytes(read_listed(source, record, name))
    return files
