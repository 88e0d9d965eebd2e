"""`videobert report RECORD.json... --output DIR`: results of eval.py as one page of HTML.

videobert report runs/kitchen/eval/*.json --output runs/kitchen/report
videobert report runs/a/eval/retrieval.json runs/b/eval/retrieval.json --output runs/report

Two systems on one task and split are compared as `videobert compare` does; files that it wrote
(--json) may be named too. The page is one file, without scripts: it needs nobody and nothing.
"""

import argparse

from videobert_jax.files import storage
from videobert_jax.report_page import page

HELP = "make one page of HTML of results: tables, plots, best and worst examples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("records", nargs="*", help="FILE.json of eval.py, or of compare --json")
    parser.add_argument("--output", required=True, help=f"folder to write {page.FILE} to")


def run(arguments: argparse.Namespace) -> int:
    """Writes the page and says where. Raises EvaluationError where there is nothing to show."""
    paths = [storage.path(name) for name in arguments.records]
    for path in paths:
        storage.require_readable(path)
    print(f"-> {page.write(paths, storage.path(arguments.output))}")
    return 0
