"""Weights by every path give the same tensors and features; what does not fit is refused by name."""

import json
import re
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import open_clip
import pytest
import torch
from conftest import MACLIP, golden_fill
from safetensors.torch import save_file

from magiqa.backbones.checkpoint import fingerprint
from magiqa.backbones.library import quiet
from magiqa.backbones.model import build_model, fit_positional_embedding
from magiqa.backbones.spec import Backbone
from magiqa.backbones.text import encode_text, tokenizer_name
from magiqa.backbones.weights import load_weights
from magiqa.errors import UserError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning"
)
TEXTS = ["Good photo.", "Bad photo.", "Sharp image", "blurry image"]
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
TINY = {
    "tiny-rn": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
    "tiny-vit": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
}
REPOSITORY = {"tiny-rn": "timm/tiny_rn.openai", "tiny-vit": "someone/tiny-vit"}
TAGS = {"tiny-rn": "openai", "tiny-vit": "laion2b_tiny"}


@pytest.fixture(scope="module", autouse=True)
def tiny_architectures(tmp_path_factory):
    """Two small CLIPs that open_clip knows like its own: with -quickgelu twins, and a tag each on the hub."""
    folder = tmp_path_factory.mktemp("configs")
    for name, vision in TINY.items():
        config = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": TEXT}
        (folder / f"{name}.json").write_text(json.dumps(config))
        (folder / f"{name}-quickgelu.json").write_text(json.dumps(config | {"quick_gelu": True}))
    open_clip.add_model_config(folder)
    known = open_clip.pretrained._PRETRAINED
    known["tiny-rn"] = known["tiny-rn-quickgelu"] = {
        "openai": open_clip.pretrained._pcfg(hf_hub="timm/tiny_rn.openai/", quick_gelu=True)
    }
    known["tiny-vit"] = {
        "laion2b_tiny": open_clip.pretrained._pcfg(
            hf_hub="someone/tiny-vit/", mean=(0.5, 0.5, 0.5), std=(0.4, 0.4, 0.4)
        )
    }
    yield
    for name in TINY:
        for variant in (name, f"{name}-quickgelu"):
            known.pop(variant, None)
            open_clip.factory._MODEL_CONFIGS.pop(variant)
    open_clip.factory._MODEL_CONFIG_PATHS.remove(folder)


@pytest.fixture(scope="module")
def states(tiny_architectures) -> dict[str, dict[str, torch.Tensor]]:
    return {n: golden_fill(open_clip.create_model(n, pretrained=None).state_dict()) for n in TINY}


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty hub cache, and no network."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def in_hub(hub: Path, repository: str, files: dict[str, Path]) -> None:
    """Lay files out as the hub's client does: refs/main names a snapshot, a folder of links."""
    folder, commit = hub / f"models--{repository.replace('/', '--')}", "0123456789" * 4
    for part in ("refs", f"snapshots/{commit}"):
        (folder / part).mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    for name, source in files.items():
        (folder / "snapshots" / commit / name).symlink_to(source)


def write_archive(path: Path, state: dict[str, torch.Tensor], **extra: int) -> None:
    """A TorchScript archive of a module tree with these names, as OpenAI released theirs."""

    class Node(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    root = Node()
    for name, tensor in {**state, **{k: torch.tensor(v) for k, v in extra.items()}}.items():
        *parents, leaf = name.split(".")
        at = root
        for part in parents:
            if not hasattr(at, part):
                at.add_module(part, Node())
            at = getattr(at, part)
        at.register_buffer(leaf, tensor.clone())
    torch.jit.script(root).save(str(path))


OPENAI = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}


def half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v.half() if v.is_floating_point() else v for k, v in state.items()}


