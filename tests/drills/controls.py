"""Controls: what must be learnt is learnt, and what cannot be learnt is not.

    python -m tests.drills.controls --dataset=runs/data/kitchen --workdir=runs/controls

* gradient_norms: the gradient norm of each objective at step 0; 0 would teach nothing.
* overfit: one block, again and again without dropout: every objective falls to near zero.
* real: the run itself, to compare with.
* shuffled: each caption of the training split beside the clips of another: on the real test split
  every figure that needs both sides falls to chance or to the language prior.
* zeroed: all clip features 0, in every split: likewise.

A finished control is a line of WORKDIR/results.jsonl and is skipped; a stopped one goes on.
"""

import argparse
import dataclasses
import functools
import json
import math
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from videobert_jax import configuration, schema
from videobert_jax.data import block as blocks
from videobert_jax.data import index, reader, writer
from videobert_jax.models import videobert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.text import tokenizer as tokenizers
from videobert_jax.training import hardware, steps
from videobert_jax.training import optimizer as optimizers
from videobert_jax.training import state as states
from videobert_jax.training.update_rule import UpdateRule

ROOT = pathlib.Path(__file__).resolve().parents[2]
NEAR_ZERO = 0.1  # of each objective's mean; at the start they are between 0.7 and 6
DEVIATIONS = 3.0  # standard deviations of a count that luck may give
NEED_BOTH_SIDES = {  # the figures that cannot be right without the pairing, by task
    "retrieval": ("text_to_video_R5", "video_to_text_R5", "reranked_text_to_video_R5"),
    "zero_shot_classification": ("verb_top1", "object_top1"),
    "fill_mask": ("verb_accuracy_with_video", "object_accuracy_with_video"),
}


def shuffle_captions(source: index.Dataset, output: pathlib.Path, seed: int) -> index.Dataset:
    """A copy whose training captions (split "train") stand beside the clips of another segment."""

    def change(name: str, features: np.ndarray, texts: list[str]) -> tuple[np.ndarray, list[str]]:
        if name != "train":
            return features, texts
        order = np.random.default_rng(seed).permutation(len(texts))
        other = np.empty_like(order)
        other[order] = np.roll(order, 1)  # one cycle: no caption stays where it was
        return features, [texts[i] for i in other.tolist()]

    return _copy(source, output, change)


def zero_video(source: index.Dataset, output: pathlib.Path) -> index.Dataset:
    """A copy whose clip features are all 0."""
    return _copy(source, output, lambda _, features, texts: (np.zeros_like(features), texts))


def _copy(
    source: index.Dataset,
    output: pathlib.Path,
    change: Callable[[str, np.ndarray, list[str]], tuple[np.ndarray, list[str]]],
) -> index.Dataset:
    if (output / index.DATASET_FILE).is_file():
        return index.open_dataset(output)
    out = writer.DatasetWriter(output, source.name, source.contract, metadata=source.metadata)
    for name, split in source.splits.items():
        _, texts = change(name, np.zeros((0, source.contract.dim), np.float16), _texts(split))
        for video, video_name in enumerate(split.videos):
            features, _ = change(name, features_of(split, video), [])
            rows = np.flatnonzero(split.video == video).tolist()
            segments = [_segment(split, row, texts[row]) for row in rows]
            out.add_video(name, video_name, features, segments)
    return out.finish()


def _texts(split: index.Split) -> list[str]:
    return split.texts(range(len(split)))


def features_of(split: index.Split, video: int) -> np.ndarray:
    count = int(split.num_clips[video])
    out = np.zeros((count, split.contract.dim), np.float16)
    runs = [np.array([value], np.int64) for value in (0, video, 0, count)]
    reader.ClipReader(split, parallel_reads=1).read_into(out, *runs)
    return out


