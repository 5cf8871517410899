"""The CLIP-IQA family: scores equal those of the authors' and pyiqa's own code on deterministic weights."""

import copy
import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage
import torch
from conftest import golden_fill, golden_uniform
from PIL import Image

from magiqa.backbones.model import build_model, fit_positional_embedding
from magiqa.backbones.spec import Backbone
from magiqa.backbones.text import encode_prompts
from magiqa.backbones.weights import load_weights
from magiqa.config.compose import Configs
from magiqa.features.cache import MemoryStore
from magiqa.images.views import Resize, Views, cut
from magiqa.method.cues import BoxCox
from magiqa.method.fusion import Fixed
from magiqa.method.prompts import PromptSet
from magiqa.runs.config import Method
from magiqa.scoring.score import score_many

WHOLE, LIQE, RANDOM = Views(kinds=("whole",)), "views=liqe", "views=random"
STORED = "qualiclip.prompts_features"
# method: overrides of its prompts, the tensor of its prompts' file, views; all others with the weights' own scale
METHODS = {
    "clipiqa_pyiqa": (["prompts=maclip"], None, WHOLE),
    "clipiqa_one_pair": (["prompts=clipiqa"], None, WHOLE),
    "clipiqa_plus_shared": (["prompts=clipiqa_plus"], "clipiqa_plus_shared.ctx", WHOLE),
    "clipiqa_plus_shared_pyiqa": (["prompts=clipiqa_plus"], "clipiqa_plus_shared.ctx", WHOLE),
    "clipiqa_plus_rn50_512": (["prompts=clipiqa_plus"], "clipiqa_plus_rn50_512.ctx", WHOLE),
    "clipiqa_plus_vitl14_512": (["prompts=clipiqa_plus"], "clipiqa_plus_vitl14_512.ctx", WHOLE),
    "qualiclip_official": (["prompts=qualiclip"], STORED, WHOLE),
    "qualiclip_pyiqa": (["prompts=qualiclip_pyiqa", "prompts.scale=50.0149305"], STORED, WHOLE),
    "zeniqa": (["prompts=zeniqa"], None, WHOLE),
    "liqe_single": (["prompts=liqe"], None, LIQE),
    "liqe_mix": (["prompts=liqe_mix"], None, LIQE),
    "liqe_mix_dataset_code": (["prompts=liqe_mix"], None, LIQE),
    "qualiclip_plus_pyiqa": (
        ["prompts=qualiclip_pyiqa", "prompts.scale=50.0149305"],
        "qualiclip_plus.ctx",
        WHOLE,
    ),
    "uniqa_ensemble": (["prompts=uniqa"], None, RANDOM),
    "uniqa_ensemble_five_crops": (["prompts=uniqa"], None, RANDOM),
    "uniqa_zero_shot": (["prompts=uniqa"], None, RANDOM),
    "uniqa_agiqa": (["prompts=uniqa"], None, RANDOM),
}
INTERPOLATED = ("clipiqa_plus_rn50_512", "clipiqa_plus_vitl14_512")


@pytest.fixture(scope="module")
def golden(real_data):
    return json.loads((real_data / "golden" / "golden_family.json").read_text())


@cache
def model(name, seed):
    """The spec and the model of an open_clip name with golden weights, made once."""
    import open_clip

    spec = Backbone(
        name.removesuffix("-quickgelu"), quickgelu=True, untrained=0, positional_embedding="native"
    )
    clip = build_model(spec, load_weights(spec))
    clip.load_state_dict(golden_fill(open_clip.create_model(name, pretrained=None).state_dict(), seed))
    return spec, clip


@cache
def text_of(name, seed, prompts):
    """The texts of a prompt set, which takes a minute for LIQE's 495, encoded once."""
    spec, clip = model(name, seed)
    return encode_prompts(clip, spec, prompts)


def extra(golden, name) -> np.ndarray:
    """A tensor of ``extra_tensors``."""
    says = golden["extra_tensors"][name]
    values = says["offset"] + says["scale"] * golden_uniform(name, says["shape"], golden["seed"])
    if says["unit_rows"]:
        values = values / np.linalg.norm(values, axis=-1, keepdims=True)
    values = values.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(values.ravel()[: len(says["head"])], says["head"], atol=1e-9)
    return values