def safetensors(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    save_file({k: v.clone().contiguous() for k, v in state.items()}, folder / "x.safetensors")
    return folder / "x.safetensors"


def encode(model, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    views = torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model.visual(views).numpy()


def check_features(spec: Backbone, name: str, state: dict[str, torch.Tensor], quickgelu: bool) -> None:
    """Check text and image features against open_clip alone, the positional embedding dropped by hand."""
    expected = open_clip.create_model(f"{name}-quickgelu" if quickgelu else name, pretrained=None).eval()
    expected.load_state_dict(state)
    owner = expected.visual.attnpool if hasattr(expected.visual, "attnpool") else expected.visual
    owner.positional_embedding.data.zero_()
    model = build_model(spec, load_weights(spec))
    text, scale = encode_text(model, spec, TEXTS)
    with torch.inference_mode():
        expected_text = expected.encode_text(open_clip.get_tokenizer(name)(TEXTS), normalize=True).numpy()
    np.testing.assert_allclose(text, expected_text, rtol=0, atol=1e-6)
    np.testing.assert_allclose(encode(model), encode(expected), rtol=0, atol=1e-5)
    assert scale == pytest.approx(100.0, rel=1e-3)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.slow
def test_an_archive_has_the_hash_and_features_of_its_state(tmp_path, states, name):
    write_archive(tmp_path / "x.pt", half(states[name]), **OPENAI)
    spec = Backbone(name, checkpoint=str(tmp_path / "x.pt"), quickgelu=True)
    assert load_weights(spec).sha256 == fingerprint(states[name])
    check_features(spec, name, states[name], quickgelu=True)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.slow
def test_a_tag_in_the_hub_cache_needs_no_network_and_brings_its_pixels(tmp_path, states, hub, name):
    file = safetensors(tmp_path, states[name])
    in_hub(hub, REPOSITORY[name], {"open_clip_model.safetensors": file})
    by_tag = Backbone(name, pretrained=TAGS[name])
    quickgelu = name == "tiny-rn"
    check_features(by_tag, name, states[name], quickgelu)
    for spec in (by_tag, replace(by_tag, checkpoint=str(file))):
        weights = load_weights(spec)
        assert weights.quickgelu == quickgelu
        assert quickgelu or (weights.mean, weights.std) == ((0.5,) * 3, (0.4,) * 3)


def config_json(folder: Path, **changed) -> Path:
    config = {"embed_dim": 48, "vision_cfg": TINY["tiny-vit"], "text_cfg": TEXT} | changed
    path = folder / "open_clip_config.json"
    path.write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": [0.4] * 3, "std": [0.3] * 3}})
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("quickgelu", [False, True])
def test_a_local_folder_and_a_hub_repository_bring_their_own_config(tmp_path, states, hub, quickgelu):
    folder = tmp_path / "my model"
    folder.mkdir()
    config = config_json(folder, quick_gelu=quickgelu)
    file = safetensors(tmp_path, states["tiny-vit"]).rename(folder / "open_clip_model.safetensors")
    in_hub(hub, "me/mine", {"open_clip_config.json": config, "open_clip_model.safetensors": file})
    for name in (f"local-dir:{folder}", "hf-hub:me/mine"):
        weights = load_weights(Backbone(name))
        assert (weights.mean, weights.std, weights.quickgelu) == ((0.4,) * 3, (0.3,) * 3, quickgelu)
        check_features(Backbone(name), "tiny-vit", states["tiny-vit"], quickgelu)
        with pytest.raises(UserError, match=r"^QuickGELU mismatch: .*its own config says so"):
            load_weights(Backbone(name, quickgelu=not quickgelu))


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"text_cfg": TEXT | {"tokenizer_kwargs": {"trust_remote_code": True}}}, "trust_remote_code"),
        ({"text_cfg": TEXT | {"tokenizer_kwargs": {"tokenizer_file": "x"}}}, "tokenizer_file"),
        ({"vision_cfg": {"timm_model_name": "hf-hub:a/b"}}, "hf-hub:a/b"),
        ({"text_cfg": [1]}, "text_cfg"),
        ({"text_cfg": TEXT | {"width": 24576}}, "text_cfg.width"),
    ],
)
def test_a_models_config_that_could_run_code_is_refused(tmp_path, changed, key):
    config_json(tmp_path, **changed)
    with pytest.raises(UserError, match=f"^backbone.name=local-dir:.*open_clip_config.json.*{key}"):
        load_weights(Backbone(f"local-dir:{tmp_path}"))


