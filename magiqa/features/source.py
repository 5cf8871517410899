"""Where a job's features come from: images and weights, or a bundle."""

from magiqa.features.features import Features
from magiqa.features.from_bundle import from_bundle
from magiqa.runs.config import RunConfig
from magiqa.runs.names import other_than_published
from magiqa.runs.provenance import Clock


def prepare(job: RunConfig, clock: Clock, *, progress: bool = True) -> Features:
    """Return the features of every image of a job; encode those that the cache lacks.

    Raises:
        UserError: anything a user can mend; what was encoded before stays cached.
    """
    if job.source.bundle:
        with clock.stage("bundle"):
            features = from_bundle(job)
    else:
        from magiqa.features.from_images import from_images  # imports torch's neighbours

        features = from_images(job, clock, progress=progress)
    labels = features.labels
    clock.warnings += [f"{labels.name}: {note}" for note in other_than_published(labels.notes)]
    return features
