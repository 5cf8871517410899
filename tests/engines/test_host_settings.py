"""The host's settings come back: threads, TF32 by torch's older and newer switches, overlapping blocks."""

import pytest
import torch

from magiqa.engines.engine import apart, borrowed

MATMUL, CUDNN = torch.backends.cuda.matmul, torch.backends.cudnn


def settings() -> dict[str, object]:
    out: dict[str, object] = {"threads": torch.get_num_threads()}
    for name, owner, key in (
        ("matmul", MATMUL, "allow_tf32"),
        ("cudnn", CUDNN, "allow_tf32"),
        ("matmul new", MATMUL, "fp32_precision"),
        ("conv new", getattr(CUDNN, "conv", None), "fp32_precision"),
        ("rnn new", getattr(CUDNN, "rnn", None), "fp32_precision"),
    ):
        try:
            out[name] = getattr(owner, key, None)
        except RuntimeError:
            out[name] = "refused"
    return out


@pytest.fixture(autouse=True)
def _as_it_was():
    with borrowed():
        pass
    before = settings()
    threads = torch.get_num_threads()
    yield
    MATMUL.allow_tf32, CUDNN.allow_tf32 = False, True
    torch.set_num_threads(threads)
    assert settings()["threads"] == before["threads"]


@pytest.mark.parametrize("older", [(False, True), (True, True), (True, False)])
def test_the_older_switches_come_back(older):
    MATMUL.allow_tf32, CUDNN.allow_tf32 = older
    before = settings()
    with borrowed():
        assert not MATMUL.allow_tf32 and not CUDNN.allow_tf32
        torch.set_num_threads(1)
    assert settings() == before


@pytest.mark.parametrize("precision", ["medium", "high", "highest"])
def test_the_precision_of_products_comes_back_and_is_float32_inside(precision):
    torch.set_float32_matmul_precision(precision)
    before = settings()
    try:
        with borrowed():
            assert torch.get_float32_matmul_precision() == "highest"
            assert getattr(getattr(torch.backends.mkldnn, "matmul", None), "fp32_precision", "ieee") == "ieee"
        assert torch.get_float32_matmul_precision() == precision
        assert settings() == before
    finally:
        torch.set_float32_matmul_precision("highest")


def test_the_hosts_default_type_and_its_threads_settings_reach_no_work_of_ours():
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"), borrowed():

            def work():
                made = torch.ones(2, 2)
                return made.device.type, made.dtype, (made @ made).dtype

            assert apart(work) == ("cpu", torch.float32, torch.float32)
            with pytest.raises(ZeroDivisionError):
                apart(lambda: 1 // 0)
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