def test_transformers_is_told_to_run_no_code_of_a_models(tmp_path, monkeypatch):
    module, dynamic = mock.MagicMock(), mock.Mock(TIME_OUT_REMOTE_CODE=15)
    module.AutoTokenizer.from_pretrained.side_effect = OSError("stop here")
    monkeypatch.setitem(sys.modules, "transformers", module)
    monkeypatch.setitem(sys.modules, "transformers.dynamic_module_utils", dynamic)
    config_json(tmp_path, text_cfg=TEXT | {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"clean": "lower"}})
    with pytest.raises(UserError, match="its tokenizer cannot be had"):
        encode_text(None, Backbone(f"local-dir:{tmp_path}"), [("a", "b")])
    assert module.AutoTokenizer.from_pretrained.call_args.kwargs["trust_remote_code"] is False
    with quiet():
        assert dynamic.TIME_OUT_REMOTE_CODE == 0  # it asks nobody to run code
    assert dynamic.TIME_OUT_REMOTE_CODE == 15


def test_an_activation_that_contradicts_the_tag_or_the_archive_is_an_error(tmp_path, states, hub):
    archive = str(tmp_path / "archive.pt")
    write_archive(tmp_path / "archive.pt", half(states["tiny-rn"]), **OPENAI)
    assert load_weights(Backbone("tiny-rn", checkpoint=archive)).quickgelu is True
    mismatch = r"QuickGELU mismatch: .*{} \(.*{}.*drop backbone\.quickgelu"
    refused(mismatch.format("need true", "OpenAI"), "tiny-rn", checkpoint=archive, quickgelu=False)
    file = safetensors(tmp_path, states["tiny-vit"])
    in_hub(hub, REPOSITORY["tiny-vit"], {"open_clip_model.safetensors": file})
    words = mismatch.format("need false", "laion2b_tiny")
    refused(words, "tiny-vit", pretrained="laion2b_tiny", quickgelu=True)
    mine = str(tmp_path / "mine.pt")
    write_archive(tmp_path / "mine.pt", states["tiny-rn"])  # not OpenAI's: it decides nothing
    refused(r"mine\.pt: .* set backbone\.quickgelu=true", "tiny-rn", checkpoint=mine)
    assert load_weights(Backbone("tiny-rn", checkpoint=mine, pretrained="openai")).quickgelu is True


def test_the_hash_knows_names_shapes_and_values_and_nothing_else(states):
    state = states["tiny-rn"]
    base = fingerprint(state)
    assert base == fingerprint(half(state)) == fingerprint(dict(reversed(state.items())))
    name = "visual.conv1.weight"
    others = [
        {**state, name: state[name] + 0.25},
        {**state, name: state[name].flatten()},
        {k if k != name else "renamed": v for k, v in state.items()},
        {k: v for k, v in state.items() if k != name},
        {**state, name: state[name].transpose(0, 1).contiguous()},
    ]
    assert len({base, *map(fingerprint, others)}) == len(others) + 1
    strided = {**state, name: state[name].contiguous(memory_format=torch.channels_last)}
    assert fingerprint(strided) == base


