"""Cues against plain definitions, high precision, and what follows from the formulas."""

import mpmath
import numpy as np
import pytest
import torch

from magiqa.errors import UserError
from magiqa.method.cues import BoxCox, Plain, similarity
from magiqa.method.prompts import Group

RNG = np.random.default_rng(7)
FEATURES = (RNG.standard_normal((6, 64)) * np.geomspace(0.1, 30, 6)[:, None]).astype(np.float32)


def unit(*shape: int) -> np.ndarray:
    text = RNG.standard_normal(shape)
    return (text / np.linalg.norm(text, axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_similarity_is_the_softmax_of_the_pairs_cosines(scale):
    text = unit(5, 2, 64)
    f = torch.nn.functional.normalize(torch.from_numpy(FEATURES).double(), dim=1)
    logits = scale * torch.einsum("vd,psd->vps", f, torch.from_numpy(text).double())
    expected = logits.softmax(dim=-1)[..., 0].numpy()
    got = similarity(FEATURES, text, scale)
    assert got.dtype == np.float64 and got.shape == (6, 5)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_similarity_knows_the_positive_side_and_nothing_of_length():
    text = unit(3, 2, 64)
    got = similarity(FEATURES, text, 100.0)
    np.testing.assert_allclose(got + similarity(FEATURES, text[:, ::-1], 100.0), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(similarity(1024 * FEATURES, text, 100.0), got, rtol=1e-12)
    aligned = similarity(text[:, 0], text, 100.0)
    assert (np.diag(aligned) > 0.99).all()


def test_a_views_cues_are_the_same_bits_whatever_views_and_pairs_are_beside_it():
    f = np.random.default_rng(3).standard_normal((300, 1024)).astype(np.float32)
    text = unit(5, 2, 1024)
    together, boxed = similarity(f, text, 100.0), BoxCox()(f)
    for part in (slice(0, 1), slice(7, 9), slice(250, 300)):
        np.testing.assert_array_equal(similarity(f[part], text, 100.0), together[part])
        np.testing.assert_array_equal(similarity(f[part], text[2:3], 100.0), together[part, 2:3])
        np.testing.assert_array_equal(BoxCox()(f[part]), boxed[part])


def official_magnitude(row: np.ndarray, lam: float) -> float:
    """Step 6 of the method in 40 digits, for one view."""
    with mpmath.workdps(40):
        a = [abs(mpmath.mpf(float(x))) for x in row]
        mean = sum(a) / len(a)
        std = mpmath.sqrt(sum((x - mean) ** 2 for x in a) / (len(a) - 1))
        a = [x / (std + mpmath.mpf("1e-6")) for x in a]
        exact = mpmath.mpf(lam)
        values = [mpmath.log(x + 1) if lam == 0 else ((x + 1) ** exact - 1) / exact for x in a]
        return float(sum(values) / len(values))


@pytest.mark.parametrize("lam", [-3.0, -0.5, -1e-9, 0.0, 1e-14, 1e-9, 1e-4, 0.025, 0.3, 0.5, 1.0, 2.0, 5.0])
def test_box_cox_against_forty_digits(lam):
    np.testing.assert_allclose(
        BoxCox(lam)(FEATURES), [official_magnitude(row, lam) for row in FEATURES], rtol=1e-13
    )


def test_standardized_box_cox_ignores_sign_order_and_scale_but_the_raw_one_sees_scale():
    cue, raw = BoxCox(), BoxCox(standardize=False)
    np.testing.assert_allclose(
        cue(37.0 * FEATURES), cue(FEATURES), rtol=1e-4
    )  # up to the 1e-6 beside the std
    np.testing.assert_array_equal(cue(-FEATURES), cue(FEATURES))
    np.testing.assert_allclose(cue(FEATURES[:, ::-1]), cue(FEATURES), rtol=1e-12)
    assert (raw(2.0 * FEATURES) > 1.2 * raw(FEATURES)).all()


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("l1", lambda f: torch.linalg.vector_norm(f, 1, dim=1)),
        ("l2", lambda f: torch.linalg.vector_norm(f, 2, dim=1)),
        ("max", lambda f: torch.linalg.vector_norm(f, torch.inf, dim=1)),
        ("std", lambda f: f.abs().std(dim=1)),
        ("mean", lambda f: f.abs().mean(dim=1)),
    ],
)
def test_plain_magnitudes_are_torchs_in_the_features_own_scale(kind, reference):
    cue = Plain(kind)
    got = cue(FEATURES)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, reference(torch.from_numpy(FEATURES).double()).numpy(), rtol=1e-12)
    np.testing.assert_allclose(cue(-3.0 * FEATURES.astype(np.float64)), 3.0 * got, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BoxCox(float("nan")), "magnitude.lam=nan must be a finite number"),
        (lambda: BoxCox("0.5"), "magnitude.lam=0.5 must be a finite number"),
        (lambda: BoxCox(0.5, "yes"), "magnitude.standardize=yes must be true or false"),
        (lambda: Plain("l3"), "magnitude.kind=l3 is not known: use l1, l2, max, std, mean"),
    ],
)
def test_cues_check_themselves(make, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        make()


@pytest.mark.parametrize(
    "words",
    [
        {"text": "{a:>3000000000}", "a": ["x", "y"]},
        {"text": "{a}" * 100_000, "a": ["x" * 10_000, "y"]},
        {"text": "{a}", **{key: list(range(1000)) for key in "abcdef"}},
    ],
)
def test_a_group_of_texts_that_would_fill_memory_is_refused(words):
    with pytest.raises(
        UserError, match=r"prompts.groups.0. must hold two to 10000 texts and a level for each"
    ):
        Group.of({**words, "levels": [0, 1]}, "prompts.groups[0]")


def test_the_levels_of_a_template_do_not_depend_on_the_order_of_its_words():
    words = {"text": "{where} of {grade} quality", "grade": ["bad", "good"], "where": ["in", "out", "up"]}
    group = Group.of({**words, "levels": [1, 5]}, "prompts.groups[0]")
    assert group == Group.of(
        dict(sorted({**words, "levels": [1, 5]}.items(), reverse=True)), "prompts.groups[0]"
    )
    assert group.texts[:4] == (
        "in of bad quality",
        "out of bad quality",
        "up of bad quality",
        "in of good quality",
    )
    assert group.levels == (1, 1, 1, 5, 5, 5)
