"""magiqa: a benchmarking harness for training-free, CLIP-based no-reference image quality assessment."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magiqa.scorer.scorer import Scorer as Scorer

__version__ = "0.1.0"

__all__ = ["Scorer", "__version__"]


def __getattr__(name: str) -> Any:
    """`Scorer`, imported when it is first asked for: ``import magiqa`` itself takes no time."""
    if name != "Scorer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from magiqa.scorer.scorer import Scorer

    return Scorer