def test_weights_of_another_architecture_name_the_tensors(tmp_path, states):
    state = states["tiny-rn"]
    cases = {
        r"size mismatch for visual\.conv1\.weight: .*\[8, 3, 5, 5\]": state
        | {"visual.conv1.weight": torch.zeros(8, 3, 5, 5)},
        r"Missing .*\"ln_final\.bias\"": {k: v for k, v in state.items() if k != "ln_final.bias"},
        r"Unexpected .*\"extra\"": state | {"extra": torch.zeros(1)},
        r"Missing .*visual\.bn1": states["tiny-vit"],
        r"tensor text_projection holds NaN or infinity": state
        | {"text_projection": torch.full((32, 48), np.nan)},
    }
    path = tmp_path / "w.pt"
    for message, content in cases.items():
        torch.save(content, path)
        spec = Backbone("tiny-rn", checkpoint=str(path), quickgelu=True)
        with pytest.raises(UserError, match=rf"w\.pt: .*{message}"):
            build_model(spec, load_weights(spec))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.pt", None, "no such file; give the path"),
        ("garbage.pt", b"garbage" * 99, "not readable as .*; fetch the file again"),
        ("empty.pt", b"", "not readable as .*; fetch the file again"),
        ("cut.safetensors", lambda good: good[:-1000], "not readable as .*; fetch the file again"),
        ("garbage.safetensors", b"garbage" * 99, "not readable as .*; fetch the file again"),
        ("tensor.pt", torch.zeros(3), r"holds no state dict; save model\.state_dict\(\)"),
        ("nothing.pt", {}, r"holds no state dict; save model\.state_dict\(\)"),
        ("odd.pt", {"a": 3}, r"entry 'a' is no tensor; save model\.state_dict\(\)"),
    ],
)
def test_files_that_are_no_weights_say_so(tmp_path, states, name, content, message):
    path = tmp_path / name
    if callable(content):
        content = content(safetensors(tmp_path, states["tiny-rn"]).read_bytes())
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    refused(rf"{re.escape(name)}: {message}", "tiny-rn", checkpoint=str(path), quickgelu=True)


@pytest.mark.parametrize(
    ("name", "tag", "message"),
    [
        ("RN51", "openai", r"^backbone\.name=RN51: .*open_clip\.list_models"),
        ("tiny-vit", "openai", r"^backbone\.name=tiny-vit backbone\.pretrained=openai: .*has laion2b_tiny"),
        ("tiny-vit", None, r"^backbone\.pretrained is not set for backbone\.name=tiny-vit: give"),
        ("RN50", "openai", r"neither in the hub cache nor to be downloaded \(.*backbone\.checkpoint=FILE"),
        ("hf-hub:me/none", None, r"^backbone\.name=hf-hub:me/none: its config cannot be had \("),
        ("local-dir:nowhere", None, r"^backbone\.name=local-dir:nowhere: its config cannot be had \("),
    ],
)
def test_names_and_tags_that_lead_to_no_weights(hub, name, tag, message):
    refused(message, name, pretrained=tag)


def untrained(name: str = "tiny-vit", seed: int = 0, **options):
    spec = Backbone(name, untrained=seed, **options)
    weights = load_weights(spec)
    return spec, weights, build_model(spec, weights)


@pytest.mark.parametrize("name", TINY)
def test_untrained_weights_depend_on_the_seed_only_and_leave_the_generator_alone(name):
    before = torch.get_rng_state()
    first = untrained(name, 7)[1]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert untrained(name, 7)[1].sha256 == first.sha256 == fingerprint(first.state)
    assert untrained(name, 8)[1].sha256 != first.sha256


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(
    ("how", "size"), [("drop", 64), ("native", 64), ("interpolate", 64), ("interpolate", 95)]
)
@pytest.mark.slow
def test_the_positional_embedding_is_what_open_clip_makes_of_it(name, how, size):
    spec, weights, model = untrained(name, 0, positional_embedding=how)
    fit_positional_embedding(model, spec, (size, size))
    assert encode(model, (size, size)).shape == (2, 48)
    if name == "tiny-vit" or size == 64:  # open_clip resizes no ResNet's
        own = open_clip.create_model(name, pretrained=None, force_image_size=size).eval()
        state = dict(weights.state)
        open_clip.model.resize_pos_embed(state, own)
        own.load_state_dict(state)
        owner = own.visual.attnpool if name == "tiny-rn" else own.visual
        owner.positional_embedding.data *= how != "drop"
        np.testing.assert_allclose(encode(model, (size, size)), encode(own, (size, size)), rtol=0, atol=1e-5)


