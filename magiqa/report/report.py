"""A report of runs and ablations: tables, figures, and the page that holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magiqa import __version__
from magiqa.package import expanded
from magiqa.report.captioned_figures import (
    Drawn,
    drawn_ablation,
    drawn_comparison,
    drawn_curves,
    drawn_methods,
    drawn_run,
    drawn_study,
    with_captions,
)
from magiqa.report.captions import caption, study_notes
from magiqa.report.display_names import backbone_name, set_facts, set_name
from magiqa.report.gallery import gallery
from magiqa.report.group_tables import frame_table, groups_table
from magiqa.report.methods_table import agreement_table
from magiqa.report.other_programs import compared_runs, external_runs, with_external
from magiqa.report.page import Block, Fold, Page, Panel, Picture, Section, folded
from magiqa.report.pictures import Pictures, group_names
from magiqa.report.published_beside import published_table
from magiqa.report.scatter import agreement_line
from magiqa.report.significance import named_pairs, significance_table
from magiqa.report.style import NAMES, Width
from magiqa.report.table import Table
from magiqa.report.table_files import write_tables
from magiqa.report.titles import each_once, result_title, run_title
from magiqa.runs.folder import ResultFolder
from magiqa.runs.names import CUES, slug
from magiqa.runs.read import Run, Sheet, long_table, read, read_table


@dataclass(frozen=True)
class Options:
    """What a reader asked for.

    Args:
        thumbnails: put small copies of the images into the page; False where these may not be published.
        statistics: columns of the methods table; () the field's. metrics: CSVs of other programs' scores, a row each.
        width: printed width of the figures of runs and ablations.
    """

    thumbnails: bool = True
    statistics: Sequence[str] = ()
    metrics: Sequence[Path] = ()
    width: Width = "page"


def report(folders: Sequence[Path], out: Path, **options: Any) -> list[Path]:
    """Write tables (CSV, Markdown, LaTeX), figures (PNG, PDF) with captions, and `report.html`.

    Args:
        folders: written by `magiqa evaluate`, `ablate`, `experiment` or `compare`, or folders that hold such.
        out: where to write; made if missing.
        options: as `Options`'.

    Returns:
        The files written.

    Raises:
        UserError: nothing to report in a folder, a file that cannot be read, or `out` cannot be written.
    """
    out, asked = expanded(out), Options(**options)
    runs, sheets = read([expanded(folder) for folder in folders])
    with ResultFolder(out, "report", ["report.html", "tables.tex"], record="report.json") as results:
        _report(runs, sheets, results, asked)
        listed = results.record({"magiqa": __version__, "command": "report"})["files"]
    return [out / name for name in listed]


def _report(runs: Sequence[Run], sheets: Sequence[Sheet], results: ResultFolder, asked: Options) -> None:
    folders_read = len(runs) + len({sheet.file.parent for sheet in sheets})
    page = Page(folders_read, _labels(runs, sheets))
    tables: list[Table] = []
    if runs:
        tables += _agreement(runs, sheets, page, results, asked)
        pictures = Pictures(runs, asked.thumbnails)
        blocks = []
        titles = each_once([run_title(run.record) for run in runs], [run.name for run in runs])
        for k, run in enumerate(runs):
            with_captions(drawn_run(run, results.figure_path(run.name), asked.width))
            groups = groups_table(run)
            tables += [groups] if groups else []
            blocks.append(_run(k, run, titles[k], groups, pictures))
        page.sections.append(Section("runs", "Runs", blocks, pictures.remark))
        page.data = pictures.data(runs)
    by_folder: dict[Path, list[Sheet]] = {}
    for sheet in sheets:
        by_folder.setdefault(sheet.file.parent / sheet.result, []).append(sheet)
    studies = list(by_folder.values())
    titles = each_once(
        [result_title(some[0].record, some[0].file.stem) for some in studies], [s[0].result for s in studies]
    )
    for anchor, title in _SECTIONS.items():
        found = [
            _result(some, its, results, asked.width)
            for some, its in zip(studies, titles, strict=True)
            if _section(some) == anchor
        ]
        tables += [table for made, _ in found for table in made]
        blocks = [block for _, block in found]
        if anchor == "ablations" and (curves := drawn_curves(sheets, results.figure_path())):
            with_captions(curves)
            blocks.insert(0, Block(title="One parameter on several data sets", figures=_pictures(curves)))
        if blocks:
            page.sections.append(Section(anchor, title, blocks))
    write_tables(tables, results)
    results.text("report.html", page.html())


LEFT_OUT = "ablate -m"  # what wrote the table of one data set left out

_SECTIONS = {"comparisons": "Comparisons", "ablations": "Ablations", "more": "More results"}


def _section(sheets: Sequence[Sheet]) -> str:
    if sheets[0].ablation or sheets[0].record.get("command") == LEFT_OUT:
        return "ablations"
    return "comparisons" if sheets[0].record.get("command") == "compare" else "more"


def _pictures(drawn: Sequence[Drawn]) -> list[Picture]:
    names = [
        d.png.stem if d.png.parent.name == "figures" else f"{d.png.parent.name}/{d.png.stem}" for d in drawn
    ]
    return [
        Picture(d.png, f"{name}; the tables hold its numbers", d.caption, d.wide)
        for name, d in zip(names, drawn, strict=True)
    ]


def _labels(runs: Sequence[Run], sheets: Sequence[Sheet]) -> list[str]:
    """The labels of weights that are not published ones."""
    records = [run.record for run in runs] + [sheet.record for sheet in sheets]
    records += [r["start"] for r in records if isinstance(r.get("start"), dict)]  # where a walk began
    return sorted({str(r["backbone"]["label"]) for r in records if r.get("backbone", {}).get("label")})


def _agreement(
    runs: Sequence[Run], sheets: Sequence[Sheet], page: Page, results: ResultFolder, asked: Options
) -> list[Table]:
    """The main table, all statistics, figures of all methods; published values beside measured ones."""
    others = external_runs(runs, asked.metrics)
    others += compared_runs(runs, sheets, others)
    main = agreement_table(runs, asked.statistics, others)
    rows = with_external(long_table(runs), others)
    drawn = drawn_methods(runs, others, rows, results.figure_path(), asked.width)
    with_captions(drawn)
    plots = _pictures(drawn)
    every = Fold("All statistics", frame_table("statistics", "All statistics", rows))
    block = Block(tables=[main], figures=plots, folds=[every])
    page.sections.append(Section("agreement", "Agreement", [block]))
    beside, refused = published_table(runs)
    note = "" if beside else "No run here follows the protocol of a published row with published weights."
    folds = [Fold("Runs that are not compared", items=refused)] if refused else []
    block = Block(note=note, tables=[beside] if beside else [], folds=folds)
    page.sections.append(Section("published", "Published values", [block]))
    return [main, *([beside] if beside else [])]


def _run(k: int, run: Run, title: str, groups: Table | None, pictures: Pictures) -> Block:
    """One run: facts, scatter plots, groups, gallery, other tables of its folder, record."""
    record = run.record
    folds = [Fold("Groups", groups)] if groups else []
    file = run.folder / "comparison.csv"
    if file.is_file():
        name = f"{run.name}-{slug(file.stem)}"
        folds.append(Fold(file.name, frame_table(name, file.stem, read_table(file))))
    return Block(
        title=title,
        anchor=f"run-{k}",
        run=k,
        facts=[
            ("data set", f"{set_name(record['dataset'])}, {set_facts(record['dataset'])}"),
            ("backbone", backbone_name(record.get("backbone", {}))),
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
        record=record.given,
    )


def _panel(run: Run, score: str) -> Panel:
    """A score's canvas and its heading."""
    parts = agreement_line(run.agreement, score).split("\n")
    fit = run.record.get("fits", {}).get(score) or {}
    if fit.get("params") is None:
        parts.append(f"no fitted curve ({fit.get('status', 'not fitted')})")
    alt = f"{NAMES[score]} against {run.label}: {', '.join(parts)}. Arrow keys go from image to image."
    return Panel(score, NAMES[score], parts, alt)


