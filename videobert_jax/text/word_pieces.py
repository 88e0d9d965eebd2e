"""WordPiece vocabularies as Hugging Face's BERTs publish them, made tokenizers of a run.

A published vocabulary is put in another order when it is taken over: the special pieces first, as
every tokenizer of this project has them, then those that nothing uses ("[unused7]"), then the rest.
Whoever takes the vocabulary over takes the rows of its embeddings in that order.
"""

import collections
import dataclasses
import itertools
import json
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from videobert_jax.files import extras, json_values, versions
from videobert_jax.schema import SPECIAL_PIECES
from videobert_jax.text.errors import TokenizerError

if TYPE_CHECKING:
    import tokenizers

FORMAT = "videobert_jax.word_pieces"
FORMAT_VERSION = 1
TOKENIZER_FILE, VOCABULARY_FILE, SETTINGS_FILE = (
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
)
UNKNOWN = SPECIAL_PIECES[1]
_UNUSED = re.compile(r"\[unused\d+\]")
_CHUNK = 10_000  # texts encoded at a time
# What a vocab.txt leaves to the program; those of the BERT that introduced it (Devlin et al. 2019,
# reference implementation), as Hugging Face has them too.
_CONTINUATION, _LONGEST_WORD = "##", 100
_MOST_CHARACTERS = 10**6  # of a word: `tokenizers` counts in 64 bits, and takes no more


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Pieces in the order of their ids, and how text is prepared for them.

    strip_accents None: where letters are made small. continuation: what begins a piece that goes
    on with a word. longest_word: characters; a longer word is unknown.
    """

    pieces: tuple[str, ...]
    lower_case: bool
    strip_accents: bool | None
    clean_text: bool
    split_chinese: bool
    continuation: str
    longest_word: int

    def library_tokenizer(self) -> "tokenizers.Tokenizer":
        """The tokenizer of the `tokenizers` package; special pieces are no text to it.

        Raises MissingExtra where the package is absent.
        """
        tokenizers: Any = extras.require("tokenizers", "bert")
        model = tokenizers.models.WordPiece(
            vocab={piece: number for number, piece in enumerate(self.pieces)},
            unk_token=UNKNOWN,
            continuing_subword_prefix=self.continuation,
            max_input_chars_per_word=self.longest_word,
        )
        made = tokenizers.Tokenizer(model)
        made.normalizer = tokenizers.normalizers.BertNormalizer(
            clean_text=self.clean_text,
            handle_chinese_chars=self.split_chinese,
            strip_accents=self.strip_accents,
            lowercase=self.lower_case,
        )
        made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        made.decoder = tokenizers.decoders.WordPiece(self.continuation)
        return made


@dataclasses.dataclass(frozen=True)
class Published:
    """A vocabulary in this project's order, and which id each piece has where it was published."""

    vocabulary: Vocabulary
    ids: Int64[np.ndarray, " w"]


def read_published(folder: str | os.PathLike) -> Published:
    """The vocabulary beside a published BERT: its tokenizer.json, else its vocab.txt.

    Letters are made small as the file says; for a vocab.txt, which does not, as
    tokenizer_config.json does. Raises TokenizerError where there is none, or it is another kind.
    """
    folder = pathlib.Path(folder)
    settings = _read_object(folder / SETTINGS_FILE) if (folder / SETTINGS_FILE).is_file() else {}
    file, listed = folder / TOKENIZER_FILE, folder / VOCABULARY_FILE
    if file.is_file():
        found = _vocabulary_of(_read_object(file), str(file))
        said = settings.get("do_lower_case", found.lower_case)
        if said != found.lower_case:
            raise TokenizerError(
                f"{file}: lowercase is {found.lower_case}, but {SETTINGS_FILE} says do_lower_case "
                f"{said!r}; find out with which the weights were trained, and correct the other."
            )
    elif listed.is_file():
        found = _vocabulary_of_list(listed, settings)
    else:
        raise TokenizerError(
            f"{folder}: has neither {TOKENIZER_FILE} nor {VOCABULARY_FILE}; put the file there "
            "that was published with the weights."
        )
    unused = [piece for piece in found.pieces if _UNUSED.fullmatch(piece)]
    apart = {*SPECIAL_PIECES, *unused}
    pieces = (*SPECIAL_PIECES, *unused, *(p for p in found.pieces if p not in apart))
    ids = {piece: number for number, piece in enumerate(found.pieces)}
    return Published(
        dataclasses.replace(found, pieces=pieces), np.array([ids[piece] for piece in pieces])
    )


