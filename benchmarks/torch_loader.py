"""The peer: examples one at a time, one .npy a video, batches by a PyTorch DataLoader.

As the data loaders of published video-language code are built (UniVL, HERO, VideoCLIP), with
masking in plain Python, which is faster than NumPy on one caption. It does not look for NaN.
This module imports no jax: the loader's worker processes import it.
"""

import pathlib
import random

import numpy as np
import torch
import torch.utils.data

from videobert_jax.text.tokenizer import Tokenizer


class ClipDataset(torch.utils.data.Dataset):
    """(text ids, their mask, targets, clip features, their mask, masked clips) of an example."""

    def __init__(
        self,
        folder: pathlib.Path,
        captions: list[str],
        tokenizer_model: bytes,
        text_length: int,
        video_length: int,
        text_rate: float,
        video_rate: float,
        mean_span: float,
    ):
        self.folder, self.captions = folder, captions
        self.tokenizer = Tokenizer(tokenizer_model)
        self.starts = self.tokenizer.word_starts.tolist()
        self.text_length, self.video_length = text_length, video_length
        self.text_rate, self.video_rate, self.mean_span = text_rate, video_rate, mean_span

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, ...]:
        tokenizer = self.tokenizer
        pieces = tokenizer.encode([self.captions[i]])[0][: self.text_length - 2]
        seen, targets = self.mask_words(pieces)
        ids = torch.zeros(self.text_length, dtype=torch.int32)
        labels = torch.full((self.text_length,), -1, dtype=torch.int32)
        present = torch.zeros(self.text_length, dtype=torch.int32)
        ids[: len(seen) + 2] = torch.tensor([tokenizer.cls_id, *seen, tokenizer.sep_id])
        labels[1 : len(seen) + 1] = torch.tensor(targets)
        present[: len(seen) + 2] = 1
        loaded = np.load(self.folder / f"{i}.npy")[: self.video_length]
        features = torch.zeros(self.video_length, loaded.shape[1], dtype=torch.float16)
        features[: len(loaded)] = torch.from_numpy(loaded)
        clips = torch.zeros(self.video_length, dtype=torch.int32)
        clips[: len(loaded)] = 1
        masked = torch.zeros(self.video_length, dtype=torch.bool)
        masked[self.masked_clips(len(loaded))] = True
        return ids, present, labels, features, clips, masked

    def mask_words(self, pieces: list[int]) -> tuple[list[int], list[int]]:
        """(corrupted pieces, targets or -1): whole words, 80/10/10."""
        words: list[list[int]] = []
        for place, piece in enumerate(pieces):
            if place == 0 or self.starts[piece]:
                words.append([])
            words[-1].append(place)
        random.shuffle(words)
        seen, targets, left = list(pieces), [-1] * len(pieces), self.text_rate * len(pieces)
        for word in words:
            if left <= 0:
                break
            left -= len(word)
            for place in word:
                targets[place] = pieces[place]
                chance = random.random()
                if chance < 0.8:
                    seen[place] = self.tokenizer.mask_id
                elif chance < 0.9:
                    low = self.tokenizer.first_regular_id
                    seen[place] = random.randrange(low, self.tokenizer.size)
        return seen, targets

    def masked_clips(self, count: int) -> list[int]:
        """Places in spans of geometric length."""
        wanted = max(1, round(self.video_rate * count))
        masked: set[int] = set()
        while len(masked) < wanted:
            place = random.randrange(count)
            masked.add(place)
            while random.random() > 1 / self.mean_span and place + 1 < count:
                if len(masked) == wanted:
                    break
                place += 1
                masked.add(place)
        return list(masked)


def loader(
    dataset: ClipDataset, batch_size: int, batches: int, workers: int
) -> torch.utils.data.DataLoader:
    """DataLoader of `batches` random batches a pass, whose worker processes stay between passes."""
    return torch.utils.data.DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=torch.utils.data.RandomSampler(dataset, num_samples=batches * batch_size),
        num_workers=workers,
        persistent_workers=True,
        multiprocessing_context="spawn",  # jax's threads do not survive a fork
    )
