"""An image tower in, a fast callable out: views (B, 3, H, W) -> features (B, D).

Every engine is checked against plain float32 torch when it is built, and refuses to go on past its tolerance.

On a CPU the cores work on micro-batches of their own, side by side, not together on one: cores that share a layer wait
for each other at its end, and where anything else runs (decoding, another program) they mostly wait.
"""

import copy
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from magiqa.engines.engine import Engine, checked_error, plain_forward, probe_views, remedy
from magiqa.engines.hardware import half
from magiqa.engines.host_settings import refuse_forks
from magiqa.engines.openvino import openvino_maker
from magiqa.engines.out_of_memory import batch_too_large, out_of_memory, starved
from magiqa.engines.pytorch import torch_maker
from magiqa.engines.resolve import Resolved, streams, threads
from magiqa.errors import UserError
from magiqa.images.views import Views

if TYPE_CHECKING:
    import torch

SAME_VIEWS = 1e-6  # of a normalized pixel

CANDIDATES = {"cpu": (10, 5, 20), "cuda": (32, 64, 128, 256), "mps": (8, 16, 32, 64)}


def build(
    visual: "torch.nn.Module",
    resolved: Resolved,
    *,
    batch_size: int | Literal["auto"],
    view_size: tuple[int, int],
    views: Literal["auto", "host", "device"] = "auto",
) -> Engine:
    """Make, time and check an engine for an image tower, which stays as it was.

    Args:
        visual: float32, on the CPU, in evaluation mode. batch_size: views a micro-batch, or ``auto``: measured.
        views: where they are made of pixels. ``auto``: on a GPU, which pixels reach faster than views; on a CPU beside
            the engine, by NumPy.

    Raises:
        UserError: the engine cannot run this tower, or its features differ from plain float32 torch by more than
            its tolerance.
    """
    import torch

    refuse_forks()
    if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
        raise UserError(f"batch_size={batch_size}: use auto or a whole number of views, 1 or more")
    if getattr(visual, "output_tokens", False):  # CoCa's towers return all tokens too
        visual = copy.copy(visual)
        visual.output_tokens = False  # type: ignore[assignment]
    on_device = views == "device" or (views == "auto" and resolved.device != "cpu")
    if on_device and resolved.engine == "openvino":
        raise UserError("engine=openvino takes views as they are; use engine=torch")
    probe = probe_views(3, view_size)
    reference = plain_forward(visual)(probe)
    cores = torch.get_num_threads()
    refused: str | None = None
    try:
        if resolved.device == "cpu":  # of each caller: new threads take it over
            torch.set_num_threads(threads() // streams(resolved.device))
        if resolved.engine == "openvino":
            make = openvino_maker(visual, resolved, view_size)
        else:
            make = torch_maker(visual, resolved, view_size, on_device=on_device)
            if on_device and (refused := _no_way(make(2), resolved)):
                make = torch_maker(visual, resolved, view_size)
        if batch_size == "auto" and resolved.engine == "compile":
            # a compilation takes longer than the search: one, of the size found without
            uncompiled = torch_maker(
                visual, resolved, view_size, plain=True, on_device=on_device and not refused
            )
            batch_size = _fastest(uncompiled, resolved).batch_size
        engine = _fastest(make, resolved) if batch_size == "auto" else make(batch_size)
        engine.warning = refused
        rows = np.arange(max(len(probe), engine.batch_size)) % len(probe)  # every place of a batch
        features = engine(probe[rows])
    except UserError:
        raise
    except Exception as error:
        if out_of_memory(error) or starved(error, resolved.device):
            raise batch_too_large(resolved, batch_size if batch_size != "auto" else 1) from error
        if resolved.engine == "torch" and resolved.device == "cpu":
            raise
        at, use = f"engine={resolved.engine}", "use engine=torch"
        if resolved.engine == "torch":
            at, use = f"precision={resolved.precision} device={resolved.device}: torch", remedy(resolved)
        raise UserError(f"{at} cannot run this backbone ({_first_line(error)}); {use}") from error
    finally:
        torch.set_num_threads(cores)
    engine.max_error = checked_error(features, reference[rows], resolved)
    if resolved.precision == "bf16" and (slow := slow_bf16(engine, visual)):
        engine.warning = "; ".join(filter(None, (engine.warning, slow)))
    return engine


def _no_way(engine: Engine, resolved: Resolved) -> str | None:
    """Why an engine's views are not to be made on its device; None: they are those made on the CPU."""
    assert engine.way is not None
    try:
        difference = engine.way.difference()
        if difference <= SAME_VIEWS:
            return None
        why = f"made there differ by {difference:.1e} from those made on the CPU"
    except RuntimeError as error:  # an operation that a device or a version of torch lacks
        if out_of_memory(error):
            raise
        why = f"cannot be made there ({_first_line(error)})"
    return f"device={resolved.device}: views {why}; they are made on the CPU instead (slower)"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _fastest(make: Callable[[int], Engine], resolved: Resolved) -> Engine:
    """The engine with the most views a second over the candidate sizes, each timed for about a second.

    A larger batch need not be faster on a CPU: the activations leave the cache. No further candidate is begun after
    fifteen seconds.

    Raises:
        UserError: no candidate fits into memory.
    """
    begin = time.perf_counter()
    best, highest, full = None, 0.0, False
    sizes = CANDIDATES[resolved.device.partition(":")[0]]
    for size in sizes:
        if best is not None and (full or time.perf_counter() - begin > 15):
            break
        try:
            engine = make(size)
            rate = size / _seconds(engine, 0.7)
        except Exception as error:
            # a library short of memory may say that it found no algorithm: where a smaller batch ran, that is why
            if not out_of_memory(error) and not (best is not None and isinstance(error, RuntimeError)):
                raise
            full = True  # what is larger would not fit either
            continue
        finally:
            _give_back(resolved.device)
        if rate > highest:
            best, highest = engine, rate
    if best is None:
        raise batch_too_large(resolved, min(sizes))
    return best


def _give_back(device: str) -> None:
    """What a candidate's batches took of a GPU's memory, which torch would keep for batches of that size."""
    if device != "cpu":
        import torch

        (torch.mps if device == "mps" else torch.cuda).empty_cache()


def _seconds(engine: Engine, budget: float) -> float:
    """The shortest time in which all streams encode a full batch each, of at least two after a warm-up."""
    encode, views = _work(engine)
    encode(views)
    taken: list[float] = []
    with ThreadPoolExecutor(engine.streams) as pool:
        while len(taken) < 3 or sum(taken) < budget:
            start = time.perf_counter()
            list(pool.map(encode, [views] * engine.streams))
            taken.append(time.perf_counter() - start)
    return min(taken[1:])


def _work(engine: Engine) -> tuple[Callable[[Any], np.ndarray], Any]:
    """How an engine encodes, and a full batch for it: of pixels that lie on its device, where views are made there."""
    if engine.way is None:
        return engine, probe_views(engine.batch_size, engine.view_size)
    side = engine.way.size
    strip = np.random.default_rng(0).integers(0, 256, (side, side + engine.batch_size - 1, 3), dtype=np.uint8)
    (pieces,) = engine.way.cut(strip, Views(kinds=("windows",), window=side, stride=1))
    return engine.way.encode, pieces


def slow_bf16(engine: Engine, visual: "torch.nn.Module") -> str | None:
    """What to say where bf16 costs time instead of saving it: on CPUs and GPUs without arithmetic for it."""
    if engine.resolved.device != "cpu":
        if half(engine.resolved.device) == "bf16" or engine.resolved.device == "mps":
            return None
        return "precision=bf16: this GPU (before Ampere) has no arithmetic for it; precision=fp16 is faster"
    resolved = replace(engine.resolved, engine="torch", precision="fp32")
    plain = torch_maker(visual, resolved, engine.view_size)(engine.batch_size)
    ratio = _seconds(engine, 0.0) / _seconds(plain, 0.0)
    return f"precision=bf16 took {ratio:.1f} times as long as fp32 on this CPU" if ratio > 1 else None
