"""A paper's results section: a folder that compiles as it is, from the folders of results alone."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magiqa import __version__
from magiqa.package import expanded
from magiqa.report.escape import MACROS, cited, md
from magiqa.report.exhibit import Exhibit, draw
from magiqa.report.exhibits import MAIN, check_kinds, exhibits
from magiqa.report.latex import PACKAGES, label, write_table
from magiqa.report.material import Asked, Material
from magiqa.report.methods import method_names, primary
from magiqa.report.page import HERE
from magiqa.report.protocol import enumeration, full_protocol, protocol
from magiqa.report.reproduce_script import script
from magiqa.report.study_exhibits import experiment_name
from magiqa.report.words import set_name
from magiqa.runs.folder import ResultFolder

PREAMBLE = r"""\documentclass[10pt,twocolumn]{article}
\usepackage{iftex}
\ifPDFTeX
\usepackage[utf8]{inputenc}
\IfFileExists{t2aenc.def}{\usepackage[T2A,T1]{fontenc}}{\usepackage[T1]{fontenc}}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\else
\usepackage{fontspec}
\fi
\usepackage[letterpaper,margin=0.75in,columnsep=0.3125in]{geometry}
\usepackage{array,booktabs,graphicx}
\usepackage[font=small]{caption}
\IfFileExists{hyperref.sty}{\usepackage[hidelinks]{hyperref}}{}
\renewcommand{\topfraction}{0.95}\renewcommand{\dbltopfraction}{0.95}\renewcommand{\textfraction}{0.05}
\renewcommand{\floatpagefraction}{0.7}\renewcommand{\dblfloatpagefraction}{0.7}
\setcounter{topnumber}{9}\setcounter{dbltopnumber}{9}\setcounter{totalnumber}{12}
\setlength{\floatsep}{8pt}\setlength{\textfloatsep}{10pt}\setlength{\dblfloatsep}{8pt}\setlength{\dbltextfloatsep}{10pt}
\IfFileExists{placeins.sty}{\usepackage{placeins}}{\let\FloatBarrier\clearpage}
\extrafloats{500}\maxdeadcycles=1000
\makeatletter\def\fps@table{tp}\def\fps@figure{tp}\@fptop=0pt\@dblfptop=0pt\@fpsep=12pt\@dblfpsep=12pt\makeatother
\begin{document}
"""

END = r"""\raggedbottom
{\small\bibliographystyle{plain}\bibliography{references}}
\FloatBarrier
\end{document}
"""

# of the supplement: tables and figures stand where they are named
ONE_COLUMN = r"""\onecolumn
\makeatletter\def\fps@table{!htbp}\def\fps@figure{!htbp}\makeatother
\renewcommand{\thetable}{S\arabic{table}}\renewcommand{\thefigure}{S\arabic{figure}}
"""

SENTENCES = {
    "teaser": "Example images with their scores and cues are shown in {}.",
    "main": "All methods are compared in {}.",
    "scatter": "Predicted scores are plotted against MOS in {}.",
    "backbones": "Backbones are compared in {}.",
    "groups": "Agreement within generators, distortion types or groups is given in {}.",
    "magnitude": "MOS is plotted against the magnitude cue in {}.",
    "matrix": "Methods are tested in pairs in {}.",
    "ablation": "Ablations are given in {}.",
    "curves": "SRCC over one parameter is shown in {}.",
    "cost": "Parameters, arithmetic and time are given in {}.",
}

CONTENTS = {  # of the supplement's sections: heading and sentence
    "Agreement": (
        "Agreement",
        "We show the SRCC of all methods on each data set with its confidence interval ({}).",
    ),
    "Published values": (
        "Published values",
        "We set published values beside measured ones of the same protocol ({}).",
    ),
    "Runs": (
        "Cues and groups",
        "We plot MOS against both cues and the predicted score, and SRCC by group ({}).",
    ),
    "Comparisons": ("Comparisons", "We compare the methods in pairs, on the same images ({})."),
    "Ablations": ("Ablations", "We list each variant with its confidence intervals and its test ({})."),
    "Experiments": (
        "Analysis",
        "We analyze both cues further: their content, definitions and contributions ({}).",
    ),
}

MISSED = {"teaser": "example images and maps", "cost": "parameters, GMACs and time"}


def paper(folders: Sequence[Path], out: Path, asked: Asked | None = None) -> list[Path]:
    """Write `paper.tex`, its supplement, their tables, figures, captions and references, and `reproduce.sh`.

    Args:
        folders: of results, or folders of such. out: made if missing.

    Returns:
        The files written.

    Raises:
        UserError: as `magiqa.report.report.report`.
    """
    asked, out = asked or Asked(), expanded(out)
    check_kinds(asked.only)
    material = Material.read(folders, asked)
    with ResultFolder(out, "paper", ["results.tex", "paper.tex"], record="paper.json") as results:
        main, rest, captions = _write_exhibits(material, results)
        text = [
            *_paragraphs(protocol(material)),
            rf"\paragraph{{Results.}} {' '.join([*_pointers(main), *_finding(material)])}",
        ]
        body = [PACKAGES, MACROS, r"\section{Experiments}", *(text for *_, text in main), *text]
        results.text("results.tex", "\n".join(body) + "\n")
        full = "\n".join(_paragraphs(full_protocol(material)))
        results.text("protocol.tex", f"{MACROS}\\section{{Protocol}}\n{full}\n")
        parts = [r"\input{protocol}", *_sections(rest)]
        results.text("paper.tex", f"% Compile this file; results.tex goes into a paper of your own.\n{PREAMBLE}"
                     f"\\input{{results}}\n{END}")  # fmt: skip
        results.text(
            "supplement.tex", "\n".join([PREAMBLE + MACROS + ONE_COLUMN, *parts, r"\end{document}"]) + "\n"
        )
        results.text("references.bib", (HERE / "assets" / "references.bib").read_text(encoding="utf-8"))
        results.text("captions.md", "\n\n".join(captions) + "\n")
        made: dict[Path, Mapping[str, Any]] = {r.folder: r.record for r in material.runs}
        made |= {s.file.parent / s.result: s.record for s in material.sheets}
        results.text("reproduce.sh", script(made, _words(asked), asked.metrics))
        names = {experiment_name(sheet.record) for sheet in material.sheets}
        missing = [f"without experiment={name}, which shows {what}: run it and give its folder to have that too"
                   for name, what in MISSED.items() if name not in names]  # fmt: skip
        listed = results.record({"magiqa": __version__, "command": "paper", "warnings": missing})["files"]
    return [out / name for name in listed]


Item = tuple[str, Exhibit, str]


def _write_exhibits(material: Material, results: ResultFolder) -> tuple[list[Item], list[Item], list[str]]:
    """Write tables and figures; return the exhibits of the main document and the supplement, and all captions.

    An exhibit comes with its section and its LaTeX.
    """
    main: list[Item] = []
    rest: list[Item] = []
    captions = []
    for section, exhibit in exhibits(material):
        chosen = exhibit.kind in (material.asked.only or MAIN)
        if exhibit.table:
            write_table(results, exhibit.table)
        if exhibit.twin and not chosen:
            continue
        exhibit = draw(exhibit, results.figure_path(), material.asked.style)
        text = rf"\input{{tables/{exhibit.name}}}" if exhibit.table else _figure([exhibit])
        captions.append(f"**{exhibit.name}.** {md(exhibit.caption)}")
        (main if chosen else rest).append((section, exhibit, text))
    main.sort(key=lambda item: MAIN.index(item[1].kind) if item[1].kind in MAIN else len(MAIN))
    return main, rest, captions


def _paragraphs(parts: Mapping[str, str]) -> list[str]:
    """Return paragraphs with their headings."""
    return [rf"\paragraph{{{name}.}} {cited(text)}" + "\n" for name, text in parts.items() if text]


def _sections(rest: Sequence[Item]) -> list[str]:
    """Return the sections of the supplement: what is in them, where, and the exhibits."""
    out = []
    for section in dict.fromkeys(section for section, *_ in rest):
        mine = sorted(
            (e for name, e, _ in rest if name == section), key=lambda e: (e.table is None, not e.wide)
        )
        heading, sentence = CONTENTS[section]
        out += [r"\FloatBarrier", rf"\section{{{heading}}}", sentence.format(_refs(mine))]
        small: list[Exhibit] = []
        for exhibit in mine:
            if exhibit.table or exhibit.wide:
                out.append(rf"\input{{tables/{exhibit.name}}}" if exhibit.table else _figure([exhibit]))
            else:
                small.append(exhibit)
        out += [_figure(small[k : k + 2], several=True) for k in range(0, len(small), 2)]
    return out


def _refs(exhibits: Sequence[Exhibit]) -> str:
    """Return the references to tables and figures that have successive numbers."""
    out = []
    for kind, prefix, some in (
        ("Table", "tab", [e for e in exhibits if e.table]),
        ("Figure", "fig", [e for e in exhibits if not e.table]),
    ):
        refs = [rf"\ref{{{prefix}:{label(exhibit.name)}}}" for exhibit in some]
        join = "--" if len(refs) > 2 else " and~"
        out.append(f"{kind}{'s' * (len(refs) > 1)}~{join.join([refs[0], *refs[1:][-1:]])}" if refs else "")
    return enumeration(out)


def _figure(side_by_side: Sequence[Exhibit], several: bool = False) -> str:
    """Return a float of one figure, or of up to two that share a page's width."""
    star = "*" * side_by_side[0].wide
    parts = [
        "\n".join([
            r"\begin{minipage}[t]{0.48\textwidth}\vspace{0pt}" * several + r"\centering",
            rf"\includegraphics[width=\linewidth,height=0.72\textheight,keepaspectratio]{{figures/{exhibit.name}.pdf}}",
            rf"\caption{{{cited(exhibit.caption)}}}",
            rf"\label{{fig:{label(exhibit.name)}}}" + r"\end{minipage}" * several,
        ])
        for exhibit in side_by_side
    ]  # fmt: skip
    return "\n".join([rf"\begin{{figure{star}}}", "\\hfill\n".join(parts), rf"\end{{figure{star}}}"])


