"""A bundle reruns a run byte for byte, and verify finds what is wrong with one."""

import json
import shutil

import pytest
import tiny
from safetensors.numpy import load_file

from magiqa.cli import main as cli
from magiqa.errors import UserError
from magiqa.features.bundle import open_bundle
from magiqa.studies.evaluate import evaluate
from magiqa.studies.pack import pack
from magiqa.studies.verify import verify

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(packed):
    return packed / "run" / "bundle.safetensors"


def from_bundle(bundle, *more):
    return tiny.configs().job([f"bundle={bundle}", "figures=false", *more])


def verified(bundle, packed, **options):
    job = from_bundle(
        bundle, f"dataset.root={packed / 'set'}", f"backbone.name='local-dir:{packed / 'clip'}'"
    )
    return verify(bundle, job, progress=False, **options)


def recorded(packed, run, *more):
    return tiny.configs().recorded(run, [tiny.named(packed), f"cache_dir={packed / 'cache'}", *more])


def test_tables_are_the_same_bytes_in_another_folder(packed, bundle, tmp_path):
    elsewhere = shutil.copy(bundle, tmp_path / "theirs.safetensors")
    out = tmp_path / "out"
    args = [f"bundle={elsewhere}", f"out={out}", "figures=false", f"cache_dir={tmp_path / 'none'}"]
    assert cli.main(["evaluate", *args]) == 0
    for name in ("scores.csv", "agreement.csv", "groups.csv"):
        assert (out / name).read_bytes() == (packed / "run" / name).read_bytes()
    record = json.loads((out / "record.json").read_text())
    assert record["backbone"]["label"] == "untrained, seed 0"
    assert record["bundle"]["code_sha256"] == open_bundle(bundle).header.code_sha256
    assert not (tmp_path / "none").exists()


def test_the_same_run_packs_to_the_same_bytes_and_tells_no_path(packed, bundle, tmp_path):
    again = tmp_path / "again.safetensors"
    assert cli.main(["pack", str(packed / "run"), tiny.named(packed), f"out={again}"]) == 0
    data = bundle.read_bytes()
    assert again.read_bytes() == data
    name = f"local-dir:{packed / 'clip'}".encode()  # the backbone's, as typed
    assert str(packed).encode() not in data.replace(name, b"")


def test_other_tools_read_it(bundle):
    tensors = load_file(bundle)
    assert set(tensors) == {"features", "counts", "controls", "text", "logit_scale"}
    assert len(tensors["features"]) == tensors["counts"].sum() and len(tensors["counts"]) == tiny.N


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["views.stride=16"], "holds features of views.stride=32, not 16; other features need the images"),
        (["backbone.untrained=1"], "holds features of backbone.untrained=0, not 1; other features need"),
        (["dataset.every=2"], "holds the data set set with its labels; leave out dataset=$"),
        (["prompts.pairs=[[a lion,a lamb]]"], "holds no embedding of the prompt 'a lion'"),
    ],
)
def test_features_that_it_does_not_hold(bundle, more, message, tmp_path):
    with pytest.raises(UserError, match=f"^bundle=.*: {message}"):
        evaluate(from_bundle(bundle, f"out={tmp_path}", *more), progress=False)


def test_a_damaged_file(bundle, tmp_path):
    data = bytearray(bundle.read_bytes())
    data[-3] ^= 1
    (tmp_path / "b").write_bytes(data)
    with pytest.raises(
        UserError, match=r"^bundle=.*: its contents do not match its checksum; fetch it again"
    ):
        evaluate(from_bundle(tmp_path / "b", f"out={tmp_path}/o"), progress=False)
    (tmp_path / "c").write_bytes(data[:500])
    for name, message in (
        ("c", "no bundle, or cut short; fetch it again"),
        ("nothing", "no such file; give"),
    ):
        with pytest.raises(UserError, match=f"^bundle=.*: {message}"):
            from_bundle(tmp_path / name)


