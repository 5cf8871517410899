"""Prompt sets: named lists of (positive, negative) pairs."""

from dataclasses import dataclass

from magiqa.checked import Checked
from magiqa.errors import UserError


@dataclass(frozen=True)
class PromptSet(Checked, key="prompts"):
    """Prompt pairs, each (positive, negative), with the paper they come from.

    Raises:
        UserError: no pair, a pair that is not two texts, an empty text, or twice the same text in a pair.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    source: str = ""

    def __post_init__(self) -> None:
        pairs = self.pairs
        if not isinstance(pairs, list | tuple) or not pairs:
            raise UserError("prompts.pairs must be a list of [positive, negative] pairs and holds none")
        for i, pair in enumerate(pairs):
            texts = list(pair) if isinstance(pair, list | tuple) else []
            if len(texts) != 2 or not all(isinstance(t, str) and t.strip() for t in texts):
                raise UserError(f"prompts.pairs[{i}]={pair!r} must be [positive, negative], two texts")
            if texts[0] == texts[1]:
                raise UserError(
                    f"prompts.pairs[{i}]: positive and negative are the same text {texts[0]!r}; "
                    "write two that differ"
                )
        super().__post_init__()
