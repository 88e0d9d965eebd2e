# docker build --build-arg ACCELERATOR=cpu|cuda12|cuda13|tpu --tag IMAGE .
# CUDA's libraries come as wheels: the machine needs the driver and NVIDIA's container toolkit.
FROM python:3.11-slim

ARG ACCELERATOR=cpu
WORKDIR /videobert

# The requirements alone first: they change less often than the code.
COPY requirements*.txt constraints.txt ./
RUN extra=""; [ "$ACCELERATOR" = cpu ] || extra="-r requirements-$ACCELERATOR.txt"; \
    pip install --no-cache-dir -c constraints.txt -r requirements.txt -r requirements-gcs.txt $extra
COPY . .
RUN pip install --no-cache-dir --no-deps --editable .

ENV PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=2
CMD ["python", "train.py", "--help"]