def test_a_folders_tokenizer_is_known_by_its_bytes(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    spec = Backbone(f"local-dir:{tmp_path}")
    before = tokenizer_name(spec)
    assert before == tokenizer_name(spec) != tokenizer_name(Backbone("demo"))
    (tmp_path / "tokenizer.json").write_text("{ }")
    assert tokenizer_name(spec) != before


def test_text_is_the_same_bits_with_any_number_of_threads():
    spec = Backbone("demo")
    model, before, text = build_model(spec, load_weights(spec)), torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            text.append(encode_text(model, spec, [text for pair in MACLIP for text in pair])[0])
            assert torch.get_num_threads() == threads  # what comes next keeps its threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*text)


def test_text_is_never_cut():
    spec, _, model = untrained()
    encode_text(model, spec, ["a " * 75])
    with pytest.raises(UserError, match=r"prompts: the text 'long long .* 75 tokens .*; shorten"):
        encode_text(model, spec, ["a", "long " * 76])


TRANSFORMERS = {  # of both towers
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_final": "final_layer_norm",
    "ln_pre": "pre_layrnorm",
    "ln_post": "post_layernorm",
    "transformer.resblocks": "encoder.layers",
    "attn.": "self_attn.",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def as_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A ViT's weights under the names of transformers' CLIPModel."""
    out = {
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
        "logit_scale": state["logit_scale"],
        "text_projection.weight": state["text_projection"].T,
        "visual_projection.weight": state["visual.proj"].T,
    }
    for name in state.keys() - {"logit_scale", "text_projection", "visual.proj"}:
        tower = "vision_model." if name.startswith("visual.") else "text_model."
        theirs = tower + name.removeprefix("visual.")
        for before, after in TRANSFORMERS.items():
            theirs = theirs.replace(before, after)
        thirds = (
            zip("qkv", state[name].chunk(3), strict=True) if "in_proj_" in name else [("in", state[name])]
        )
        out |= {theirs.replace("in_proj_", f"{letter}_proj."): part.clone() for letter, part in thirds}
    return {k: v.contiguous() for k, v in out.items()}


def named(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{k}": v for k, v in state.items()}


DIALECTS = {
    "plain": lambda state: state,
    "float16": half,
    "bfloat16": lambda state: {k: v.bfloat16() if v.is_floating_point() else v for k, v in state.items()},
    "no counters": lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
    "nested": lambda state: {"epoch": 3, "name": "run", "state_dict": OrderedDict(state), "optimizer": {"lr": 0.1}},
    "nested, distributed, float16": lambda state: {"state_dict": named("module.", half(state))},
    "model_state_dict": lambda state: {"model_state_dict": state, "epoch": 3},
    "params and clip_model": lambda state: {"params": named("clip_model.", state)},
    "compiled and distributed": lambda state: {"state_dict": named("module._orig_mod.", state)},
    "model": lambda state: {"model": named("model.", state)},
    "QualiCLIP": lambda state: named("clip_model.", state) | {"prompts_features": torch.ones(14, 48)},
    "transformers": as_transformers,
    "transformers in a wrapper": lambda state: named("clip.", as_transformers(state)),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["pt", "old.pt", "safetensors"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_network_is_one_network_in_any_dialect(tmp_path, states, dialect, suffix):
    name = "tiny-rn" if dialect == "no counters" else "tiny-vit"
    content = DIALECTS[dialect](states[name])
    path = tmp_path / f"x.{suffix}"
    if suffix == "safetensors":
        safetensors(tmp_path, next((v for v in content.values() if isinstance(v, dict)), content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=suffix == "pt")
    weights = load_weights(Backbone(name, checkpoint=str(path), quickgelu=False))
    assert weights.sha256 == fingerprint(content if dialect == "bfloat16" else states[name])
    renamed = any(word in dialect for word in ("distributed", "params", "QualiCLIP", "transformers"))
    assert bool(weights.notes) == (renamed or dialect == "model")
    assert weights.record(Backbone(name))["source"].startswith(str(path))


def test_the_activation_of_transformers_weights_stands_in_their_config(tmp_path, states):
    save_file(as_transformers(states["tiny-vit"]), tmp_path / "model.safetensors")
    spec = Backbone("tiny-vit", checkpoint=str(tmp_path / "model.safetensors"))
    with pytest.raises(UserError, match=r"set backbone\.quickgelu=true"):
        load_weights(spec)
    for word, quickgelu in (("quick_gelu", True), ("gelu", False)):
        (tmp_path / "config.json").write_text(json.dumps({"text_config": {"hidden_act": word}}))
        assert load_weights(spec).quickgelu is quickgelu


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("blocks.0.attn.qkv.weight", "cls_token"), "a timm image tower"),
        (("vision_model.pre_layrnorm.weight", "visual_projection.weight"), "transformers' image tower alone"),
        (("text_model.final_layer_norm.weight",), "transformers' text tower alone"),
    ],
)
def test_a_part_of_a_clip_is_named(tmp_path, names, words):
    torch.save({name: torch.zeros(2, 2) for name in names}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=rf"x\.pt: holds {words}, .*; save the whole model"):
        load_weights(Backbone("tiny-vit", checkpoint=str(tmp_path / "x.pt"), quickgelu=False))


def test_weights_of_another_grid_are_resized_and_said_so(tmp_path, states):
    state = dict(states["tiny-vit"])
    state["visual.positional_embedding"] = state["visual.positional_embedding"][:10]  # 3 x 3 and the class
    torch.save(state, tmp_path / "x.pt")
    spec = Backbone("tiny-vit", checkpoint=str(tmp_path / "x.pt"), quickgelu=False)
    weights = load_weights(Backbone("tiny-vit", checkpoint=str(tmp_path / "x.pt"), quickgelu=False))
    assert "positional embedding of 9 places resized to 4x4" in weights.record(spec)["source"]
    spec = replace(spec, positional_embedding="native")
    table = build_model(spec, weights).visual.positional_embedding
    assert table.shape == (17, 64) and torch.equal(table[0], state["visual.positional_embedding"][0])


def refused(message: str, name: str, **options) -> None:
    """Check that weights are refused in one line that holds these words."""
    with pytest.raises(UserError, match=message) as error:
        load_weights(Backbone(name, **options))
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("how", "size", "message"),
    [
        ("native", 224, r"native: tiny-rn takes 64x64 views, not 224x224; use drop .* views\.window=64"),
        ("drop", 16, r"views\.window=16 is under the 32 pixels .*use views\.window=32"),
    ],
)
def test_a_size_that_the_tower_cannot_take_is_an_error(how, size, message):
    spec, _, model = untrained("tiny-rn", 0, positional_embedding=how)
    with pytest.raises(UserError, match=message):
        fit_positional_embedding(model, spec, (size, size))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positional_embedding": "zero"}, r"positional_embedding=zero .*use drop, native, interp"),
        ({"checkpoint": "a", "untrained": 1}, r"checkpoint and backbone\.untrained exclude each other"),
        ({"name": "RN50-quickgelu"}, r"name=RN50-quickgelu: write RN50 and backbone\.quickgelu=true"),
        ({"untrained": True}, r"untrained=True must be a whole number from 0 or null"),
        ({"quickgelu": "yes"}, r"quickgelu=yes must be true or false or null"),
    ],
)
def test_specs_check_themselves(options, message):
    with pytest.raises(UserError, match=rf"^backbone\.{message}"):
        Backbone(**{"name": "RN50"} | options)