def prompt_set(golden, method, folder) -> PromptSet:
    typed, tensor, _ = METHODS[method]
    prompts = Configs().job(typed).method.prompts
    if tensor is not None:
        file = folder / f"{tensor}.pt"
        torch.save(torch.from_numpy(extra(golden, tensor)), file)
        if tensor == STORED:
            return replace(prompts, features=str(file))
        return replace(prompts, features=None, context=str(file), position="middle")
    first = prompts.all_groups[0]
    of_content = replace(first, texts=tuple(text.replace("image", "content") for text in first.texts))
    groups = {"uniqa_zero_shot": (first,), "uniqa_agiqa": (first, of_content)}
    return replace(prompts, groups=groups.get(method, prompts.groups))


def picture(case, real_data) -> Image.Image:
    folders = (
        real_data / "golden" / "images",
        real_data / "datasets" / "AGIQA-3K",
        Path(skimage.__file__).parent / "data",
    )
    (file, *_) = [folder / case["image"] for folder in folders if (folder / case["image"]).is_file()]
    image = Image.open(file).convert("RGB")
    return image.crop(case["crop"]) if case["crop"] else image


def views_of(case, views, monkeypatch) -> Views:
    if isinstance(views, str):
        views = Configs().job([views]).method.views
    if views.seed is not None:  # the listed places in place of drawn ones
        places = (np.array([box[:2] for box in case["boxes"]]) + 0.5) / (np.array(case["size"]) - 223)
        monkeypatch.setattr(Views, "draws", lambda self: places)
        views = replace(views, take=len(places))
    return views


def encoded(visual, image, views) -> np.ndarray:
    with torch.inference_mode():
        return np.concatenate([visual(torch.from_numpy(b)).numpy() for b in cut(image, views)])


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_golden_scores_of_the_family(golden, real_data, method, tmp_path, monkeypatch):
    prompts = prompt_set(golden, method, tmp_path)
    cases = sorted((c for c in golden["cases"] if c["method"] == method), key=lambda c: np.prod(c["size"]))
    assert len(cases) >= 3
    for case in cases if os.environ.get("MAGIQA_TEST_ALL") else cases[:3]:
        spec, clip = model(case["backbone"], golden["seed"])
        text = text_of(case["backbone"], golden["seed"], prompts)
        image, visual = picture(case, real_data), copy.deepcopy(clip.visual)
        views = views_of(case, METHODS[method][2], monkeypatch)
        if method == "liqe_mix_dataset_code" and min(image.size) >= 768:
            image = Resize("short_side", 768, "bilinear")(image)
        if method == "liqe_mix_dataset_code" and max(image.size) >= 1024:
            views = Views(kinds=("windows",), stride=48, take=15)
        how = "interpolate_tokens" if method in INTERPOLATED else "drop"
        if views == WHOLE:
            spec = Backbone(spec.name, quickgelu=True, positional_embedding=how)
            holder = copy.copy(clip)
            object.__setattr__(holder, "_modules", dict(clip._modules) | {"visual": visual})
            if how == "drop":
                owner = visual.attnpool
                owner.positional_embedding = torch.nn.Parameter(
                    torch.zeros(1, owner.positional_embedding.shape[-1])
                )
            else:
                fit_positional_embedding(holder, spec, (224, 224))
        store = MemoryStore()
        store.write(["x"], [encoded(visual, image, views)], np.zeros((1, 4)))
        features = SimpleNamespace(
            cache=store, images=["x"], kinds=views.kinds, text=lambda _, text=text: text, reference=None
        )
        method_ = Method(Backbone("demo"), prompts, views, BoxCox(), Fixed(1.0))
        q_sim = score_many(features, [method_], ("q_sim",))["q_sim"][0, 0]
        assert q_sim == pytest.approx(case["score"], abs=1e-5 if "liqe" in method else 5e-6), case["image"]


@pytest.mark.long
@pytest.mark.parametrize("name", ["coop_shared_4.ctx", "coop_shared_16.ctx", "coop_class_5.ctx"])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_golden_texts_of_learned_contexts(golden, name, position, tmp_path):
    keys = [k for k in golden["texts"] if f"/{name}/{position}/" in k]
    names = dict.fromkeys(k.split("/")[1] for k in keys)
    torch.save({"state_dict": {"ctx": torch.from_numpy(extra(golden, name))}}, tmp_path / "c.pt")
    for backbone in names:
        texts = [golden["texts"][k] for k in keys if k.split("/")[1] == backbone]
        groups = ({"texts": [t["text"] for t in texts], "levels": list(range(len(texts)))},)
        prompts = PromptSet(
            "own", groups=groups, context=str(tmp_path / "c.pt"), position=position, ending="."
        )
        spec, clip = model(backbone, golden["seed"])
        found, _ = encode_prompts(clip, spec, prompts)
        np.testing.assert_allclose(found[:, :8], [t["head"] for t in texts], atol=1e-6)
