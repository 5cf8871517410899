"""Build the engine of an image tower and check it against plain float32 torch.

On a CPU the cores work side by side, each on micro-batches of its own. Cores that share a layer wait for each other at
its end, and if anything else runs (decoding, another program) they mostly wait.
"""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from magiqa.cores import streams, threads
from magiqa.engines.engine import (
    Engine,
    Resolved,
    checked_error,
    out_of_memory,
    plain_forward,
    probe_views,
    refuse_forks,
)
from magiqa.engines.resolve import ENGINES
from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch

    from magiqa.engines.device import OnDevice

SAME_VIEWS = 1e-6  # of a normalized pixel


def build(
    visual: "torch.nn.Module",
    resolved: Resolved,
    *,
    view_size: tuple[int, int],
    batch_size: int | Literal["auto"] = "auto",
    on_device: bool | None = None,
) -> Engine:
    """Make and check an engine for an image tower, which stays as it was.

    Args:
        visual: float32, on the CPU, in evaluation mode. batch_size: views a micro-batch. ``auto`` takes the engine's
            own size, and half of it as often as memory runs out.
        on_device: make views on the engine's device, which pixels reach faster than views. Default: on GPUs.

    Raises:
        UserError: the engine cannot run this tower, its features differ from plain float32 torch by more than its
            tolerance, or a batch does not fit into memory.
    """
    import torch

    refuse_forks()
    if getattr(visual, "output_tokens", False):  # CoCa's towers return all tokens too
        visual = copy.copy(visual)
        visual.output_tokens = False  # type: ignore[assignment]
    probe = probe_views(3, view_size)
    reference = plain_forward(visual)(probe)
    cores = torch.get_num_threads()
    try:
        if resolved.device == "cpu":  # of each caller: new threads take it over
            torch.set_num_threads(threads() // streams(resolved.device))
        make = ENGINES[resolved.engine].prepare(visual, resolved, view_size)
        engine = _largest(make, resolved, visual, batch_size, probe, reference)
        if not (resolved.device != "cpu" if on_device is None else on_device):
            engine.way = None
        elif engine.way is not None and (reason := _refusal(engine.way)):
            engine.way = None
            engine.warnings.append(
                f"device={resolved.device}: views {reason}; they are made on the CPU instead (slower)"
            )
    except UserError:
        raise
    except Exception as error:
        if resolved.engine == "torch" and resolved.device == "cpu":
            raise
        raise UserError(
            f"engine={resolved.engine} precision={resolved.precision} device={resolved.device} cannot run this "
            f"backbone ({_first_line(error)}); {resolved.remedy}"
        ) from error
    finally:
        torch.set_num_threads(cores)
    return engine


def network(visual: "torch.nn.Module") -> str:
    """Return the kind of network that a tower is: ``vit``, or ``cnn`` for ResNets and all others."""
    return "vit" if type(visual).__name__ == "VisionTransformer" else "cnn"


def _largest(
    make: Callable[[int], Engine],
    resolved: Resolved,
    visual: Any,
    batch_size: int | Literal["auto"],
    probe: np.ndarray,
    reference: np.ndarray,
) -> Engine:
    """Return an engine of the batch size, or with ``auto`` of the largest half, quarter, ... that fits into memory."""
    sizes = ENGINES[resolved.engine].batch_sizes
    first = size = (
        sizes.get(f"{resolved.kind}/{network(visual)}", sizes[resolved.kind])
        if batch_size == "auto"
        else batch_size
    )
    while True:
        try:
            engine = make(size)
            engine.max_error = _checked(engine, probe, reference)
        except Exception as error:
            if isinstance(error, UserError) or not out_of_memory(error, resolved.device):
                raise
            if batch_size != "auto" or size == 1:
                other = (
                    "a smaller views.window" if resolved.device == "cpu" else "precision=fp16, or device=cpu"
                )
                raise UserError(
                    f"device={resolved.device}: out of memory with batch_size={size}; end what else fills it, or use "
                    f"{f'batch_size={size // 2}, ' if size > 1 else ''}{other}"
                ) from error
            size //= 2
        else:
            if size < first:
                engine.warnings.append(f"out of memory with batch_size={first}; {size} is used instead")
            return engine


def _checked(engine: Engine, probe: np.ndarray, reference: np.ndarray) -> float:
    """Encode a full batch on all streams at once; return the largest error."""
    rows = np.arange(max(len(probe), engine.batch_size)) % len(probe)  # every place of a batch
    with ThreadPoolExecutor(engine.streams) as pool:
        features = list(pool.map(engine, [probe[rows]] * engine.streams))
    return max(checked_error(f, reference[rows], engine.resolved) for f in features)


def _refusal(way: "OnDevice") -> str | None:
    """Return why views are not to be made on a device; None if they are those made on the CPU."""
    try:
        difference = way.difference()
    except RuntimeError as error:  # an operation that a device or a version of torch lacks
        return f"cannot be made there ({_first_line(error)})"
    return (
        None
        if difference <= SAME_VIEWS
        else f"made there differ by {difference:.1e} from those made on the CPU"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
