"""Tokenizers that belong to a run, kept with its weights: sentencepiece's, trained on its captions,
or the WordPiece of the BERT that it began with."""

import io
import os
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import sentencepiece

from videobert_jax.files import digests, errors
from videobert_jax.schema import SPECIAL_PIECES
from videobert_jax.text import word_pieces
from videobert_jax.text.errors import TokenizerError

__all__ = ["Tokenizer", "TokenizerError", "train"]

PAD, UNKNOWN, BEGIN, END, MASK = SPECIAL_PIECES
_BYTES = 256  # pieces <0x00> to <0xFF>, right behind the special ones
_WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"
_PROTO, _JSON = b"\n", b"{"  # how sentencepiece models and word pieces begin
_LONGEST_TEXT = 1 << 16  # bytes; sentencepiece leaves out longer sentences without a word


def train(texts: Iterable[str], vocabulary_size: int) -> bytes:
    """Model proto of a unigram tokenizer, the same bytes for the same texts.

    Ids 0 to 4 are [PAD] [UNK] [CLS] [SEP] [MASK], 256 byte pieces follow, so that nothing is
    unknown. Text is NFKC-normalised and case-folded. The vocabulary is smaller than
    `vocabulary_size` where the texts do not fill it. Raises TokenizerError without any text.
    """
    smallest = len(SPECIAL_PIECES) + _BYTES + 1
    if vocabulary_size <= smallest:
        raise TokenizerError(
            f"vocabulary_size={vocabulary_size}: expected more than {smallest}, the special and "
            "byte pieces"
        )
    kept = [text for text in texts if text.strip()]
    if not kept:
        raise TokenizerError(
            "no text to train a tokenizer on: every caption is empty; check the caption file of "
            "the training split, or give the tokenizer of another run"
        )
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(kept),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocabulary_size,
        hard_vocab_limit=False,
        byte_fallback=True,
        character_coverage=0.9999,
        normalization_rule_name="nmt_nfkc_cf",
        pad_id=0,
        pad_piece=PAD,
        unk_id=1,
        unk_piece=UNKNOWN,
        bos_id=2,
        bos_piece=BEGIN,
        eos_id=3,
        eos_piece=END,
        control_symbols=[MASK],
        max_sentence_length=_LONGEST_TEXT,
        num_threads=1,  # sums over threads come in another order, and so do the scores
        minloglevel=2,
    )
    return model.getvalue()


@runtime_checkable
class _Model(Protocol):
    """What a kind of tokenizer has; the fields are those of `Tokenizer`."""

    pieces: list[str]
    surfaces: list[bytes]
    first_regular_id: int
    word_starts: np.ndarray
    frequencies: np.ndarray

    def encode(self, texts: Sequence[str]) -> list[list[int]]: ...

    def decode(self, ids: Iterable[int]) -> str: ...


class Tokenizer:
    """Text to piece ids and back. Picklable: a copy is made anew from the model's bytes.

    size: number of ids, exact (models pad it). surfaces: the UTF-8 text that each piece stands for,
    without the mark of how words begin or go on; a special piece has its name. first_regular_id:
    ids below it are special, single bytes or unused, and are never drawn as a random replacement.
    word_starts: bool [size], whether a piece begins a word. frequencies: float64 [size], each
    piece's share of the pieces of the run's captions, as the unigram model estimates it or as they
    were counted; what never came counts as the rarest.
    """

    def __init__(self, model: bytes, *, expected_digest: str | None = None):
        """Raises TokenizerError where the model is damaged or lacks the special pieces.

        A damaged model can end the process inside sentencepiece, so where its digest is known
        it is compared before anything is parsed.
        """
        self.model = bytes(model)
        self.digest = digests.sha256_bytes(self.model)
        if expected_digest is not None and self.digest != expected_digest:
            raise TokenizerError(
                f"tokenizer model of sha256 {self.digest}, expected {expected_digest}: it was "
                "damaged or replaced; take it again from where the weights came from"
            )
        self._model = _parsed(self.model)
        self.size = len(self._model.pieces)
        self.surfaces = tuple(self._model.surfaces)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = range(5)
        self.first_regular_id = self._model.first_regular_id
        self.word_starts = self._model.word_starts
        self.word_starts.setflags(write=False)
        self.frequencies = self._model.frequencies
        self.frequencies.setflags(write=False)

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> "Tokenizer":
        """Tokenizer of a model file."""
        with open(path, "rb") as file, errors.of_form(path, TokenizerError):
            return cls(file.read())

    def __reduce__(self):
        return Tokenizer, (self.model,)

    @property
    def pieces(self) -> tuple[str, ...]:
        """The vocabulary, in the order of ids."""
        return tuple(self._model.pieces)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Piece ids of each text, without [CLS] and [SEP]; an empty text gives an empty list.

        The names of special pieces are text like any other.
        """
        return self._model.encode(texts)

    def decode(self, ids: Iterable[int | np.integer] | np.ndarray) -> str:
        """Text of piece ids (normalised); special pieces leave no trace, but for an unknown one."""
        return self._model.decode([int(i) for i in ids])

    def piece(self, piece_id: int) -> str:
        """The piece itself, as it stands in the vocabulary."""
        return self._model.pieces[int(piece_id)]


def _parsed(model: bytes) -> _Model:
    """The tokenizer in a model's bytes, whose first one tells the kinds apart."""
    first = model[:1]
    if first == _JSON:
        return word_pieces.WordPieces(model)
    if first == _PROTO:
        return _SentencePieces(model)
    raise TokenizerError(
        f"{len(model)} bytes beginning with {first!r} are neither a sentencepiece model nor word "
        "pieces; expected the tokenizer.model of a run or export"
    )


class _SentencePieces:
    """A sentencepiece model of `train`'s making."""

    def __init__(self, model: bytes):
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise TokenizerError(
                f"not a sentencepiece model ({len(model)} bytes: {error}); expected the "
                "tokenizer.model of a run or export"
            ) from error
        size = self._processor.GetPieceSize()
        self.pieces = [self._processor.IdToPiece(i) for i in range(size)]
        if tuple(self.pieces[: len(SPECIAL_PIECES)]) != SPECIAL_PIECES:
            raise TokenizerError(
                f"pieces 0 to {len(SPECIAL_PIECES) - 1} are {self.pieces[: len(SPECIAL_PIECES)]}, "
                f"expected {list(SPECIAL_PIECES)}: train the tokenizer with this package"
            )
        self.first_regular_id = next(
            i
            for i in range(len(SPECIAL_PIECES), size)
            if not self._processor.IsByte(i) and not self._processor.IsControl(i)
        )
        self.word_starts = np.array([piece.startswith(_WORD_START) for piece in self.pieces])
        self.surfaces = [
            bytes([int(piece[1:-1], 16)]) if self._processor.IsByte(i) else piece.encode("utf-8")
            for i, piece in enumerate(p.removeprefix(_WORD_START) for p in self.pieces)
        ]
        regular = np.arange(size) >= self.first_regular_id
        scores = np.array([self._processor.GetScore(i) for i in range(size)])
        self.frequencies = np.exp(np.where(regular, scores, scores[regular].min()))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self._processor.encode(list(texts), out_type=int, num_threads=1)

    def decode(self, ids: Iterable[int]) -> str:
        return self._processor.decode(list(ids))
