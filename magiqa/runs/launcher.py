"""The place where a command's work runs: here, in processes of this machine, or in a SLURM job array."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from magiqa.checked import Checked, Least
from magiqa.errors import UserError

_OWN = (
    "cluster",
    "jobs",
    "wait",
    "folder",
)  # every other field is a parameter of submitit's AutoExecutor, by its name
_MADE_WITH = ("slurm_max_num_timeout",)  # what it takes when it is made


@dataclass(frozen=True)
class Launcher(Checked, key="launcher"):
    """The number of tasks that share a command's work, and the resources of each.

    Args:
        cluster: ``slurm``, ``local`` (processes on this machine), or None: here, one after the other.
        jobs: tasks that share the work. wait: watch them to their end; otherwise submit and return.
        folder: of the tasks' files and logs; only its owner may be able to write there. None: the user's cache folder.
        Others: submitit's ``AutoExecutor`` takes them by these names; None leaves the cluster's own default.
    """

    cluster: Literal["local", "slurm"] | None = None
    jobs: Annotated[int, Least(1)] = 1
    wait: bool = True
    folder: str | None = None
    name: str = "magiqa"
    timeout_min: Annotated[int, Least(1)] | None = None
    mem_gb: float | None = None
    cpus_per_task: int | None = None
    gpus_per_node: int | None = None
    slurm_partition: str | None = None
    slurm_account: str | None = None
    slurm_qos: str | None = None
    slurm_constraint: str | None = None
    slurm_gres: str | None = None
    slurm_exclude: str | None = None
    slurm_nodelist: str | None = None
    slurm_mem_per_cpu: str | None = None
    slurm_array_parallelism: int | None = None
    slurm_signal_delay_s: int | None = None
    slurm_max_num_timeout: int | None = None
    slurm_use_srun: bool | None = None
    slurm_setup: tuple[str, ...] | None = None
    slurm_additional_parameters: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cluster == "local" and not self.wait:
            raise UserError("launcher.wait=false is for launcher=slurm: local tasks end with the command")

    @property
    def tasks_folder(self) -> Path:
        """The folder in which each launch has one of its own."""
        if self.folder is not None:
            return Path(self.folder)
        from platformdirs import user_cache_dir

        return Path(user_cache_dir("magiqa", appauthor=False)) / "launches"

    def parameters(self, *, made_with: bool = False) -> dict[str, Any]:
        """Return the parameters of submitit's ``AutoExecutor``: to update it, or to make it.

        Example:
            >>> Launcher("slurm", jobs=4, gpus_per_node=1, slurm_max_num_timeout=9).parameters()
            {'name': 'magiqa', 'gpus_per_node': 1}
        """
        settings = {k: v for k, v in asdict(self).items() if k not in _OWN and v is not None}
        chosen = {k: v for k, v in settings.items() if (k in _MADE_WITH) == made_with}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in chosen.items()}
