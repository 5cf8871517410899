"""Where a command's work runs: here, as processes of this machine, or as a job array of SLURM."""

from dataclasses import asdict, dataclass
from typing import Any

from magiqa.errors import UserError

OWN = ("cluster", "jobs", "wait")  # every other field is a parameter of submitit's AutoExecutor, by its name


@dataclass(frozen=True)
class Launcher:
    """How many tasks share a command's work, and what each is given.

    Args:
        cluster: ``slurm``, ``local`` (processes on this machine), or None: here, one after the other.
        jobs: tasks that share the work. wait: watch them to their end; otherwise submit and return.
        Others: submitit's ``AutoExecutor`` takes them by these names; None leaves the cluster's own default.
    """

    cluster: str | None = None
    jobs: int = 1
    wait: bool = True
    name: str = "magiqa"
    timeout_min: int | None = None
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
    slurm_additional_parameters: Any = None

    def __post_init__(self) -> None:
        if self.cluster not in (None, "local", "slurm"):
            raise UserError(f"launcher.cluster={self.cluster} is not known: use local, slurm or null")
        if isinstance(self.jobs, bool) or not isinstance(self.jobs, int) or self.jobs < 1:
            raise UserError(f"launcher.jobs={self.jobs} must be a whole number from 1")
        if not isinstance(self.wait, bool):
            raise UserError(f"launcher.wait={self.wait} must be true or false")
        if self.cluster == "local" and not self.wait:
            raise UserError(
                "launcher.wait=false is for launcher=slurm: tasks of launcher=local end with the command"
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """What ``AutoExecutor.update_parameters`` is to be given, but for what it takes when it is made.

        Example:
            >>> Launcher("slurm", jobs=4, gpus_per_node=1, slurm_partition="gpu").parameters
            {'name': 'magiqa', 'gpus_per_node': 1, 'slurm_partition': 'gpu'}
        """
        given = {
            k: v
            for k, v in asdict(self).items()
            if k not in (*OWN, "slurm_max_num_timeout") and v is not None
        }
        return {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