@pytest.mark.parametrize(
    ("changed", "message"), [("labels", "the labels"), ("images", "images, or which were left out,")]
)
def test_pack_refuses_a_run_whose_labels_or_images_changed(packed, tmp_path, changed, message):
    images = shutil.copytree(packed / "set", tmp_path / "set")
    if changed == "images":
        shutil.copy(images / "05.png", images / "00.png")
    else:
        table = images / "labels.csv"
        table.write_text(table.read_text().replace("00.png,", "00.png,1"))
    with pytest.raises(UserError, match=rf": {message} changed since this run; run magiqa evaluate again"):
        pack(packed / "run", recorded(packed, packed / "run", f"dataset.root={images}"), (), tmp_path / "b")


def test_an_honest_bundle_holds(packed, bundle, capsys):
    problems, done = verified(bundle, packed, seed=1)
    assert problems == [] and (done["labels"], done["images"]) == (tiny.N, tiny.N)
    assert done["largest_difference"] < 1e-5
    args = [f"dataset.root={packed / 'set'}", f"backbone.name='local-dir:{packed / 'clip'}'"]
    assert cli.main(["verify", str(bundle), *args]) == 0
    assert "this bundle is what it claims" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("table.mos.1.4", lambda v: v + 1e-9, "labels: mos differs for 1 of 24 images (first 04.png: "),
        ("table.group.1.0", lambda v: "g9", "labels: group differs for 1 of 24 images"),
        ("labels.higher_is_better", lambda v: False, "labels: higher_is_better is True here, False in"),
        ("record.backbone.weights_sha256", lambda v: "f" * 64, "weights: weights_sha256 is "),
        ("record.backbone.kind", lambda v: "published", "weights: kind is untrained here, published in the"),
        ("images", lambda v: [v[1], v[0], *v[2:]], "00.png: the image file is another one (sha256 "),
        ("features", lambda v: v * 1.01, "00.png: the features of view 0 differ by 0.01"),
        ("text", lambda v: -v, "prompts: the embedding of "),
        ("logit_scale", lambda v: v * 7, "prompts: the embedding of "),
    ],
)
def test_a_wrong_claim_is_always_found(packed, bundle, tmp_path, part, change, message):
    def edit(arrays, meta):
        *parents, leaf = part.split(".")
        inner = arrays if part in arrays else meta
        for name in parents:
            inner = inner[int(name) if name.isdigit() else name]
        leaf = int(leaf) if leaf.isdigit() else leaf
        inner[leaf] = change(inner[leaf])

    sampled = tiny.N if part in ("images", "features") else 1
    problems, _ = verified(tiny.altered(bundle, tmp_path / "wrong", edit), packed, sampled=sampled)
    assert any(p.startswith(message) for p in problems), problems


def test_a_run_that_left_an_image_out(packed, tmp_path):
    images = shutil.copytree(packed / "set", tmp_path / "set")
    broken = images / "05.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    where, run = f"dataset.root={images}", tmp_path / "run"
    evaluate(tiny.job(packed, where, "on_error=skip", f"out={run}"), progress=False)
    bundle = pack(run, recorded(packed, run))
    assert str(tmp_path).encode() not in bundle.read_bytes()
    assert [one.image for one in open_bundle(bundle).header.skipped] == ["05.png"]
    job = from_bundle(bundle, where, f"backbone.name='local-dir:{packed / 'clip'}'")
    problems, done = verify(bundle, job, progress=False)
    assert problems == [] and done["labels"] == tiny.N - 1
    broken.write_bytes(whole)
    (problem,) = verify(bundle, job, progress=False)[0]
    assert problem.startswith("05.png: left out of the bundle (05.png: ")
    assert problem.endswith("but readable here")


def test_a_bundle_of_the_first_format_still_reads(bundle, tmp_path):
    def older(arrays, meta):
        texts = meta.pop("texts")[:10]  # the run's own five pairs
        meta |= {"format": 1, "pairs": [texts[i : i + 2] for i in range(0, 10, 2)]}
        arrays["text"] = arrays["text"].reshape(-1, arrays["text"].shape[-1])[:10].reshape(5, 2, -1)

    old = tiny.altered(bundle, tmp_path / "old", older)
    evaluate(from_bundle(old, f"out={tmp_path / 'out'}"), progress=False)
    assert (tmp_path / "out" / "scores.csv").read_bytes() == bundle.with_name("scores.csv").read_bytes()
