"""Where a job's features come from: images and weights, or a bundle."""

from collections.abc import Sequence

from magiqa.backbones.alike import alike
from magiqa.features.features import Features
from magiqa.features.from_bundle import from_bundle
from magiqa.images.union import differ_in_grid_only
from magiqa.runs.config import RunConfig
from magiqa.runs.names import other_than_published
from magiqa.runs.provenance import Clock


def prepare(job: RunConfig, clock: Clock, *, progress: bool = True) -> Features:
    """Every image's features in the cache, with their labels.

    Raises:
        UserError: anything a user can mend; what was encoded before stays cached.
    """
    return prepare_together([job], clock, progress=progress)[0]


def prepare_together(jobs: Sequence[RunConfig], clock: Clock, *, progress: bool = True) -> list[Features]:
    """As `prepare`, for jobs of which all pairs may be `encoded_together`: views that they share are encoded once."""
    if jobs[0].source.bundle:
        with clock.stage("bundle"):
            found = [from_bundle(job) for job in jobs]
    else:
        from magiqa.features.from_images import from_images  # open_clip's edge comes with it

        found = from_images(jobs, clock, progress=progress)
    labels = found[0].labels
    clock.warnings += [f"{labels.name}: {note}" for note in other_than_published(labels.notes)]
    return found


def encoded_together(a: RunConfig, b: RunConfig) -> bool:
    """Whether one engine makes the features of both, of views that differ in where their windows lie at most."""
    return (
        (a.source, a.machine) == (b.source, b.machine)
        and differ_in_grid_only(a.method.views, b.method.views)
        and bool(alike(a.method.backbone, b.method.backbone, a.method.views.window))
    )