def model_of(vocabulary: Vocabulary, texts: Iterable[str]) -> bytes:
    """The model of a run's tokenizer, with how often each piece comes in `texts`.

    Raises TokenizerError without any text.
    """
    made = vocabulary.library_tokenizer()
    counts = np.zeros(len(vocabulary.pieces), np.int64)
    kept = (text for text in texts if text.strip())
    while chunk := list(itertools.islice(kept, _CHUNK)):
        ids = itertools.chain.from_iterable(_encode(made, chunk))
        counts += np.bincount(np.fromiter(ids, np.int64), minlength=len(counts))
    if not counts.any():
        raise TokenizerError(
            "no text to count pieces in: every caption is empty; check the caption file of the "
            "training split"
        )
    fields = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "counts": counts.tolist(),
        "tokenizer": json.loads(made.to_str()),
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


class WordPieces:
    """The tokenizer in the bytes that `model_of` gave; fields as `tokenizer.Tokenizer` has them."""

    def __init__(self, model: bytes):
        """Raises TokenizerError where `model` is something else."""
        source = "the run's tokenizer"
        fields = _object_of(model, source)
        version = fields.get("format"), fields.get("format_version")
        if version != (FORMAT, FORMAT_VERSION):
            own = "give the tokenizer.model of a run or export"
            remedy = versions.newer(version[1], FORMAT_VERSION) or own
            raise TokenizerError(
                f"{source} is JSON of the format {version[0]!r} version {version[1]!r}, expected "
                f"{FORMAT!r} version {FORMAT_VERSION}; {remedy}."
            )
        vocabulary = _vocabulary_of(_part(fields, "tokenizer", dict, source), source)
        self.pieces = list(vocabulary.pieces)
        counts = _part(fields, "counts", list, source)
        if len(counts) != len(self.pieces) or not all(type(n) is int and n >= 0 for n in counts):
            raise TokenizerError(
                f"{source}: {len(counts)} counts of {len(self.pieces)} pieces; it was damaged."
            )
        self.first_regular_id = _first_regular(self.pieces, source)
        self._continuation = vocabulary.continuation
        continues = np.array([piece.startswith(self._continuation) for piece in self.pieces])
        self.surfaces = [
            piece.removeprefix(self._continuation).encode("utf-8") for piece in self.pieces
        ]
        numbers = np.arange(len(self.pieces))
        # [UNK] stands for a whole word.
        self.word_starts = ~continues & (numbers >= self.first_regular_id)
        self.word_starts[SPECIAL_PIECES.index(UNKNOWN)] = True
        often = np.maximum(np.array(counts, np.float64), 1.0)
        self.frequencies = often / often.sum()
        self._tokenizer = vocabulary.library_tokenizer()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Piece ids of each text, without special pieces but [UNK]."""
        return _encode(self._tokenizer, list(texts))

    def decode(self, ids: Iterable[int]) -> str:
        """Words of piece ids with a space between them; [UNK] stays, other special pieces go."""
        silent = {number for number, p in enumerate(SPECIAL_PIECES) if p != UNKNOWN}
        text = ""
        for piece in (self.pieces[i] for i in ids if i not in silent):
            goes_on = piece.startswith(self._continuation)
            text += piece.removeprefix(self._continuation) if goes_on else f" {piece}"
        return text.strip()


def _encode(made: "tokenizers.Tokenizer", texts: list[str]) -> list[list[int]]:
    return [found.ids for found in made.encode_batch_fast(texts, add_special_tokens=False)]


def _first_regular(pieces: Sequence[str], source: str) -> int:
    if tuple(pieces[: len(SPECIAL_PIECES)]) != SPECIAL_PIECES:
        raise TokenizerError(
            f"{source}: pieces 0 to {len(SPECIAL_PIECES) - 1} are "
            f"{list(pieces[: len(SPECIAL_PIECES)])}, expected {list(SPECIAL_PIECES)}; give the "
            "tokenizer.model of a run or export."
        )
    regular = (
        number
        for number, piece in enumerate(pieces)
        if number >= len(SPECIAL_PIECES) and not _UNUSED.fullmatch(piece)
    )
    first = next(regular, None)
    if first is None:
        raise TokenizerError(f"{source}: no piece of its {len(pieces)} stands for text.")
    return first


def _vocabulary_of(fields: dict[str, Any], source: str) -> Vocabulary:
    """Vocabulary of a tokenizer.json. Raises TokenizerError unless it is BERT's WordPiece."""
    model = _part(fields, "model", dict, source)
    normalizer = _part(fields, "normalizer", dict, source)
    splitter = _part(fields, "pre_tokenizer", dict, source)
    for what, found, expected in (
        # Files of the package's first versions do not name the kind of model.
        ("model", model.get("type", "WordPiece"), "WordPiece"),
        ("normalizer", normalizer.get("type"), "BertNormalizer"),
        ("pre_tokenizer", splitter.get("type"), "BertPreTokenizer"),
        ("unk_token", model.get("unk_token"), UNKNOWN),
    ):
        if found != expected:
            raise TokenizerError(
                f"{source}: its {what} is {found!r}, expected {expected!r}; only BERT's WordPiece "
                "can be taken over."
            )
    listed = _part({"added_tokens": [], **fields}, "added_tokens", list | None, source) or []
    added = [_part(entry, "content", str, source) for entry in listed]
    if strange := sorted(set(added) - set(SPECIAL_PIECES)):
        raise TokenizerError(
            f"{source}: {strange[:5]} are added to the vocabulary, expected none but "
            f"{', '.join(SPECIAL_PIECES)}; use the BERT that this one was made from."
        )
    ids = _part(model, "vocab", dict, source)
    whole = all(type(number) is int for number in ids.values())
    if not whole or sorted(ids.values()) != list(range(len(ids))):
        raise TokenizerError(
            f"{source}: the ids of its {len(ids)} pieces are not 0 to {len(ids) - 1}, each once; "
            "it was damaged: fetch it again."
        )
    return Vocabulary(
        pieces=_checked_pieces(sorted(ids, key=lambda piece: ids[piece]), source),
        lower_case=_part(normalizer, "lowercase", bool, source),
        strip_accents=_part(normalizer, "strip_accents", bool | None, source),
        clean_text=_part(normalizer, "clean_text", bool, source),
        split_chinese=_part(normalizer, "handle_chinese_chars", bool, source),
        continuation=_part(model, "continuing_subword_prefix", str, source),
        longest_word=_longest_word(model, source),
    )


