"""What tests have Beam's processes import: the source of features, and with it the bucket."""

import functools
import pathlib

from tests.data.distributed import bucket
from videobert_jax.data import importers, part
from videobert_jax.data.distributed import writer

IN_PROCESS = ["--runner=FnApiRunner"]


def open_features(folder: pathlib.Path) -> importers.FeatureSource:
    """Opened where parts are written; importing this module brings the bucket's file system."""
    assert bucket.BucketFileSystem
    return importers.open_source("npy", folder)


def start(output, contract, features, options) -> writer.DistributedWriter:
    return writer.DistributedWriter(
        output,
        "drawn",
        contract,
        open_source=functools.partial(open_features, features),
        beam_options=options,
        part_size=part.PartSize(videos=2),
        metadata={"notes": "drawn"},
    )
