"""Backbones whose weights are out of reach are named, and the others are compared."""

import socket

import pytest
import tiny

from magiqa.backbones import library
from magiqa.backbones.checkpoint import LackingWeights
from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import find_weights
from magiqa.errors import UserError
from magiqa.method.prompts import PromptSet
from magiqa.studies.ablate import ablate, render
from magiqa.studies.ablation import Ablation

FAR = "hf-hub:nobody/has-this"
PROMPTS = PromptSet("p", pairs=(("a", "b"),))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    asked = []

    def unknown(*args, **options):
        asked.append(args)
        raise socket.gaierror("no address")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    library._has_address.cache_clear()
    yield asked
    library._has_address.cache_clear()


def compared(folder, out, *networks, reference=None):
    near = f"local-dir:{folder / 'clip'}"
    variants = [
        {"name": name, "backbone.name": FAR, "backbone.untrained": None}
        if seed is None
        else {"name": name, "backbone.name": near, "backbone.untrained": seed}
        for name, seed in networks
    ]
    chosen = {k: v for k, v in variants[reference].items() if k != "name"}
    job = tiny.job(folder, f"out={out}")
    return ablate(job.having(ablation=Ablation("nets", variants=variants, reference=chosen)), progress=False)


@pytest.mark.slow
def test_those_that_are_there_are_compared_and_the_others_named(folder, tmp_path):
    table, record = compared(
        folder, tmp_path, ("far", None), ("one", 0), ("other", 1), ("first", 2), reference=2
    )
    assert table["variant"].tolist() == ["one", "other", "first"]
    about = record["ablation"]
    assert about["reference"] == "other" and table["diff"].tolist()[1] == 0 and about["variants"] == 3
    assert list(about["lacking"]) == ["far"] and FAR in about["lacking"]["far"]
    assert "note: variants without weights: far; left out (" in render(table, record)
    assert not any("reference" in w for w in record["warnings"])


def test_one_alone_is_no_comparison(folder, tmp_path):
    with pytest.raises(UserError, match=r"nets: variants without weights: far; nothing is left"):
        compared(folder, tmp_path, ("far", None), ("one", 0), reference=0)


def test_without_a_network_nothing_is_tried_again_and_again(no_network, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for tag in ("openai", "laion2b_s34b_b79k"):
        with pytest.raises(LackingWeights, match="neither in the hub cache nor to be downloaded"):
            find_weights(Backbone("ViT-B-32", tag), PROMPTS)
    assert len(no_network) == 1  # the client alone would ask ten times a backbone, half a minute a file
