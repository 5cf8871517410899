#!/bin/bash
# A SLURM of one node on this machine, and magiqa encode in four tasks on its two CPUs: one is killed, one has to make
# room for an urgent job (SLURM preempts and requeues it), one is sent submitit's signal (saved, requeued); the cache
# equals that of a single process bit for bit; then a job that nobody waits for. Needs root, and Debian's slurm-wlm and munge:
#
#     apt-get update && apt-get install slurm-wlm munge
#     scripts/slurm_demo.sh [FOLDER] [PHOTOS]
#
# Everything lies in FOLDER (a new one under /tmp), SLURM's own files too; its daemons end with this script.
set -u
DIR=$(realpath -m "${1:-$(mktemp -d /tmp/magiqa-slurm-XXXX)}")
PHOTOS=${2:-96}
HERE=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=${PYTHON:-$([ -x "$HERE/.venv/bin/python" ] && echo "$HERE/.venv/bin/python" || echo python)}
$PYTHON -c 'import submitit, magiqa.cli.main' 2> /dev/null || PYTHONPATH=$HERE $PYTHON -c 'import submitit, magiqa.cli.main' ||
  { echo "slurm_demo: $PYTHON lacks magiqa or submitit: make setup"; exit 3; }
for program in slurmctld slurmd munged mungekey sbatch; do
  command -v $program > /dev/null || { echo "slurm_demo: $program is missing: apt-get install slurm-wlm munge"; exit 3; }
done
[ "$(id -u)" = 0 ] || { echo "slurm_demo: needs root, to start SLURM's daemons"; exit 3; }
mkdir -p "$DIR"/slurm "$DIR"/munge && chmod 755 "$DIR" && chown munge "$DIR"/munge && chmod 755 "$DIR"/munge
cd "$DIR" || exit 3

# 1. SLURM
[ -f munge/key ] || su -s /bin/sh munge -c "mungekey --create --keyfile=$DIR/munge/key"
su -s /bin/sh munge -c "munged --key-file=$DIR/munge/key --socket=$DIR/munge/socket --pid-file=$DIR/munge/pid \
  --log-file=$DIR/munge/log --seed-file=$DIR/munge/seed"
export SLURM_CONF=$DIR/slurm.conf
cat > "$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=$(hostname -s)
SlurmctldPort=$((20000 + $$ % 20000))
SlurmdPort=$((40001 + $$ % 20000))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$DIR/munge/socket
StateSaveLocation=$DIR/slurm
SlurmdSpoolDir=$DIR/slurm
SlurmctldPidFile=$DIR/slurm/ctld.pid
SlurmdPidFile=$DIR/slurm/d.pid
SlurmctldLogFile=$DIR/slurm/ctld.log
SlurmdLogFile=$DIR/slurm/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
KillWait=20
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
NodeName=$(hostname -s) CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes=$(hostname -s) Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=$(hostname -s) MaxTime=INFINITE State=UP PriorityTier=9
CONF
stop() {
  scancel --user=root 2> /dev/null
  for _ in $(seq 30); do squeue -h 2> /dev/null | grep -q . || break; sleep 1; done
  for pid in slurm/d.pid slurm/ctld.pid munge/pid; do kill "$(cat "$DIR"/$pid 2> /dev/null)" 2> /dev/null; done
}
trap stop EXIT
slurmctld && sleep 2 && slurmd -N "$(hostname -s)"
for _ in $(seq 30); do [ "$(sinfo -h -p all -o %t 2> /dev/null)" = idle ] && break; sleep 1; done
sinfo || { echo "slurm_demo: SLURM did not start; see $DIR/slurm/*.log"; exit 3; }

# 2. Photos, and what a single process makes of them
export OMP_NUM_THREADS=1 PYTHONPATH=$HERE${PYTHONPATH:+:$PYTHONPATH}
[ -f photos/labels.csv ] || $PYTHON - "$PHOTOS" <<'PY'
import sys
from pathlib import Path

import numpy as np
from PIL import Image

rng, folder = np.random.default_rng(0), Path("photos")
folder.mkdir()
for i in range(int(sys.argv[1])):
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((512, 384), Image.Resampling.BICUBIC).save(folder / f"{i:03}.jpg", quality=20 + i % 75)
rows = [f"{i:03}.jpg,{20 + i % 75}" for i in range(int(sys.argv[1]))]
(folder / "labels.csv").write_text("\n".join(["image,mos", *rows]) + "\n")
PY
magiqa() { $PYTHON -m magiqa.cli.main "$@"; }
SET="dataset=folder dataset.root=$DIR/photos backbone=rn50 backbone.untrained=0 engine=torch batch_size=5 workers=1"
echo "+ magiqa encode cache_dir=one"
magiqa encode $SET cache_dir="$DIR"/one 2> one.log || { tail -3 one.log; exit 1; }

