#!/usr/bin/env bash
# Everything that needs a CUDA GPU, in parts of at most ten minutes.
#
#   benchmarks/gpu_suite.sh tests|targets|baselines|study|all OUT_FOLDER
#
#   tests      the tests that need a GPU
#   targets    one run alone; ten seeds as one network; 1 to 64 seeds; float32 and TF32
#   baselines  this project against the baselines (benchmarks/compare.py)
#   study      every ablation with seeds 0 to 9, with its report; a second call continues it
#
# Environment: PYTHON (python3), SUITE_DATASET (mnist), MNIST_DATA_DIR. Results go to OUT_FOLDER.
set -uo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
DATASET=${SUITE_DATASET:-mnist}
PART=${1:-}
OUT=${2:-}
LIMIT_SECONDS=590
export PYTHONPATH=. PYTHONUNBUFFERED=1

case "$PART" in tests | targets | baselines | study | all) ;; *) OUT= ;; esac
if [ -z "$OUT" ]; then
    echo "usage: benchmarks/gpu_suite.sh tests|targets|baselines|study|all OUT_FOLDER" >&2
    exit 2
fi
if ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "gpu_suite.sh: $PYTHON's PyTorch finds no CUDA GPU; run this on a machine with one" >&2
    exit 1
fi
mkdir -p "$OUT"

# Run a command within the time that is left of its part, which began at SECONDS = 0.
within_limit() {
    local left=$((LIMIT_SECONDS - SECONDS))
    [ "$left" -gt 0 ] && timeout --signal=INT --kill-after=5 "$left" "$@"
}

run_tests() {
    within_limit "$PYTHON" -m pytest -q -rs -p no:cacheprovider tests/speed/gpu/test_wide.py \
        tests/ablations/training/test_replicas.py tests/benchmarks/test_gpu_suite.py 2>&1 | tee "$OUT/tests.txt"
}

run_targets() {
    local part status=0
    for part in single seeds math replicas; do
        within_limit "$PYTHON" -m benchmarks.gpu_targets "$part" --device cuda --dataset "$DATASET" --out "$OUT" || status=1
    done
    return $status
}

run_baselines() {
    within_limit "$PYTHON" -m benchmarks.compare --device cuda 2>&1 | tee "$OUT/baselines.txt"
}

run_study() {
    local began=$SECONDS status=0
    within_limit "$PYTHON" cli.py ablate --all --seeds 0-9 --device cuda --dataset "$DATASET" \
        --out "$OUT/study" 2>&1 | tee -a "$OUT/study.txt" || status=1
    echo "study: $((SECONDS - began)) s, status $status" | tee -a "$OUT/study.txt"
    return $status
}

exit_code=0
for part in tests targets baselines study; do
    if [ "$PART" = "$part" ] || [ "$PART" = all ]; then
        SECONDS=0
        echo "== $part"
        "run_$part" || { exit_code=1; echo "== $part: failed, or reached $LIMIT_SECONDS s" >&2; }
    fi
done
exit $exit_code