def _pointers(main: Sequence[Item]) -> list[str]:
    """Return the sentences that point at the exhibits, a sentence a kind."""
    by: dict[str, list[Exhibit]] = {}
    for _, exhibit, _ in main:
        by.setdefault(exhibit.kind, []).append(exhibit)
    return [SENTENCES.get(kind, "See {}.").format(_refs(some)) for kind, some in by.items()]


def _finding(material: Material) -> list[str]:
    """Return the sentence on the SRCC of the first method on each data set."""
    first = [(run, primary(run.record)) for run in material.leading]
    names = method_names([(run.name, run.record, score) for run, score in first], material.asked.names)
    words = []
    for run, score in first:
        values = run.agreement[run.agreement["score"] == score].set_index("statistic")["value"]
        words.append(f"{values['srcc']:.3f} on {set_name(run.record['dataset'])}")
    return [cited(f"{names[0]} has an SRCC of {enumeration(words)}.")] if len(set(names)) == 1 else []


def _words(asked: Asked) -> list[str]:
    """Return the keys of the command that wrote the paper."""
    lists = {"statistics": asked.statistics, "only": asked.only, "style.width": [asked.style.width]}
    words = [f"{key}={','.join(values)}" for key, values in lists.items() if values]
    return [shlex.quote(word) for word in words if word != "style.width=column"]