def _result(
    sheets: Sequence[Sheet], title: str, results: ResultFolder, width: Width
) -> tuple[list[Table], Block]:
    """A folder of an ablation or another result: its figures, tables, notes and record."""
    first = sheets[0]
    record = first.record
    about = record.get(str(record.get("command", "")).replace("ablate", "ablation"))
    about = about if isinstance(about, Mapping) else {}
    words = caption(record)
    reference = None if about.get("reference") is None else str(about["reference"])
    tables = []
    for sheet in sheets:
        of = f"{title}: {sheet.file.stem}" if len(sheets) > 1 else title
        name = f"ablation_{sheet.name}" if sheet.ablation else sheet.name
        frame = sheet.table
        if record.get("command") == "compare":
            frame = named_pairs(frame, record)
        tables.append(frame_table(name, "; ".join(filter(None, (of, words))), frame, reference=reference))
    tables[-1].notes.extend(study_notes(record))
    if first.ablation and {"variant", "srcc"} <= set(first.table):
        drawn = drawn_ablation(first, results.figure_path(), tables[0].name, width)
    elif record.get("command") == "compare":
        drawn = drawn_comparison(first, results.figure_path(), first.result)
        tables.insert(0, significance_table(f"{first.result}-matrix", first.table, record))
    else:
        drawn = drawn_study(first, results.figure_path(first.result))
    with_captions(drawn)
    shown, folds, left_out = folded(tables)
    block = Block(
        title=title,
        anchor=f"result-{slug(first.result)}",
        note=" ".join([words, *left_out]),
        tables=shown,
        figures=_pictures(drawn),
        folds=folds,
        record=record.given,
    )
    return tables, block
