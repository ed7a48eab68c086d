#!/usr/bin/env bash
# One sweep on Slurm: Ray on all nodes of the job, the sweep on the first of them. Five minutes
# before its time is up the job stops the sweep, which saves its checkpoints, and queues itself
# again. From the root of the project, which all nodes see:
#   sbatch cluster_configs/slurm.sh sweeps/full_grid.py --preset paper --results /shared/paper
#
#SBATCH --job-name=dream-sweep
#SBATCH --partition=FILL_IN_PARTITION
#SBATCH --account=FILL_IN_ACCOUNT
#SBATCH --nodes=2
#SBATCH --gpus-per-node=FILL_IN_GPUS_PER_NODE
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --ntasks-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out

set -euo pipefail

max_restarts=100

fail() {
    echo "error: $*" >&2
    exit 2
}

if markers=$(grep -o 'FILL_IN_[A-Z_]\+' "$0" | sort -u); then
    fail "fill in slurm.sh first: ${markers//$'\n'/, }"
fi
[[ $# -gt 0 ]] || fail "which sweep? sbatch cluster_configs/slurm.sh sweeps/full_grid.py …"
cd "${SLURM_SUBMIT_DIR:?is set by sbatch}"
[[ -f $1 ]] || fail "there is no $1 in $PWD: submit from the root of the project"
[[ -x .venv/bin/ray ]] || fail "there is no .venv: uv venv --managed-python --python 3.11.18 && uv pip install --requirements cluster_configs/requirements.txt"

export PATH="$PWD/.venv/bin:$PATH"
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(ray get-auth-token --generate) || fail "no token in ~/.ray/auth_token"
export RAY_AUTH_TOKEN # srun takes it to the other nodes
# Other users' Ray leaves a folder in /tmp that is not ours; long names are too long for sockets.
export RAY_TMPDIR="/tmp/ray-$SLURM_JOB_ID"
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# This script runs on the first node, so that is Ray's head; its first address is no loopback.
read -r head_ip _ < <(hostname -I)
address="$head_ip:6379"
driver_file="$PWD/.slurm-driver-$SLURM_JOB_ID"
trap 'rm -rf "$driver_file" "$RAY_TMPDIR"' EXIT

# symmetric-run does not pass signals on: the sweep, on this very node, hears of them from here.
step=
time_is_up=
signalled=
# shellcheck disable=SC2329  # called by the traps
stop_sweep() {
    signalled=yes
    kill -TERM "$(cat "$driver_file" 2>/dev/null || echo "$step")" || true
}
trap 'time_is_up=yes; stop_sweep' USR1
trap stop_sweep TERM INT

# shellcheck disable=SC2016  # expanded by the inner shell
srun --cpus-per-task "$SLURM_CPUS_ON_NODE" \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_ON_NODE" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" -- \
    bash -c 'echo $$ >"$0"; exec python "$@"' "$driver_file" "$@" --address "$address" &
step=$!
while true; do
    signalled=
    status=0
    wait "$step" || status=$?
    [[ $signalled ]] || break # a signal ends a wait before the step has ended
done

if [[ $time_is_up && $status -ne 0 ]]; then
    again="sbatch cluster_configs/slurm.sh $*"
    ((${SLURM_RESTART_COUNT:-0} < max_restarts)) || fail "time is up once too often; go on: $again"
    echo "time is up: queued again, to go on from the checkpoints"
    scontrol requeue "$SLURM_JOB_ID" || fail "this Slurm does not queue it again; go on: $again"
fi
exit "$status"