# 3. The same in four tasks on two CPUs
TASKS="launcher=slurm launcher.jobs=4 launcher.cpus_per_task=1 launcher.timeout_min=60 launcher.folder=$DIR/launches"
echo "+ magiqa encode $TASKS cache_dir=four"
magiqa encode $SET $TASKS cache_dir="$DIR"/four > first.log 2>&1 &
FIRST=$!
ARRAY=""
until [ -n "$ARRAY" ]; do sleep 1; ARRAY=$(squeue -h -p all -o %A 2> /dev/null | sort -n | head -1); done
ARRAY=$(squeue -h -p all -o %F | head -1)

encoding() { # the tasks that encode now: they have been running for ten seconds
  squeue -h -r -j "$ARRAY" -t R -o "%K %M" 2> /dev/null | awk '{ split($2, t, ":"); if (t[1] * 60 + t[2] >= 10) print $1 }'
}
wait_for() { # until one of the tasks encodes that is none of those named
  for _ in $(seq 300); do
    for task in $(encoding); do
      case " $* " in *" $task "*) ;; *) echo "$task"; return ;; esac
    done
    sleep 0.5
  done
}
KILLED=$(wait_for)
echo "+ scancel --signal=KILL ${ARRAY}_$KILLED"
timeout 5 scancel --signal=KILL "${ARRAY}_$KILLED"
SIGNALED=$(wait_for "$KILLED")
echo "+ scancel --signal=USR2 ${ARRAY}_$SIGNALED"
timeout 5 scancel --quiet --signal=USR2 "${ARRAY}_$SIGNALED" 2> /dev/null # it repeats itself while SLURM requeues
OTHER=$(wait_for "$KILLED" "$SIGNALED")
echo "+ sbatch --partition=urgent --ntasks=2 (task $OTHER is running)"
sbatch --quiet --partition=urgent --ntasks=2 --output=/dev/null --wrap="sleep 5"
for _ in $(seq 60); do sleep 1; squeue -h -p urgent -t R | grep -q . && break; done
squeue -r -o "%i %T %r %P" | sed 's/^/  /'
wait $FIRST
FAILED=$?
sed 's/^/  /' first.log
echo "  exit code $FAILED"
echo "+ the logs of those that made room"
grep -h "make room\|Requeued\|preempt" launches/*/*_log.err | sed 's/^/  /'
echo "+ the same command again"
magiqa encode $SET $TASKS cache_dir="$DIR"/four 2>&1 | sed 's/^/  /'
[ "${PIPESTATUS[0]}" = 0 ] || exit 1
echo "+ magiqa encode launcher.wait=false dataset.every=4 cache_dir=later"
magiqa encode $SET dataset.every=4 $TASKS launcher.wait=false cache_dir="$DIR"/later 2>&1 | sed 's/^/  /'
[ "${PIPESTATUS[0]}" = 0 ] || exit 1
squeue -h -r | grep -q . || { echo "slurm_demo: launcher.wait=false should have returned before its tasks ended"; exit 1; }
echo "  it returned; in the queue: $(squeue -h -r | wc -l) tasks"
for _ in $(seq 600); do squeue -h | grep -q . || break; sleep 1; done
[ "$FAILED" = 2 ] || { echo "slurm_demo: the first command should have told of the killed task by exit code 2"; exit 1; }

# 4. Is it the same?
$PYTHON - <<'PY'
import hashlib
import sys
from pathlib import Path

from magiqa.features.cache import FeatureCache
import json


def features(root):
    (folder,) = (Path(root) / "features").iterdir()
    cache = FeatureCache(root, json.loads((folder / "key.json").read_text()))
    images = sorted(cache.entries)
    rows = {images[o[0]]: r.tobytes() for o, r in cache.blocks(images, views=1)}
    return rows, len(list(folder.glob("*.safetensors")))


(one, shards), (four, several) = features("one"), features("four")
(later, _) = features("later")
same = one == four
print(f"{len(one)} images in {shards} shards by one process, {len(four)} in {several} by the tasks; the same bytes: {same}")
left = bool(later) and all(one[image] == rows for image, rows in later.items())
print(f"{len(later)} images by the tasks that nobody waited for; the same bytes: {left}")
sys.exit(not (same and left and len(later) == -(-len(one) // 4)))
PY