def _segment(split: index.Split, row: int, text: str) -> writer.Segment:
    labels = {
        kind: values.names[int(values.ids[row])]
        for kind, values in split.labels.items()
        if values.ids[row] >= 0
    }
    return writer.Segment(
        start=float(split.start[row]),
        end=float(split.end[row]),
        text=text,
        labels=labels,
        clips=(int(split.first_clip[row]), int(split.clip_count[row])),
    )


class OneBlock:
    """A network and the first block of the training data, with nothing left to chance."""

    def __init__(self, config: str, dataset: pathlib.Path):
        run = configuration.parse(_config(config, dataset))
        source = index.open_dataset(dataset)
        split = source.split("train")
        tokenizer = tokenizers.Tokenizer(tokenizers.train(_texts(split), run.data.vocabulary_size))
        resolved = configuration.resolve_model(
            run, vocabulary_size=tokenizer.size, feature_dim=source.contract.dim
        )
        network = dataclasses.replace(resolved, dropout_rate=0.0, attention_dropout_rate=0.0)
        settings = blocks.BlockSettings.from_config(
            run.data, run.seed, source.contract.dim, answered=False
        )
        builder = blocks.BlockBuilder([(split, "text_video", 1.0)], tokenizer, settings)
        self.run, self.model = run, videobert.VideoBert(network)
        self.mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])
        self.statistics = source.statistics
        self.batch: schema.Batch = jax.tree.map(
            lambda values: jax.device_put(values[None], partitioning.batch_sharding(self.mesh)),
            builder.build(0).batch,
        )

    def gradient_norms(self) -> dict[str, float]:
        """Norm of each objective's gradient at step 0."""
        rule = optimizers.create_rule(self.run.optimizer, self.run.training.num_steps, self.model)
        state = self._state(rule)
        norms = jax.jit(
            functools.partial(
                steps.objective_gradient_norms,
                model=self.model,
                rule=rule,
                objectives=self.run.objectives,
                seed=self.run.seed,
            )
        )
        with jax.set_mesh(self.mesh):
            return {name: float(norm) for name, norm in norms(state, self.batch).items()}

    def overfit(self, num_steps: int) -> dict[str, dict[str, float]]:
        """{"first": metrics of the first step, "last": of the last}."""
        config = dataclasses.replace(
            self.run.optimizer,
            weight_decay=0.0,
            warmup_steps=min(20, num_steps // 2),
            end_learning_rate_fraction=1.0,
        )
        rule = optimizers.create_rule(config, num_steps, self.model)
        state, shown = self._state(rule), {}
        step = jax.jit(
            functools.partial(
                steps.train_step,
                model=self.model,
                rule=rule,
                objectives=self.run.objectives,
                seed=self.run.seed,
                accumulation_steps=1,
                num_shards=1,
            ),
            donate_argnums=0,
        )
        with jax.set_mesh(self.mesh):
            for number in range(num_steps):
                state, metrics = step(state, self.batch)
                if number in (0, num_steps - 1) or number % 25 == 0:
                    values = {name: float(value) for name, value in metrics.items()}
                    shown["last"] = values
                    shown.setdefault("first", values)
                    print(f"overfit {number}/{num_steps}: {_objectives(values)}", flush=True)
        return {name: _objectives(values) for name, values in shown.items()}

    def _state(self, rule: UpdateRule) -> states.TrainState:
        return states.create_state(self.model, rule, self.mesh, self.run.seed, self.statistics)


def _objectives(metrics: dict[str, float]) -> dict[str, float]:
    rest = ("learning_rate", "update_skipped", "gradient_norm")
    return {
        name: round(value, 4)
        for name, value in metrics.items()
        if name not in rest and math.isfinite(value)
    }


def _config(path: str, dataset: pathlib.Path):
    config = configuration.load_file(path)
    configuration.apply_override(config, "data.path", str(dataset))
    return config


def train_and_evaluate(
    arguments: argparse.Namespace, data: pathlib.Path, tested_on: pathlib.Path, name: str
) -> dict[str, Any]:
    """Result records a task of a run on `data`, measured on the test split of `tested_on`."""
    workdir, platform = arguments.workdir / name, arguments.platform
    overrides = [f"--config.data.path={data}", f"--config.platform={platform}"]
    if arguments.steps:
        overrides += [f"--config.training.num_steps={arguments.steps}"]
    _command("train.py", f"--config={arguments.config}", f"--workdir={workdir}", *overrides)
    _command("eval.py", f"--workdir={workdir}", f"--dataset={tested_on}", f"--platform={platform}")
    return {
        task: json.loads((workdir / "eval" / f"{task}.json").read_text())
        for task in NEED_BOTH_SIDES
    }


def _command(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)


def above_chance(records: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The figures that need both sides and are higher than luck allows: metric -> its numbers.

    Luck is the best of chance, language prior and majority, and three standard deviations.
    """
    found = {}
    for task, names in NEED_BOTH_SIDES.items():
        record = records[task]
        rows = [
            record["baselines"].get(row, {}) for row in ("chance", "language_prior", "majority")
        ]
        for name in names:
            luck = max(row[name] for row in rows if name in row)
            deviation = math.sqrt(luck * (1 - luck) / record["dataset"]["num_evaluated"])
            figure = record["metrics"][name]
            if figure > luck + DEVIATIONS * deviation:
                found[name] = {"figure": figure, "luck": luck, "deviation": deviation}
    return found


def run_control(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures of one control, with "passed"."""
    config, data, workdir = arguments.config, arguments.dataset, arguments.workdir
    if name == "gradient_norms":
        norms = OneBlock(config, data).gradient_norms()
        return {"norms": norms, "passed": all(norm > 1e-4 for norm in norms.values())}
    if name == "overfit":
        figures = OneBlock(config, data).overfit(arguments.overfit_steps)
        worst = max(value for key, value in figures["last"].items() if key != "loss")
        return {**figures, "passed": worst < NEAR_ZERO}
    source = index.open_dataset(data)
    train_on = tested_on = data
    if name == "shuffled":
        train_on = shuffle_captions(source, workdir / "data_shuffled", seed=0).path
    if name == "zeroed":
        train_on = tested_on = zero_video(source, workdir / "data_zeroed").path
    records = train_and_evaluate(arguments, train_on, tested_on, name)
    learnt = above_chance(records)
    wanted = {metric for names in NEED_BOTH_SIDES.values() for metric in names}
    return {
        "metrics": {task: record["metrics"] for task, record in records.items()},
        "baselines": {task: record["baselines"] for task, record in records.items()},
        "above_chance": learnt,
        "passed": set(learnt) == wanted if name == "real" else not learnt,
    }


CONTROLS = ("gradient_norms", "overfit", "real", "shuffled", "zeroed")


def main() -> int:
    """0 where every control came out as it must."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=pathlib.Path, default=pathlib.Path("runs/data/kitchen"))
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/controls"))
    parser.add_argument("--config", default="configs/kitchen.py")
    parser.add_argument("--steps", type=int, default=0, help="of each run; 0: the config's")
    parser.add_argument("--overfit-steps", type=int, default=400)
    parser.add_argument("--platform", default="cpu", help="empty: the accelerator there is")
    parser.add_argument("--only", default=",".join(CONTROLS), help="comma-separated controls")
    arguments = parser.parse_args()
    print(hardware.start(arguments.platform), flush=True)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    results = arguments.workdir / "results.jsonl"
    lines = results.read_text().splitlines() if results.is_file() else []
    done = {entry["control"]: entry for entry in map(json.loads, lines)}
    for name in arguments.only.split(","):
        if name not in done:
            done[name] = {"control": name, **run_control(name, arguments)}
            with open(results, "a") as file:
                file.write(json.dumps(done[name]) + "\n")
        print(json.dumps(done[name], indent=1))
    verdicts = {name: done[name]["passed"] for name in arguments.only.split(",")}
    print(verdicts)
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
