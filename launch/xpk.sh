#!/usr/bin/env bash
# A run on TPU slices of a GKE cluster by XPK, which starts it anew when a machine is lost.
#
#   launch/xpk.sh cluster            the cluster, once
#   launch/xpk.sh start              build and push the image, and submit, or continue, the run
#   launch/xpk.sh stop               end it; start continues it
set -euo pipefail

: "${PROJECT:?the cloud project}" "${ZONE:?such as us-east5-a}" "${BUCKET:?its name, without gs://}"
: "${IMAGE:?such as us-docker.pkg.dev/PROJECT/videobert/train:1}"
CLUSTER="${CLUSTER:-videobert}"
TPU_TYPE="${TPU_TYPE:-v5p-128}"
SLICES="${SLICES:-1}"
CONFIG="${CONFIG:-configs/videobert_large.py}"
DATASET="${DATASET:-gs://$BUCKET/dataset}"
RUN="${RUN:-large}"

case "${1:-}" in
cluster)
  xpk cluster create --project="$PROJECT" --zone="$ZONE" --cluster="$CLUSTER" --tpu-type="$TPU_TYPE" \
    --num-slices="$SLICES" --spot
  ;;
start)
  docker build --build-arg ACCELERATOR=tpu --tag "$IMAGE" .
  docker push "$IMAGE"
  xpk workload create --project="$PROJECT" --zone="$ZONE" --cluster="$CLUSTER" \
    --tpu-type="$TPU_TYPE" --num-slices="$SLICES" --workload="$RUN" --docker-image="$IMAGE" \
    --max-restarts=50 --command="python train.py --config=$CONFIG \
    --workdir=gs://$BUCKET/runs/$RUN --config.data.path=$DATASET --config.data.local_copy=/tmp/data"
  ;;
stop) xpk workload delete --project="$PROJECT" --zone="$ZONE" --cluster="$CLUSTER" --workload="$RUN" ;;
*)
  sed -n '2,6p' "$0"
  exit 2
  ;;
esac
