"""Views that several configs have of an image, each once: what is cut and encoded when all of them are wanted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from magiqa.images.views import Views


def differ_in_grid_only(a: Views, b: Views) -> bool:
    """Whether two configs differ in where their windows lie at most: each has some of the other's views."""
    return replace(a, stride=b.stride, cover=b.cover) == b


@dataclass(frozen=True)
class Union(Views):
    """All windows of some views, each once and row-major, and the other kinds that they share.

    Args:
        members: views that differ in stride and cover only.

    Example:
        >>> Union.of([Views(stride=224), Views(stride=128, cover=True)]).boxes(448, 224)
        [(0, 0), (128, 0), (224, 0)]
    """

    members: tuple[Views, ...] = ()

    @classmethod
    def of(cls, members: Sequence[Views]) -> "Union":
        """Of one or more."""
        first = members[0]
        return cls(first.kinds, first.window, first.stride, first.cover, first.small, tuple(members))

    def boxes(self, width: int, height: int) -> list[tuple[int, int]]:
        """See `Views.boxes`."""
        corners = {corner for views in self.members for corner in views.boxes(width, height)}
        return sorted(corners, key=lambda corner: (corner[1], corner[0]))

    def rows_of(self, views: Views, width: int, height: int) -> list[int]:
        """Where the views of one of the members lie among these, for an image of that size (see `size_cut`).

        Example:
            >>> small, wide = Views(stride=128), Views(stride=224)
            >>> Union.of([small, wide]).rows_of(wide, 448, 224)
            [0, 2, 3]
        """
        at = {label: row for row, label in enumerate(self.labels(width, height))}
        return [at[label] for label in views.labels(width, height)]
