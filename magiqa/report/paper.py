"""A paper's results section: a folder that compiles as it is, from the folders of results alone."""

from collections.abc import Mapping, Sequence
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
    leading,
    varied,
    with_captions,
)
from magiqa.report.captions import describe, study_notes
from magiqa.report.escape import md, tex
from magiqa.report.group_tables import frame_table, groups_table
from magiqa.report.methods_paragraph import methods_paragraph, run_times
from magiqa.report.methods_table import RESAMPLES, agreement_table
from magiqa.report.other_programs import compared_runs, external_runs, with_external
from magiqa.report.published_beside import published_table
from magiqa.report.reproduce_script import script
from magiqa.report.significance import significance_table
from magiqa.report.style import Width
from magiqa.report.table import Cell, Table
from magiqa.report.table_files import DIGITS
from magiqa.report.template import HERE
from magiqa.report.titles import result_title
from magiqa.runs.folder import ResultFolder
from magiqa.runs.names import slug
from magiqa.runs.read import Run, Sheet, long_table, read

DOCUMENT = r"""% Compile this file; results.tex goes into a paper of your own.
\documentclass[10pt,twocolumn]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{} % without it, T1's letters are pictures
\usepackage[margin=0.75in,columnsep=0.25in]{geometry}
\usepackage{array,booktabs,graphicx}
\renewcommand{\topfraction}{0.95}\renewcommand{\dbltopfraction}{0.95}
\renewcommand{\floatpagefraction}{0.6}\renewcommand{\dblfloatpagefraction}{0.6}
\renewcommand{\textfraction}{0.05}\setcounter{topnumber}{9}\setcounter{dbltopnumber}{9}\setcounter{totalnumber}{12}
\extrafloats{1000}\maxdeadcycles=10000 % as many tables and figures as there are results
\makeatletter\@fptop=0pt\@dblfptop=0pt\@fpsep=18pt\@dblfpsep=18pt\makeatother % pages of floats begin at the top
\begin{document}
\input{results}
\end{document}
"""

PACKAGES = r"% needs \usepackage{array,booktabs,graphicx}"


def paper(
    folders: Sequence[Path],
    out: Path,
    *,
    statistics: Sequence[str] = (),
    metrics: Sequence[Path] = (),
    width: Width = "column",
) -> list[Path]:
    """Write `results.tex` with its tables, figures and captions, `paper.tex` that compiles, and `reproduce.sh`.

    Args:
        folders: of results, or folders of such. out: made if missing.
        statistics, metrics: columns and other programs' scores of the methods table.
        width: printed width of the figures of runs and ablations.

    Returns:
        The files written.

    Raises:
        UserError: as `magiqa.report.report.report`.
    """
    out = expanded(out)
    runs, sheets = read([expanded(folder) for folder in folders])
    with ResultFolder(out, "paper", ["results.tex", "paper.tex"], record="paper.json") as results:
        parts = [part for make in (_main, _groups, _comparisons, _ablations, _experiments, _times)
                 for part in make(runs, sheets, results, statistics, metrics, width)]  # fmt: skip
        body = [PACKAGES, *_methods(runs, sheets)]
        captions = []
        for title, items in _sections(parts):
            body += [rf"\section*{{{tex(title)}}}", _named(items, results)]
            body += [tex(item) for item in items if isinstance(item, str)]
            floats = [item for item in items if not isinstance(item, str)]
            body += [_item(item, results) for item in floats]
            captions += [_caption(item) for item in floats]
        results.text("results.tex", "\n".join(body) + "\n")
        results.text("paper.tex", DOCUMENT)
        results.text("references.bib", (HERE / "assets" / "references.bib").read_text(encoding="utf-8"))
        results.text("captions.md", "\n\n".join(captions) + "\n")
        made = {r.folder: r.record for r in runs} | {s.file.parent / s.result: s.record for s in sheets}
        chosen = [f"statistics={','.join(statistics)}"] if statistics else []
        chosen += ["style.width=page"] if width == "page" else []
        results.text("reproduce.sh", script(made, chosen, metrics))
        listed = results.record({"magiqa": __version__, "command": "paper"})["files"]
    return [out / name for name in listed]


Item = Table | Drawn | str

Part = tuple[str, Item]


def _sections(parts: Sequence[Part]) -> list[tuple[str, list[Item]]]:
    out: dict[str, list[Item]] = {}
    for title, item in parts:
        out.setdefault(title, []).append(item)
    return list(out.items())


