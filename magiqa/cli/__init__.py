"""The commands that a user types, one file each."""

import os
import platform

# Statistics run in threads of their own; BLAS would spin up as many again in each (a third of a run's time), and round
# by their number. Elsewhere torch may use the same library.
if platform.machine().lower() in ("x86_64", "amd64"):
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
