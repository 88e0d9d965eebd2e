"""Settings that do not exist, have the wrong type or contradict each other are named."""

import dataclasses
import json
import pathlib

import ml_collections
import pytest

from configs import base, tiny
from videobert_jax import configuration
from videobert_jax.data.config import REGIMES
from videobert_jax.objectives import config as objectives

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture
def config():
    return configuration.load_file(str(ROOT / "configs" / "tiny.py"))


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("data.pth", "x", "no such setting; the nearest is --config.data.path"),
        ("optimizer.learning_rate", "fast", "'fast': expected float, such as 0.001"),
        ("training.num_steps", "1.5", "expected int"),
        ("data.masking.whole_words", "perhaps", "expected bool"),
        ("model.text", "x", "is a group of settings; say one of --config.model.text.bert, "),
        ("seed.more", "1", "no such setting"),
    ],
)
def test_a_bad_override_says_what_is_wrong(config, key, text, message):
    before = config.to_json()
    with pytest.raises(configuration.ConfigError, match=message):
        configuration.apply_override(config, key, text)
    assert config.to_json() == before


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("data.block_size", "6", None),
        ("data.examples_per_row", "3", "block_size=8 is not divisible by data.examples_per_row=3"),
        ("data.examples_per_row", "0", "examples_per_row=0; expected 1 or more"),
        ("data.text_length", "2", "text_length=2 is too short .* use 3 or more"),
        ("data.video_length", "0", "video_length=0 is too short .* fit-packing"),
        ("data.masking.text_rate", "1.5", r"text_rate=1.5 is outside \[0, 1\]"),
        ("data.masking.text_frequency_exponent", "-1", "exponent=-1.0 is below 0"),
        ("data.masking.text_examples", "1.5", r"text_examples=1.5 is outside \[0, 1\]"),
        ("data.masking.whole_pairs", "true", "no example would be whole; lower data.masking.text"),
        ("training.accumulation_steps", "2", "blocks_per_batch=1 is not divisible"),
        ("model.norm", "middle", "model.norm='middle' is none of pre, post"),
        ("model.attention", "flash", "attention='flash' is none of auto, dense, kernel, cudnn"),
        ("model.norm_epsilon", "0", "model.norm_epsilon=0.0 is not above 0"),
        ("model.text.input", "words", "model.text.input='words' is none of pieces, bert_vectors"),
        ("model.text.bert.num_heads", "7", "bert.embed_dim=768 is not divisible by .*num_heads=7"),
        ("data.executor", "beam", "none of auto, tf, threads"),
        ("training.num_steps", "0", "num_steps=0 is less than 1"),
        ("objectives.matching.weight", "-1", "none may be negative"),
        ("objectives.matching.negatives", "soft", "negatives='soft' is none of uniform, hard"),
        ("objectives.contrastive.near_clips", "-1", "near_clips=-1; expected 0"),
        ("objectives.contrastive.chunks", "0", "chunks=0; expected 1 or more"),
        ("objectives.contrastive.chunks", "7", "chunks=7 does not divide the 8 rows of a block"),
        ("objectives.token_contrastive.weight", "1", "needs model.token_head=True, found False"),
        ("objectives.token_contrastive.temperature", "0", "temperature=0.0; expected more than 0"),
        ("objectives.masked_video.temperature", "0", "masked_video.temperature=0.0; expected more"),
        ("optimizer.clip_norm", "-1", "optimizer.clip_norm=-1.0 is less than 0"),
        ("optimizer.learning_rate", "nan", "optimizer.learning_rate=nan is less than 0"),
        ("optimizer.b2", "1", r"optimizer.b2=1.0 is outside \[0, 1\)"),
        ("optimizer.eps", "0", "optimizer.eps=0.0; expected more than 0"),
        ("objectives.token_contrastive.chunks", "3", "token_contrastive.chunks=3 does not divide"),
        ("model.token_head", "true", "token_head=True and data.content_words='': .* or neither"),
        ("data.content_words", "words.json", "token_head=False and data.content_words='words.json"),
        ("objectives.answering.weight", "1", "needs model.answers=1500, found 0; set both"),
        ("objectives.segmentation.weight", "1", "needs model.clip_labels=778, found 0; set both"),
        ("data.clip_labels", "step", "clip_labels=0 and data.clip_labels='step': .* or neither"),
        ("model.answers", "-1", r"model.answers=-1; expected 0 \(no head\) or more"),
        ("objectives.cascade.negatives", "0", "cascade.negatives=0; expected 1 or more"),
        ("optimizer.layer_decay", "0", r"layer_decay=0.0 is outside \(0, 1\]"),
        ("optimizer.ema_decay", "1", r"ema_decay=1.0 is outside \[0, 1\)"),
        (
            "optimizer.frozen",
            "text_tower,ears",
            "frozen names 'ears'.* groups text_tower, .*pooler",
        ),
        ("optimizer.frozen", "text_tower,video_tower,heads,cross_encoder,decoder", "nothing would"),
        (
            "objectives.captioning.weight",
            "0",
            "captioning.weight is 0, but model.decoder.num_layers=1",
        ),
        ("model.decoder.num_layers", "0", "num_layers=0, data.target_length=16: .* set all three"),
        ("data.target_length", "0", "target_length=0: captions are learnt by the objective"),
        ("data.target_length", "1", "target_length=1 is too short for data.examples_per_row=1"),
        ("objectives.captioning.inputs", "sound", "'sound' is none of video, transcript, both"),
        ("objectives.captioning.label_smoothing", "1", r"label_smoothing=1.0 is outside \[0, 1\)"),
        ("objectives.captioning.chunks", "3", "captioning.chunks=3 does not divide the 8 rows"),
        ("data.masking.text_mean_span", "0.5", "text_mean_span=0.5; expected 1"),
        ("data.masking.whole_text_examples", "1", "would hide every text"),
        ("data.masking.whole_text_examples", "-0.1", r"whole_text_examples=-0.1 is outside"),
    ],
)
def test_contradictions_stop_before_anything_runs(config, key, text, message):
    configuration.apply_override(config, key, text)
    if message is None:
        assert configuration.parse(config).data.block_size == 6
        return
    with pytest.raises(configuration.ConfigError, match=message):
        configuration.parse(config)