def _named(items: Sequence[Item], results: ResultFolder) -> str:
    """The sentence that points at a section's tables and figures."""
    tables = [rf"\ref{{tab:{_label(t.name)}}}" for t in items if isinstance(t, Table)]
    figures = [rf"\ref{{fig:{_label(_place(d, results))}}}" for d in items if isinstance(d, Drawn)]
    parts = [
        f"{kind}{'s' * (len(some) > 1)}~{_range(some)}"
        for kind, some in (("Table", tables), ("Figure", figures))
        if some
    ]
    return "See " + " and ".join(parts) + "."


def _range(refs: Sequence[str]) -> str:
    """References in words; from first to last where they are many: a section's floats are numbered in order."""
    return f"{refs[0]} to~{refs[-1]}" if len(refs) > 3 else ", ".join(refs)


def _label(name: str) -> str:
    return name.replace("/", "-").replace("_", "-")


def _place(item: Drawn, results: ResultFolder) -> str:
    """A figure's path in the folder of figures, without suffix."""
    return item.png.relative_to(results.figure_path()).with_suffix("").as_posix()


def _item(item: Table | Drawn, results: ResultFolder) -> str:
    if isinstance(item, Table):
        results.csv(f"tables/{item.name}", item.data, float_format=DIGITS)
        results.text(f"tables/{item.name}.tex", item.latex(two_columns=True))
        results.text(f"tables/{item.name}.md", item.markdown())
        return rf"\input{{tables/{item.name}}}"
    with_captions([item])
    star = "*" if item.wide else ""
    place = _place(item, results)
    size = rf"width=\{'text' if item.wide else 'column'}width,height=0.72\textheight,keepaspectratio"
    return "\n".join(
        [
            rf"\begin{{figure{star}}}[tp]",
            r"\centering",
            rf"\includegraphics[{size}]{{figures/{place}.pdf}}",
            rf"\caption{{\small {tex(item.caption)}}}",
            rf"\label{{fig:{_label(place)}}}",
            rf"\end{{figure{star}}}",
        ]
    )


def _caption(item: Table | Drawn) -> str:
    if isinstance(item, Table):
        return f"**{item.name}.** {md(' '.join([item.title + '.', item.shared, *item.notes]))}"
    folder = item.png.parent.name  # several results draw figures of one name
    name = item.png.stem if folder == "figures" else f"{folder}/{item.png.stem}"
    return f"**{name}.** {md(item.caption)}"


def _methods(runs: Sequence[Run], sheets: Sequence[Sheet]) -> list[str]:
    records: list[Mapping[str, Any]] = [r.record for r in runs] or [
        s.record for s in sheets if s.record.get("config")
    ]
    if not records:
        return []
    text = methods_paragraph(
        records, tested=RESAMPLES if len(runs) > 1 else None, studies=[s.record for s in sheets]
    )
    return [r"\section*{Protocol}", tex(text)]


def _main(
    runs: Sequence[Run], sheets: Sequence[Sheet], results: ResultFolder, statistics: Sequence[str],
    metrics: Sequence[Path], width: Width,
) -> list[Part]:  # fmt: skip
    if not runs:
        return []
    others = external_runs(runs, metrics)
    others += compared_runs(runs, sheets, others)
    rows = with_external(long_table(runs), others)
    drawn = drawn_methods(runs, others, rows, results.figure_path())
    if (
        not statistics
        and len({str(r.record["dataset"].get("fingerprint") or r.record["dataset"]) for r in runs}) > 3
    ):
        statistics = ("srcc", "plcc")  # no page is wide enough for more; groups have tables of their own
    beside, _ = published_table(runs)
    tables = [agreement_table(runs, statistics, others), *([beside] if beside else [])]
    items: list[Table | Drawn] = [*tables, *drawn]
    return [("Agreement", item) for item in items]


def _groups(runs: Sequence[Run], sheets: Sequence[Sheet], results: ResultFolder, *rest: Any) -> list[Part]:
    """Scatter plots, magnitude and groups of the first run on each set."""
    out: list[Part] = []
    seen: set[str] = set()
    for run in leading(runs):
        key = str(run.record["dataset"].get("fingerprint") or run.record["dataset"])
        if key not in seen:
            seen.add(key)
            out += [("Data sets", d) for d in drawn_run(run, results.figure_path(run.name), rest[2])]
            groups = groups_table(run)
            out += [("Data sets", groups)] if groups else []
    return out


def _comparisons(
    runs: Sequence[Run], sheets: Sequence[Sheet], results: ResultFolder, *rest: Any
) -> list[Part]:
    out: list[Part] = []
    for sheet in sheets:
        if sheet.record.get("command") == "compare":
            out += [("Comparisons", d) for d in drawn_comparison(sheet, results.figure_path(), sheet.result)]
            out.append(
                ("Comparisons", significance_table(f"{sheet.result}-matrix", sheet.table, sheet.record))
            )
    return out


