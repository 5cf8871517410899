"""The config of a CLIP model and its weights. Cheap: nothing is loaded."""

from dataclasses import dataclass
from typing import Annotated, Literal

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.package import expanded

DEMO_LABEL = "demo, trained on synthetic degradations"


@dataclass(frozen=True)
class Backbone(Checked, key="backbone"):
    """A CLIP model and its weights. Nothing is loaded before ``load_weights``.

    Args:
        name: open_clip architecture without ``-quickgelu``, ``hf-hub:org/repo``, ``local-dir:FOLDER``, or ``demo``.
        pretrained: open_clip tag of published weights. With a checkpoint it only says what the file holds (its
            activation, mean and std); unused with ``untrained`` or a schema name.
        checkpoint: weights on disk: OpenAI's TorchScript archive, a state dict (``.pt``) or safetensors.
        quickgelu: the activation the weights were trained with. None: as the archive, tag or config says; a
            checkpoint that nothing is known of is refused where the architecture exists with both.
        positional_embedding: of the image tower: ``drop`` (MA-CLIP), ``native``, ``interpolate`` to the view's grid,
            or ``interpolate_tokens``: along the token index, as CLIP-IQA, pyiqa and QualiCLIP do.
        untrained: seed of random weights, as a control.
        label: what these weights are where they are not published ones; shown with every number.
    """

    name: str
    pretrained: str | None = None
    checkpoint: str | None = None
    quickgelu: bool | None = None
    positional_embedding: Literal["drop", "native", "interpolate", "interpolate_tokens"] = "drop"
    untrained: Annotated[int, Least(0)] | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.untrained is not None and self.untrained >= 2**63:
            raise UserError(f"backbone.untrained={self.untrained} must be a whole number under 2^63")
        if self.checkpoint is not None and self.untrained is not None:
            raise UserError("backbone.checkpoint and backbone.untrained exclude each other: drop one of them")
        if self.name.endswith("-quickgelu"):
            raise UserError(
                f"backbone.name={self.name}: write {self.name.removesuffix('-quickgelu')} and backbone.quickgelu=true"
            )

    @property
    def located(self) -> str:
        """The name as open_clip takes it: a local folder's ``~`` expanded."""
        folder = self.name.removeprefix("local-dir:")
        return self.name if folder == self.name else f"local-dir:{expanded(folder)}"

    @property
    def kind(self) -> str:
        """``untrained``, ``given`` (a checkpoint), ``demo`` or ``published`` (a tag, hub or local folder)."""
        if self.untrained is not None:
            return "untrained"
        if self.checkpoint is not None:
            return "given"
        return "demo" if self.name == "demo" else "published"

    @property
    def shown_label(self) -> str | None:
        """The label that must stand beside every number from these weights; None for published or given ones.

        A label of one's own comes after it, and never instead of it.
        """
        if self.kind == "untrained":
            must = f"untrained, seed {self.untrained}"
        elif self.name == "demo":
            must = "demo architecture, weights given" if self.kind == "given" else DEMO_LABEL
        else:
            return self.label
        return f"{must}; {self.label}" if self.label else must
