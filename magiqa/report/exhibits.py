"""The exhibits of a report and a paper, in order. A new kind of exhibit is a function, and a line here."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from magiqa.errors import UserError
from magiqa.report.ablation_exhibits import ablation_curves, ablation_details, ablation_tables
from magiqa.report.exhibit import Exhibit
from magiqa.report.main_table import backbones, gains, main_table, methods_figure
from magiqa.report.material import Material
from magiqa.report.published_exhibits import published_table
from magiqa.report.runs_exhibits import figures_of_runs, group_tables, scatter_figure
from magiqa.report.study_exhibits import comparisons, experiments
from magiqa.report.transfer import left_out

# section -> what makes its exhibits
SECTIONS: dict[str, tuple[Callable[[Material], Iterable[Exhibit]], ...]] = {
    "Agreement": (main_table, scatter_figure, methods_figure, backbones),
    "Published values": (published_table,),
    "Runs": (group_tables, figures_of_runs),
    "Comparisons": (gains, comparisons),
    "Ablations": (ablation_tables, ablation_curves, ablation_details, left_out),
    "Experiments": (experiments,),
}

# kinds of a paper's main document in order; the rest goes into the supplement
MAIN = (
    "teaser",
    "main",
    "backbones",
    "scatter",
    "groups",
    "matrix",
    "magnitude",
    "curves",
    "ablation",
    "cost",
)

KINDS = (
    *MAIN,
    *("methods", "gains", "published", "cues", "group_figure", "pairs"),
    *("variants", "details", "experiments"),
)


def check_kinds(only: Iterable[str]) -> None:
    """Check the kinds of exhibits that a user chose.

    Raises:
        UserError: an unknown kind.
    """
    for kind in only:
        if kind not in KINDS:
            raise UserError(f"only={kind} is not known: use {', '.join(KINDS)}")


def exhibits(material: Material) -> Iterator[tuple[str, Exhibit]]:
    """Return all exhibits with their section. Names that differ in case alone get a number."""
    taken: set[tuple[bool, str]] = set()
    for section, makers in SECTIONS.items():
        for maker in makers:
            for exhibit in maker(material):
                name, k = exhibit.name, 1
                while (exhibit.table is None, name.lower()) in taken:
                    k += 1
                    name = f"{exhibit.name}-{k}"
                taken.add((exhibit.table is None, name.lower()))
                table = exhibit.table and replace(exhibit.table, name=name)
                yield section, replace(exhibit, name=name, table=table)