def test_a_frozen_bert_gives_no_layers_to_the_video_tower(config):
    config.init.bert, config.init.bert_video_layers = "bert", 1
    configuration.parse(config)
    config.model.text.input = "bert_vectors"
    with pytest.raises(configuration.ConfigError, match="bert_video_layers=1, but .*set it to 0"):
        configuration.parse(config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("neighbour_videos", 1, "main.neighbour_videos=1; expected 2 videos"),
        ("read_group", 2, "read_group=2 and data.sources.main.neighbours='o' both say which"),
    ],
)
def test_neighbours_are_several_and_alone_say_what_comes_together(config, key, value, message):
    source = config.data.sources.main
    source.neighbours = "o"
    assert configuration.parse(config).data.sources[0].neighbours == "o"
    (source if key in source else config.data)[key] = value
    with pytest.raises(configuration.ConfigError, match=message):
        configuration.parse(config)


@pytest.mark.parametrize("other", ["neighbours", "transcripts"])
def test_an_alignment_alone_says_which_examples_come(config, other):
    source = config.data.sources.main
    source.alignment = "a"
    assert configuration.parse(config).data.sources[0].alignment == "a"
    source[other] = "o"
    with pytest.raises(configuration.ConfigError, match=rf"alignment='a' and \.{other} both"):
        configuration.parse(config)


def test_joined_questions_have_no_one_answer(config):
    config.objectives.answering.weight, config.model.answers = 1.0, 4
    assert configuration.parse(config).model.modules[-3] == "answer_head"
    config.data.drawing.joined_examples = 0.5
    with pytest.raises(configuration.ConfigError, match="joined_examples=0.5: two questions"):
        configuration.parse(config)


