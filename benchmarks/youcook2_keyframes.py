"""Text-to-video retrieval on 450 stills of YouCook II from 1,350 pairs: against ridge regression.

    python -m benchmarks.youcook2_keyframes --source DIR [--bert DIR] [--seeds 5] [--json FILE]

--source: the folder that `prepare youcook2_keyframes` takes. --bert: a folder with the weights of
MiniLM (six layers, 384 wide); with it every seed is run a second time, the text tower over MiniLM's
vectors. Runs are kept in --workdir: a stopped benchmark goes on where it was. `ratio` is the mean
R@10 of the better of the two over ridge's. Stills carry no motion: nothing here is about actions.
"""

import argparse
import json
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import alternate, kitchen_runs
from videobert_jax.cli import failures
from videobert_jax.tasks import report

RUNS = kitchen_runs.ROOT / "runs/benchmarks/youcook2_keyframes"
DATASET = kitchen_runs.ROOT / "runs/data/youcook2_keyframes"
CONFIG = "configs/youcook2_keyframes.py"
BASELINE = "supervised_ridge"
FIGURES = ("text_to_video_R1", "text_to_video_R5", "text_to_video_R10", "text_to_video_median_rank")
SCRATCH, MINILM = "scratch", "minilm"
OF_MINILM: Mapping[str, Any] = {
    "model.text.input": "bert_vectors",
    "model.text.bert.embed_dim": 384,
    "model.text.bert.num_heads": 12,
    "model.text.bert.feed_forward_dim": 1536,
    "model.text.bert.num_layers": 6,
}


def measure(workdir: pathlib.Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The record of retrieval of a run, which is trained and evaluated where it is not yet."""
    record = workdir / "eval" / "retrieval.json"
    if not record.is_file():
        given = [f"--config.{field}={value}" for field, value in overrides.items()]
        train = ("train.py", f"--config={CONFIG}", f"--workdir={workdir}")
        kitchen_runs.run_command(*train, *given)
        evaluate = ("eval.py", f"--workdir={workdir}", "--task=retrieval", "--split=validation")
        kitchen_runs.run_command(*evaluate)
    return json.loads(record.read_text(encoding="utf-8"))


def summary(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Figure -> mean and deviation over the seeds, and ridge's."""
    found = {}
    for name in FIGURES:
        values = [record["metrics"][name] for record in records]
        found[name] = {
            "mean": statistics.mean(values),
            "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
            "worst": max(values) if name.endswith("rank") else min(values),
            BASELINE: records[0]["baselines"][BASELINE][name],
        }
    return found


def run(arguments: argparse.Namespace) -> int:
    """0 where every figure's mean is at least as good as ridge's, else 1."""
    if arguments.seeds < 1:
        raise alternate.BenchmarkError(f"--seeds={arguments.seeds}: expected 1 or more.")
    dataset = arguments.dataset.resolve()
    kitchen_runs.prepare(dataset, "youcook2_keyframes", f"--source={arguments.source}")
    texts: dict[str, Mapping[str, Any]] = {SCRATCH: {}}
    if arguments.bert is not None:
        texts[MINILM] = {"init.bert": arguments.bert.resolve(), **OF_MINILM}
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in texts}
    for seed in range(arguments.seeds):  # a whole seed first: what is there early can be read
        for name, overrides in texts.items():
            settings = {"seed": seed, "data.path": dataset, **overrides}
            workdir = arguments.workdir.resolve() / f"{name}-{seed}"
            records[name].append(measure(workdir, settings))
    figures = {name: summary(of) for name, of in records.items()}
    rows = [
        ("text", *FIGURES),
        ("ridge", *(f"{figures[SCRATCH][f][BASELINE]:.4g}" for f in FIGURES)),
    ]
    for name, of in figures.items():
        rows.append((name, *(f"{of[f]['mean']:.4g} ({of[f]['deviation']:.2g})" for f in FIGURES)))
    print(report.aligned(rows))
    ratios = {
        name: of["text_to_video_R10"]["mean"] / of["text_to_video_R10"][BASELINE]
        for name, of in figures.items()
    }
    record = {
        "benchmark": "youcook2_keyframes",
        "ratio": max(ratios.values()),
        "figures": figures,
        "seeds": arguments.seeds,
        "notes": records[SCRATCH][0].get("notes"),
        **alternate.circumstances(["flax", "optax"]),
    }
    alternate.write(record, arguments.json)
    return 0 if max(ratios.values()) >= 1 else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--bert", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--dataset", type=pathlib.Path, default=DATASET)
    parser.add_argument("--workdir", type=pathlib.Path, default=RUNS)
    parser.add_argument("--json", help="file of the record")
    arguments = parser.parse_args()
    return failures.exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