def _longest_word(model: dict[str, Any], source: str) -> int:
    found = _part(model, "max_input_chars_per_word", int, source)
    if not 1 <= found <= _MOST_CHARACTERS:
        raise TokenizerError(
            f"{source}: max_input_chars_per_word is {found}, expected 1 to {_MOST_CHARACTERS}; "
            f"BERTs have {_LONGEST_WORD}. It was damaged: fetch it again."
        )
    return found


def _vocabulary_of_list(file: pathlib.Path, settings: dict[str, Any]) -> Vocabulary:
    """Vocabulary of a vocab.txt, a piece a line."""
    if "do_lower_case" not in settings:
        raise TokenizerError(
            f"{file}: nothing says whether letters are made small; put the published "
            f'{SETTINGS_FILE} beside it, or one of {{"do_lower_case": true}} or false.'
        )
    try:
        lines = file.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{file}: not text in UTF-8 ({error}); fetch it again.") from error
    source = str(file.with_name(SETTINGS_FILE))
    return Vocabulary(
        pieces=_checked_pieces([line.removesuffix("\r") for line in lines], str(file)),
        lower_case=_part(settings, "do_lower_case", bool, source),
        strip_accents=_part(
            {"strip_accents": None} | settings, "strip_accents", bool | None, source
        ),
        clean_text=True,
        split_chinese=_part(
            {"tokenize_chinese_chars": True} | settings, "tokenize_chinese_chars", bool, source
        ),
        continuation=_CONTINUATION,
        longest_word=_LONGEST_WORD,
    )


def _checked_pieces(pieces: list[str], source: str) -> tuple[str, ...]:
    """The pieces. Raises TokenizerError where one comes twice or a special one is missing."""
    if twice := [piece for piece, n in collections.Counter(pieces).items() if n > 1]:
        raise TokenizerError(f"{source}: the piece {twice[0]!r} comes twice; fetch it again.")
    if missing := [piece for piece in SPECIAL_PIECES if piece not in pieces]:
        raise TokenizerError(
            f"{source}: lacks {', '.join(missing)}, which every BERT has; it is another model's."
        )
    return tuple(pieces)


def _part(fields: Any, name: str, kind: Any, source: str) -> Any:
    """fields[name]. Raises TokenizerError where it is missing or of another type."""
    if not isinstance(fields, dict) or name not in fields or not isinstance(fields[name], kind):
        found = fields.get(name, "nothing") if isinstance(fields, dict) else fields
        raise TokenizerError(
            f"{source}: {name} is {str(found)[:40]!r}, expected {kind}; it is no tokenizer of a "
            "BERT, or was damaged: fetch it again."
        )
    return fields[name]


def _read_object(file: pathlib.Path) -> dict[str, Any]:
    return _object_of(file.read_bytes(), str(file))


def _object_of(content: bytes, source: str) -> dict[str, Any]:
    try:
        fields = json_values.parse(content)
    except ValueError as error:
        raise TokenizerError(f"{source}: not JSON ({error}); fetch it again.") from error
    if not isinstance(fields, dict):
        raise TokenizerError(f"{source}: expected a JSON object, found {type(fields).__name__}.")
    return fields