def test_a_cascade_needs_as_many_negatives_as_it_chooses(config):
    config.objectives.cascade.weight = 1.0
    config.objectives.cascade.negatives = 7
    assert configuration.parse(config).objectives.cascade.negatives == 7
    config.objectives.cascade.negatives = 8
    with pytest.raises(configuration.ConfigError, match="negatives=8, but a block has 8 examples"):
        configuration.parse(config)


def test_forms_of_attention_that_cannot_be_are_refused(config):
    config.model.attention = "lengths"
    assert configuration.parse(config).model.attention == "lengths"
    config.data.examples_per_row = 2
    with pytest.raises(configuration.ConfigError, match="rows of one example, .*_per_row=2"):
        configuration.parse(config)
    config.model.attention = "kernel"
    config.model.attention_dropout_rate = 0.1
    with pytest.raises(configuration.ConfigError, match="'kernel' has no dropout, found .*0.1"):
        configuration.parse(config)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([(8, {}), (11, {})], r"8 \+ 11 = 19 steps, but training.num_steps=20"),
        (
            [(20, {"data.text_length": 8})],
            "^stages.0: data.text_length is the same in the whole run",
        ),
        ([(20, {"training.num_steps": 8})], "^stages.0: training.num_steps is the same in the"),
        ([(8, {}), (12, {"optimizer.rate": 1})], "^stages.1: .*rate: there is no such setting"),
        ([(20, {"optimizer.b1": "x"})], "^stages.0: config.optimizer.b1: expected float"),
        ([(20, {"optimizer.frozen": "ears"})], "^stages.0: optimizer.frozen names 'ears'"),
        (
            [(15, {}), (5, {})],
            "^stages.1: optimizer.warmup_steps=5 is not less than num_steps=5; shorten",
        ),
        (
            [(20, {"data.blocks_per_batch": 3})],
            "^stages.0: data.blocks_per_batch=3 is not divisible",
        ),
        (
            [(20, {"data.sources.main.weight": 0, "data.sources.text.weight": 0})],
            "^stages.0: data.sources: the weights of main, text sum to 0",
        ),
        (
            [(20, {"data.sources.main.weight": -1})],
            "^stages.0: data.sources.main.weight=-1.0 is below",
        ),
        (
            [(20, {"data.sources.text.weight": 0.0})],
            "sources.text.weight is 0 in every stage; remove",
        ),
        (
            [(8, {}), (12, {"data.sources.main.weight": 0.0})],
            "^stages.1: objectives.masked_video.weight=1.0 needs a source with the regime "
            "text_video or video_only, found text_only",
        ),
        ([(0, {}), (20, {})], "^stages.0: training.num_steps=0 is less than 1"),
        ([7], "^stages.0: expected a number of steps and settings, .* found 7"),
    ],
)
def test_contradictions_of_a_stage_name_it(config, stages, message):
    config.data.sources.text = base.source(regime="text_only")
    config.data.blocks_per_batch = 4
    config.training.accumulation_steps = 2
    config.stages = [stage if isinstance(stage, int) else base.stage(*stage) for stage in stages]
    with pytest.raises(configuration.ConfigError, match=message):
        configuration.parse(config)


