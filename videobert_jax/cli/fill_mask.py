"""`videobert fill-mask [FILE...] --checkpoint WORKDIR|EXPORT --text "... [MASK] ..."`.

Words that may stand at each [MASK], told from the text and each video; without FILE from the text
alone. A [MASK] is one piece of the vocabulary.
"""

import argparse
import json

from videobert_jax.cli import model_options

HELP = "fill blanks of a sentence about videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model_options.add_arguments(parser, files="*")
    parser.add_argument("--text", required=True, help="with a [MASK] or more")
    parser.add_argument("--top-k", type=int, default=5, help="words a [MASK] (default 5)")


def run(arguments: argparse.Namespace) -> int:
    """0 when the words are printed. Raises what model and files do."""
    with model_options.opened(arguments) as model:
        for file in arguments.files or [None]:
            (told,) = model.fill_mask(arguments.text, file, top_k=arguments.top_k)
            if arguments.json:
                masks = [[of._asdict() for of in words] for words in told]
                print(json.dumps({"file": file, "text": arguments.text, "masks": masks}))
                continue
            print(file or "without video")
            for number, words in enumerate(told, start=1):
                best = ", ".join(f"{of.word} {of.probability:.2f}" for of in words)
                print(f"  [MASK] {number}: {best}")
    return 0
