"""Each family of open_clip's towers scores an image with random weights, or its message names what is missing."""

from importlib.util import find_spec

import numpy as np
import pytest

from magiqa.backbones.spec import Backbone
from magiqa.errors import UserError
from magiqa.images.views import Views
from magiqa.scorer.scorer import Scorer

FAMILIES = {
    "ViT-B-16-SigLIP": 224,
    "ViT-B-32-SigLIP2-256": 256,
    "MobileCLIP-S1": 256,
    "EVA02-B-16": 224,
    "coca_ViT-B-32": 224,
}


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_scores_with_random_weights(name):
    side = FAMILIES[name]
    views = Views(kinds=("global",), window=side)
    scorer = Scorer(
        Backbone(name, untrained=0, positional_embedding="native"),
        prompts="uniqa",
        views=views,
        fusion="similarity",
    )
    image = np.random.default_rng(0).integers(0, 256, (side, side + 16, 3), np.uint8)
    if "SigLIP" in name and find_spec("transformers") is None:
        with pytest.raises(UserError, match=rf"^backbone\.name={name}: .*transformers.*install"):
            scorer([image])
        return
    cues = scorer.cues([image])
    assert 0.2 < cues["q_sim"][0] < 1.0 and np.isfinite(cues["q"][0])
