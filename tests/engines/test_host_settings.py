"""The host's settings come back: threads, TF32 by torch's older and newer switches, overlapping blocks."""

import threading

import pytest
import torch

from magiqa.engines.engine import apart, borrowed, float32_means_float32

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


@pytest.mark.skipif(not hasattr(CUDNN, "conv"), reason="this torch has the older switches only")
@pytest.mark.parametrize("newer", [("tf32", "tf32"), ("ieee", "tf32"), ("tf32", "ieee")])
def test_the_newer_switches_come_back(newer):
    MATMUL.fp32_precision, CUDNN.conv.fp32_precision = newer
    before = settings()
    with borrowed():
        assert MATMUL.fp32_precision != "tf32" and CUDNN.conv.fp32_precision != "tf32"
    assert settings() == before


def test_of_overlapping_blocks_the_last_puts_back_what_the_first_found():
    MATMUL.allow_tf32 = True
    threads = torch.get_num_threads()
    began, end = threading.Event(), threading.Event()

    def other() -> None:
        with borrowed():
            torch.set_num_threads(1)
            began.set()
            assert end.wait(10)

    with borrowed():
        thread = threading.Thread(target=other)
        thread.start()
        assert began.wait(10)
    assert not MATMUL.allow_tf32  # the other one still computes
    end.set()
    thread.join()
    assert MATMUL.allow_tf32
    found: list[int] = []
    new = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert found == [threads]


@pytest.mark.skipif(not hasattr(CUDNN, "conv"), reason="this torch has the older switches only")
def test_an_engine_built_inside_turns_no_tf32_on_that_the_host_has_by_default():
    generic = torch.backends.fp32_precision
    torch.backends.fp32_precision = "tf32"
    try:
        with borrowed():
            float32_means_float32()  # what building an engine for CUDA does
            assert (MATMUL.fp32_precision, CUDNN.conv.fp32_precision, CUDNN.rnn.fp32_precision) == (
                "ieee",
            ) * 3
    finally:
        torch.backends.fp32_precision = generic


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
