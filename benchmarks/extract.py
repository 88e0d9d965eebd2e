"""Clip features a second against PyTorch: S3D of Kinetics-400, the same weights on both sides.

    python -m benchmarks.extract [--json FILE]

30 frames of 224 x 224 a clip, a batch at a time, on all cores. `ratio`: ours over the faster of the
peer's memory layouts, in alternating runs, frames in memory. `figures` has the rate with decoding
too, alternating as well: a whole drawn video by each side, both with our decoder, ours decoding
ahead.
"""

import argparse
import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import alternate
from videobert_jax.files import extras
from videobert_jax.video import clips, corpus, decode, extract
from videobert_jax.video.backbones import s3d
from videobert_jax.weights import backbones
from videobert_jax.weights import s3d as weights

BATCH, SIDE = 2, 224
BATCHES_A_RUN = 4  # a single one takes half a second, and says more of the machine than of it
Peer = Callable[[np.ndarray], np.ndarray]
MEAN, DEVIATION = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


def backbone(network: Any) -> extract.Backbone:
    """Ours with the peer's weights."""
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return extract.Backbone(
        name="s3d_kinetics",
        layer="random weights",
        dim=1024,
        side=SIDE,
        weights_sha256="unknown",
        variables=weights.convert_kinetics(arrays),
        apply=s3d.kinetics_features,
        squashed=256,
    )


def peer_features(network: Any, layout: str) -> Peer:
    """Features of uint8 clips [g, s, y, x, 3] by the PyTorch network in a memory layout."""
    torch = extras.require("torch", "parity")
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in (MEAN, DEVIATION))
    network = network.to(memory_format=getattr(torch, layout))

    def features(given: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pixels = torch.from_numpy(np.moveaxis(given, -1, 1)).float() / 255
            pixels = ((pixels - mean) / deviation).contiguous(memory_format=getattr(torch, layout))
            return network(pixels)[0].numpy()

    return features


def rate(features: Callable[[np.ndarray], Any], given: np.ndarray) -> float:
    start = time.perf_counter()
    for _ in range(BATCHES_A_RUN):
        np.asarray(features(given))
    return BATCHES_A_RUN * len(given) / (time.perf_counter() - start)


class WholeVideo:
    """Clips a second of a drawn video by either side, from the file to the features."""

    def __init__(self, extractor: extract.ClipExtractor, peer: Peer, folder: pathlib.Path):
        self.extractor, self.peer, self.folder = extractor, peer, folder
        self.video, self.runs = folder / "noise.mp4", 0
        generator = np.random.default_rng(0)
        frames = generator.integers(0, 256, (240, 12, 16, 3), dtype=np.uint8)  # whole batches
        large = (frame.repeat(24, 0).repeat(24, 1) for frame in frames)
        decode.write_frames(self.video, large, 20)

    def ours(self) -> float:
        self.runs += 1
        output = self.folder / str(self.runs)
        start = time.perf_counter()
        corpus.extract_corpus(self.extractor, [self.video], output, False)
        seconds = time.perf_counter() - start
        self.found = np.load(output / "noise.npy")
        return len(self.found) / seconds

    def theirs(self) -> float:
        """Raises BenchmarkError where the features are not ours."""
        start = time.perf_counter()
        remaining = clips.cut(
            decode.read_frames(self.video, 20, SIDE, 256), self.extractor.settings
        )
        parts = []
        while group := list(itertools.islice(remaining, BATCH)):
            parts.append(self.peer(np.stack(group)))
        seconds = time.perf_counter() - start
        values = np.concatenate(parts)
        if not np.allclose(self.found, values, atol=0.02 * values.std() + 0.01):
            raise alternate.BenchmarkError(
                "the two sides give other features; nothing was compared"
            )
        return len(values) / seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", help="file to write the record to")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    extras.require("torch", "parity")
    from benchmarks import torch_s3d

    network = torch_s3d.randomize(torch_s3d.KineticsS3D(), seed=0)
    settings = backbones.S3D_KINETICS_CLIPS
    extractor = extract.ClipExtractor(backbone(network), settings, BATCH)
    shape = (BATCH, settings.frames_per_clip, SIDE, SIDE, 3)
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    peers = {
        layout: peer_features(network, layout)
        for layout in ("contiguous_format", "channels_last_3d")
    }
    rates = alternate.run(
        lambda: rate(lambda g: next(extractor.outputs(g))[0], pixels),
        {name: (lambda f=features: rate(f, pixels)) for name, features in peers.items()},
        rounds=given.rounds,
    )
    with tempfile.TemporaryDirectory() as folder:
        whole = WholeVideo(extractor, peers[rates.best_peer], pathlib.Path(folder))
        decoded = alternate.run(whole.ours, {"peer": whole.theirs}, rounds=given.rounds)
    figures = {
        "batch": BATCH,
        "ours_with_decoding": decoded.ours_median,
        "peer_with_decoding": decoded.peer_median,
        "ratio_with_decoding": decoded.ratio,
    }
    record = alternate.record("extract", rates, "clips/s", ["torch"], figures)
    alternate.write(record, given.json)


if __name__ == "__main__":
    main()
