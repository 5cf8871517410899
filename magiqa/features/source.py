"""The source of a job's features: images and weights, or a bundle."""

from typing import Any, Protocol

from magiqa.datasets.base import Labels
from magiqa.features.features import Features
from magiqa.features.from_bundle import BundleSource
from magiqa.features.images import Images
from magiqa.runs.config import RunConfig
from magiqa.runs.provenance import Clock


class Source(Protocol):
    """The stages that lead to a job's features, in their order.

    Each raises a `UserError` for anything a user can mend; what was encoded before stays cached.
    """

    def labels(self) -> Labels:
        """Return the data set's labels."""
        ...

    def images(self, labels: Labels) -> Images:
        """Return the images that are present."""
        ...

    def weights(self) -> Any:
        """Return the backbone's weights; a bundle has none."""
        ...

    def features(self, labels: Labels, images: Images, weights: Any) -> Features:
        """Return the features of every image."""
        ...


def open_source(job: RunConfig, clock: Clock, *, progress: bool = True) -> Source:
    """Return the source of a job's features."""
    if job.source.bundle:
        return BundleSource(job, clock)
    from magiqa.features.from_images import ImageSource  # open_clip's neighbours come with it

    return ImageSource(job, clock, progress=progress)


def prepare(job: RunConfig, clock: Clock, *, progress: bool = True) -> Features:
    """Return the features of every image of a job; encode those that the cache lacks.

    Raises:
        UserError: anything a user can mend; what was encoded before stays cached.
    """
    source = open_source(job, clock, progress=progress)
    labels = source.labels()
    images = source.images(labels)
    weights = source.weights()
    return source.features(labels, images, weights)