def test_a_stage_has_the_settings_of_the_run_but_for_its_own(config):
    frozen = {"optimizer.frozen": ("text_tower", "pooler"), "data.masking.text_rate": 0.3}
    config.stages = [base.stage(8, frozen), base.stage(12, {"objectives.matching.weight": 0.0})]
    configuration.apply_override(config, "stages.0.steps", "6")
    configuration.apply_override(config, "stages.1.steps", "14")
    with pytest.raises(configuration.ConfigError, match="nearest is --config.stages.1.obj"):
        configuration.apply_override(config, "stages.1.objectives.matching.wight", "1")
    with pytest.raises(configuration.ConfigError, match="stages is a list of 2 groups"):
        configuration.apply_override(config, "stages", "1")
    with pytest.raises(configuration.ConfigError, match="no such setting"):
        configuration.apply_override(config, "stages.2.steps", "1")
    run = configuration.parse(ml_collections.ConfigDict(configuration.to_json(config)))
    first, second = run.in_stages().values()
    assert list(run.in_stages()) == ["stages.0", "stages.1"]
    plain = configuration.parse(tiny.get_config())
    assert list(plain.in_stages().items()) == [("", plain)]
    optimizer = dataclasses.replace(plain.optimizer, frozen=("text_tower", "pooler"))
    masking = dataclasses.replace(plain.data.masking, text_rate=0.3)
    assert (first.optimizer, first.data.masking) == (optimizer, masking)
    assert first.objectives == plain.objectives == run.objectives
    assert second.optimizer == plain.optimizer and second.data == plain.data
    assert second.objectives.weights() == {**plain.objectives.weights(), "matching": 0.0}
    assert (first.training.num_steps, second.training.num_steps) == (6, 14)


def test_every_objective_says_which_sources_teach_it(config):
    weights = configuration.parse(config).objectives.weights()
    assert set(objectives.REGIMES) == set(weights)
    assert {regime for regimes in objectives.REGIMES.values() for regime in regimes} == set(REGIMES)


def test_heads_are_taught_by_the_objectives_of_some_stage_unless_they_are_frozen():
    config = tiny.get_config()
    plain = configuration.parse(config)
    weights = plain.objectives.weights()
    assert plain.taught_heads == {of for name, of in objectives.HEADS.items() if weights[name] > 0}
    assert (
        {"joint_head", "matching_head", "decoder"} <= plain.taught_heads <= set(plain.model.modules)
    )
    config.objectives.matching.weight = 0.0
    assert plain.taught_heads - configuration.parse(config).taught_heads == {"matching_head"}
    config.stages = (base.stage(6, {"objectives.matching.weight": 1.0}), base.stage(14, {}))
    assert configuration.parse(config).taught_heads == plain.taught_heads
    config.optimizer.frozen = "joint_head"
    assert configuration.parse(config).taught_heads == plain.taught_heads - {"joint_head"}


def test_a_caption_is_not_read_where_it_has_to_be_written(config):
    config.data.masking.text_rate = 0.0
    config.objectives.captioning.inputs = "video"
    configuration.parse(config)
    config.objectives.captioning.inputs = "both"
    with pytest.raises(configuration.ConfigError, match="say data.sources.main.transcripts"):
        configuration.parse(config)
    config.data.sources.main.transcripts = "narration"
    configuration.parse(config)
    config.data.sources.main.regime = "video_only"
    with pytest.raises(configuration.ConfigError, match="'video_only' has no texts"):
        configuration.parse(config)


def test_a_missing_and_a_misspelt_field_are_both_named(config):
    fields = configuration.to_json(config)
    fields["optimizer"]["learning_rat"] = fields["optimizer"].pop("learning_rate")
    with pytest.raises(configuration.ConfigError, match=r"missing: \['learning_rate'\].*rat'\]"):
        configuration.parse(ml_collections.ConfigDict(fields))


def test_json_gives_the_same_settings_back(config):
    text = json.dumps(configuration.to_json(config))
    again = ml_collections.ConfigDict(json.loads(text))
    assert configuration.parse(again) == configuration.parse(config)


def test_a_missing_file_is_named():
    with pytest.raises(configuration.ConfigError, match="nothing.py: there is no such file"):
        configuration.load_file("configs/nothing.py")


def test_what_captions_are_told_from_is_that_of_the_last_stage_that_learns_them():
    config = tiny.get_config()
    assert configuration.parse(config).captioning_inputs == "both"
    config.stages = (
        base.stage(6, {"objectives.captioning.inputs": "transcript"}),
        base.stage(7, {"objectives.captioning.inputs": "video"}),
        base.stage(7, {"objectives.captioning.weight": 0.0}),
    )
    assert configuration.parse(config).captioning_inputs == "video"
    config = base.get_config()
    assert configuration.parse(config).captioning_inputs is None