def _ablations(runs: Sequence[Run], sheets: Sequence[Sheet], results: ResultFolder, *rest: Any) -> list[Part]:
    folder = results.figure_path()
    out: list[Part] = [("Ablations", d) for d in drawn_curves(sheets, folder)]
    for sheet in sheets:
        if sheet.ablation and {"variant", "srcc"} <= set(sheet.table):
            out += [
                ("Ablations", d) for d in drawn_ablation(sheet, folder, f"ablation_{sheet.name}", rest[2])
            ]
            out.append(("Ablations", _short(sheet, result_title(sheet.record, sheet.file.stem), results)))
        elif sheet.record.get("command") == "ablate -m":
            title = result_title(sheet.record, sheet.file.stem)
            out.append(("Ablations", _table(sheet, f"{title}, the variant chosen on the others")))
    return out


SHORT = 40  # rows of a table that a paper shows whole


def _short(sheet: Sheet, title: str, results: ResultFolder) -> Table | str:
    """A table, or where it lies, whole, if it is too long for a paper."""
    if len(sheet.table) <= SHORT or "variant" in sheet.table:  # of which the table shows some, and says so
        return _table(sheet, title)
    name = f"tables/{slug(sheet.name)}"
    results.csv(name, sheet.table, float_format=DIGITS)
    return f"{title}: a table of {len(sheet.table):,} rows, too long to print: {name}.csv."


def _experiments(
    runs: Sequence[Run], sheets: Sequence[Sheet], results: ResultFolder, *rest: Any
) -> list[Part]:
    out: list[Part] = []
    seen: set[str] = set()
    for sheet in sheets:
        about = sheet.record.get("experiment")
        if not isinstance(about, Mapping):
            continue
        if sheet.result not in seen:
            seen.add(sheet.result)
            out += [("Experiments", d) for d in drawn_study(sheet, results.figure_path(sheet.result))]
        part = f": {sheet.file.stem}" if sheet.file.stem != about.get("name") else ""
        title = result_title(sheet.record, sheet.file.stem) + part
        out.append(("Experiments", _short(sheet, title, results)))
    return out


def _table(sheet: Sheet, title: str) -> Table:
    about = sheet.record.get("ablation") or sheet.record.get("experiment") or {}
    table = frame_table(slug(sheet.name), title, _core(sheet), reference=about.get("reference"))
    notes = table.notes + study_notes(sheet.record)
    shared = describe(sheet.record, varied=varied(sheet))
    return Table(table.name, table.title, table.columns, table.rows, sheet.table, notes, shared=shared)


def _core(sheet: Sheet) -> Any:
    """What is tested and what decides; the CSV holds the rest."""
    left_out = (
        "diff_within",
        "n_within",
        "p_within",
        "within_simultaneous",
        "withheld",
        "optimism",
        "plcc",
        *(["score"] if "variant" in sheet.table else []),  # one for all rows; elsewhere it names the row
    )
    table = sheet.table
    keep = [str(c) for c in table if not str(c).startswith(left_out) and table[c].notna().any()]
    if "variant" in keep:  # whose name says what the parameters are
        keep = [c for c in keep if "." not in c and c not in _OPTIONS]
    if {"ci_simultaneous_low", "ci_simultaneous_high"} <= set(keep):  # the band whose p stands beside it
        table = table.assign(diff_low=table["ci_simultaneous_low"], diff_high=table["ci_simultaneous_high"])
        keep = [c for c in keep if not c.startswith("ci_simultaneous")]
    return table[[c for c in keep if c != "p"]]


_OPTIONS = ("backbone", "prompts", "views", "magnitude", "fusion", "pooling", "precision")


def _times(runs: Sequence[Run], sheets: Sequence[Sheet], results: ResultFolder, *rest: Any) -> list[Part]:
    found = run_times([r.record for r in runs])
    if not found:
        return []
    import pandas as pd

    data = pd.DataFrame(found, columns=["dataset", "option", "backbone", "engine", "views", "ms_a_view"])
    rows = [[*(Cell(word, word) for word in words), Cell(f"{v:,}", v), Cell(f"{ms:.1f}", ms)]
            for *words, v, ms in found]  # fmt: skip
    heads = [("", h) for h in ("data set", "views", "backbone", "engine", "views encoded", "ms a view")]
    note = "Wall-clock time of encoding, decoding included, on the machine of the run; cached views are not counted."
    return [("Run time", Table("run_time", "Run time a view", heads, rows, data, [note]))]
