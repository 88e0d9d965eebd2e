"""What fine-tuning configs measure while they train, and by what they choose a step."""

import pathlib
import re
import subprocess

import numpy as np
import pytest

from videobert_jax import configuration
from videobert_jax.tasks import questions, step_localization
from videobert_jax.tasks.metrics import caption_scores, ranking, segmentation

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FIGURES = {  # task -> figures of its record
    "retrieval": set(ranking.summary(np.ones(2), "text_to_video")),
    "captioning": {caption_scores.CIDER_D},
    "question_answering": set(questions.figures(np.ones(2), {})),
    "step_localization": {step_localization.RECALL},
    "action_segmentation": {segmentation.ACCURACY},
}
TASKS = {
    "kitchen_retrieval": "retrieval",
    "kitchen_captioning": "captioning",
    "kitchen_qa": "question_answering",
    "kitchen_localization": "step_localization",
    "kitchen_segmentation": "action_segmentation",
    "youcook2_from_scratch": "retrieval",
    "taco": "retrieval",
    "youcook2_retrieval": "retrieval",
    "youcook2_captioning": "captioning",
    "msrvtt_retrieval": "retrieval",
    "msrvtt_qa": "question_answering",
    "crosstask_localization": "step_localization",
    "coin_segmentation": "action_segmentation",
}
WITHOUT_VALIDATION = {"msrvtt_retrieval", "crosstask_localization", "coin_segmentation"}


@pytest.mark.parametrize("name", TASKS)
def test_a_config_measures_its_own_task_and_chooses_by_a_figure_of_it(name):
    run = configuration.parse(configuration.load_file(str(ROOT / "configs" / f"{name}.py")))
    training, task = run.training, TASKS[name]
    assert training.eval_tasks == (task,)
    if name in WITHOUT_VALIDATION:
        assert not training.eval_every and not training.best_metric
        return
    # the last step is measured too, and at least one before it
    assert 0 < training.eval_every <= training.num_steps / 2
    chosen, _, figure = training.best_metric.partition("/")
    assert chosen == task and figure in FIGURES[task]


def test_one_command_fine_tunes_each_task_on_the_kitchen():
    makefile = (ROOT / "Makefile").read_text()
    (tasks,) = re.findall(r"^TASKS := (.*)$", makefile, re.MULTILINE)
    assert {f"kitchen_{task}" for task in tasks.split()} == {n for n in TASKS if "kitchen" in n}
    for task in tasks.split():
        made = subprocess.run(
            ["make", "-n", "fine-tune", f"TASK={task}"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.replace("\\\n", " ")  # fmt: skip
        config = f"kitchen_{task}"
        assert f"--config=configs/{config}.py" in made and f"--task={TASKS[config]} " in made
        run = configuration.parse(configuration.load_file(str(ROOT / "configs" / f"{config}.py")))
        prepared = re.search(r"prepare (\w+) --output (\S+)", made)
        assert prepared is not None and prepared[2] == run.data.path
        assert prepared[2] == f"runs/data/{prepared[1]}"
    wrong = subprocess.run(
        ["make", "fine-tune", "TASK=cooking", "-o", "setup"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert wrong.returncode and "TASK=cooking is none of retrieval" in wrong.stdout
