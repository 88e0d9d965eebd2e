#!/usr/bin/env bash
# A run on a TPU slice as a queued resource: one command on all its machines.
#
#   launch/tpu_vm.sh create          ask for the slice, and wait until it is there
#   launch/tpu_vm.sh setup           put the code of this folder on all machines, and install it with
#                                    a Python of its own: theirs may be older than 3.11
#   launch/tpu_vm.sh start           start, or continue, the run on all machines
#   launch/tpu_vm.sh logs            follow the log of one machine
#   launch/tpu_vm.sh stop            SIGTERM to all: they save together and end
#   launch/tpu_vm.sh delete          give the slice back; the bucket keeps the run
set -euo pipefail

: "${PROJECT:?the cloud project}" "${ZONE:?such as us-east5-a}" "${BUCKET:?its name, without gs://}"
NAME="${NAME:-videobert}"
ACCELERATOR_TYPE="${ACCELERATOR_TYPE:-v5p-128}"  # v5p counts cores: 64 chips; v5e and v6e count chips
RUNTIME="${RUNTIME:-v2-alpha-tpuv5}"             # v2-alpha-tpuv5-lite for v5e, v2-alpha-tpuv6e for v6e
CONFIG="${CONFIG:-configs/videobert_large.py}"
DATASET="${DATASET:-gs://$BUCKET/dataset}"
RUN="${RUN:-large}"
SPOT="${SPOT:---spot}"                           # SPOT= for machines that are not preempted

on_all() {
  gcloud compute tpus tpu-vm ssh "$NAME" --project="$PROJECT" --zone="$ZONE" --worker="${WORKER:-all}" \
    --command="$1"
}

case "${1:-}" in
create)
  # shellcheck disable=SC2086
  gcloud compute tpus queued-resources create "$NAME" --project="$PROJECT" --zone="$ZONE" \
    --node-id="$NAME" --accelerator-type="$ACCELERATOR_TYPE" --runtime-version="$RUNTIME" \
    --scopes=cloud-platform $SPOT
  while true; do
    state="$(gcloud compute tpus queued-resources describe "$NAME" --project="$PROJECT" --zone="$ZONE" \
      --format="value(state.state)")"
    echo "$state" >&2
    case "$state" in
    ACTIVE) break ;;
    FAILED | SUSPEND*) exit 1 ;;
    esac
    sleep 30
  done
  ;;
setup)
  archive="$(mktemp)"
  git archive --format=tar.gz --output="$archive" HEAD
  gcloud compute tpus tpu-vm scp "$archive" "$NAME:videobert.tar.gz" --project="$PROJECT" \
    --zone="$ZONE" --worker=all
  rm "$archive"
  on_all "mkdir -p videobert && tar -xzf videobert.tar.gz -C videobert && cd videobert &&
    python3 -m pip install --user -q uv && python3 -m uv python install 3.11 &&
    make setup ACCELERATOR=tpu PYTHON=\$(python3 -m uv python find 3.11) && .venv/bin/pip install -q -c constraints.txt -r requirements-gcs.txt"
  ;;
start)
  on_all "cd videobert || exit 1; nohup .venv/bin/python train.py --config=$CONFIG \
    --workdir=gs://$BUCKET/runs/$RUN --config.data.path=$DATASET --config.data.local_copy=/tmp/data \
    >> train.log 2>&1 < /dev/null & echo \$! > train.pid"
  ;;
logs) WORKER="${WORKER:-0}" on_all "tail -n 100 -F videobert/train.log" ;;
stop) on_all 'kill -TERM "$(cat videobert/train.pid)"' ;;
delete)
  gcloud compute tpus queued-resources delete "$NAME" --project="$PROJECT" --zone="$ZONE" --force
  ;;
*)
  sed -n '2,10p' "$0"
  exit 2
  ;;
esac
