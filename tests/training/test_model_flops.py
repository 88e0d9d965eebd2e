"""Model FLOPs against the products of the network's own programs, and against loops in NumPy."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from tests import fakes, rules
from videobert_jax import schema
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import hardware, model_flops, state, steps

ROWS, TEXT, VIDEO, TARGET = 3, 16, 8, 12
WHOLE = dataclasses.replace(
    fakes.PACKED_SHAPE, examples=1, text_length=TEXT, video_length=VIDEO, target_length=TARGET
)


def whole_block(rows: int = ROWS) -> schema.Batch:
    """Rows of one example each, without a place of padding."""
    block = fakes.block(rows, WHOLE)
    for side in ("text", "video", "target"):
        getattr(block, f"{side}_segment_ids")[:] = 1
    block.text_slot_weights[:] = block.video_slot_weights[:] = 1
    return block


@pytest.fixture(scope="module")
def model(tiny_model_config) -> VideoBert:
    return VideoBert(dataclasses.replace(tiny_model_config, feed_forward_dim=48))


@pytest.fixture(scope="module")
def variables(model: VideoBert):
    return jax.eval_shape(model.init, jax.random.key(0), fakes.block(2))


def forward(model, objectives, block) -> dict[str, float]:
    """FLOPs of the parts of a forward pass."""
    parts: dict[str, float] = {}
    for term in model_flops.terms(model.config, objectives, model_flops.count(block)):
        parts[term.part] = parts.get(term.part, 0.0) + float(term.forward)
    return parts


def test_whole_rows_need_what_the_program_does(model, variables, tiny_run):
    """No padding and one example a row: then every product of the program is needed."""
    block, dim = whole_block(), model.config.embed_dim

    def program(method, *inputs):
        apply = functools.partial(model.apply, method=method)
        return hardware.matmul_flops(apply, variables, *inputs)

    def values(length):
        return jax.ShapeDtypeStruct((ROWS, length, dim), np.float32)

    def segments(side):
        return getattr(block, f"{side}_segment_ids")

    text = (values(TEXT), segments("text"))
    video = (values(VIDEO), segments("video"))
    objectives = tiny_run.objectives
    assert objectives.captioning.inputs == "both" and objectives.matching.negatives == "hard"
    parts = forward(model, objectives, block)
    assert parts["text tower"] == program(
        "encode_text", block.text_ids, segments("text"), block.text_positions
    )
    assert parts["video tower"] == program(
        "encode_video",
        block.video_features,
        segments("video"),
        block.video_positions,
        block.video_masked,
    )
    assert parts["cross-modal encoder"] == 2 * program("fuse", *text, *video)
    # causal: of the scores and values of u x u pairs, those of u (u + 1) / 2 are needed
    unneeded = 2 * 2 * dim * ROWS * (TARGET**2 - TARGET * (TARGET + 1) / 2)
    assert model.config.decoder.num_layers == 1
    words = 2 * ROWS * TARGET * dim * (dim + model.config.text.vocabulary_size)
    target = (block.target_ids, segments("target"), block.target_positions)
    decoded = program("decode", *target, *text, *video)
    assert parts["decoder"] == decoded - unneeded
    assert program("caption_logits", values(TARGET)) == words


def test_answers_need_the_pooler_once_and_their_head(tiny_run, tiny_model_config):
    config = dataclasses.replace(tiny_model_config, answers=256)
    model, block, dim = VideoBert(config), whole_block(), config.embed_dim
    variables = jax.eval_shape(model.init, jax.random.key(0), fakes.block(2))
    pooled = jax.ShapeDtypeStruct((ROWS, 1, dim), np.float32)
    apply = functools.partial(model.apply, method="answer_logits")
    head = hardware.matmul_flops(apply, variables, pooled)
    pooler = 2 * ROWS * 2 * dim * dim
    answering = dataclasses.replace(tiny_run.objectives.answering, weight=1.0)
    judged = only(tiny_run, "matching")
    off = dataclasses.replace(judged.matching, weight=0.0)
    alone = dataclasses.replace(judged, matching=off, answering=answering)
    assert forward(model, alone, block)["heads"] == head + pooler
    both = dataclasses.replace(judged, answering=answering)
    added = forward(model, both, block)["heads"] - forward(model, judged, block)["heads"]
    assert added == head
    fused = "cross-modal encoder"
    assert forward(model, both, block)[fused] == 2 * forward(model, alone, block)[fused]


def test_labels_of_clips_need_their_head_and_no_fusion(tiny_run, tiny_model_config):
    config = dataclasses.replace(tiny_model_config, clip_labels=127)
    model, block = VideoBert(config), whole_block()
    variables = jax.eval_shape(model.init, jax.random.key(0), fakes.block(2))
    video = jax.ShapeDtypeStruct((*block.video_segment_ids.shape, config.embed_dim), np.float32)
    apply = functools.partial(model.apply, method="clip_label_logits")
    head = hardware.matmul_flops(apply, variables, video)
    on = dataclasses.replace(tiny_run.objectives.segmentation, weight=1.0)
    judged = only(tiny_run, "matching")
    off = dataclasses.replace(judged.matching, weight=0.0)
    alone = forward(model, dataclasses.replace(judged, matching=off, segmentation=on), block)
    assert alone["heads"] == head and "cross-modal encoder" not in alone


@pytest.mark.long
def test_a_whole_step_needs_nearly_all_that_the_program_does(tiny_run, tiny_model_config):
    """At the width of a real network what is left are one-hot products and similarities."""
    config = dataclasses.replace(
        tiny_model_config, embed_dim=256, feed_forward_dim=1024, joint_dim=64
    )
    model, block = VideoBert(config), whole_block(8)
    rule = rules.plain_sgd(0.1)
    objectives = only(tiny_run, "masked_language", "masked_video", "matching", "contrastive")
    batch = jax.tree.map(lambda leaf: leaf[None], block)
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])
    structs = state.state_structs(model, rule, mesh)
    step = functools.partial(
        steps.train_step,
        model=model,
        rule=rule,
        objectives=objectives,
        seed=0,
        accumulation_steps=1,
        num_shards=1,
    )
    program = hardware.matmul_flops(step, structs, batch)
    counts = model_flops.count(batch)
    needed = model_flops.step_flops(config, objectives, rule.frozen, counts)
    assert 0.9 * program < needed < program


def kernels(variables, module: str) -> int:
    """Entries of the matrices of a module's layers."""
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"][module])
    return sum(leaf.size for path, leaf in leaves if "kernel" in jax.tree_util.keystr(path))


def only(tiny_run, *names: str):
    """The objectives with these alone."""
    objectives = tiny_run.objectives
    return dataclasses.replace(
        objectives,
        **{
            name: dataclasses.replace(getattr(objectives, name), weight=0.0)
            for name in objectives.weights()
            if name not in names
        },
    )


def test_real_tokens_and_allowed_pairs_count_and_nothing_else(model, variables, tiny_run):
    """A packed batch with padding: token by token, and pair by pair, in plain loops."""
    batch = fakes.batch(2, 3)
    batch.text_slot_weights[0, 0, 1] = 0
    dim, layers = model.config.embed_dim, model.config.text.num_layers
    parameters = tokens = pairs = slots = 0
    for block in range(2):
        for row in range(3):
            text, video = (
                list(segments[block, row])
                for segments in (batch.text_segment_ids, batch.video_segment_ids)
            )
            tokens += sum(one > 0 for one in text + video)
            parameters += kernels(variables, "text_encoder") * sum(one > 0 for one in text)
            parameters += kernels(variables, "video_encoder") * sum(one > 0 for one in video)
            for one in text:
                within = sum(one == other != 0 for other in text)
                across = sum(one == other != 0 for other in video)
                pairs += (layers + model.config.cross.num_layers) * within
                pairs += 2 * model.config.cross.num_layers * across
            for one in video:
                within = sum(one == other != 0 for other in video)
                pairs += (model.config.video.num_layers + model.config.cross.num_layers) * within
            slots += int((batch.text_slot_weights[block, row] > 0).sum())
    assert tokens < batch.text_segment_ids.size + batch.video_segment_ids.size  # some is padding
    # In the cross-modal encoder each direction has four projections, and a token of either side
    # takes two of each; then it goes through the layer of its own side.
    parameters += kernels(variables, "cross_encoder") * tokens / 2
    head = kernels(variables, "masked_language_head")
    head += dim * model.config.text.vocabulary_size
    expected = 6 * (parameters + head * slots) + 3 * 2 * 2 * dim * pairs
    # Clip features have no gradient: 4 in place of 6.
    expected += 4 * kernels(variables, "video_embedding") * int((batch.video_segment_ids > 0).sum())

    objectives = only(tiny_run, "masked_language")
    counts = model_flops.count(batch)
    found = model_flops.step_flops(model.config, objectives, frozenset(), counts)
    assert found == pytest.approx(expected, rel=1e-6)
    on_device = jax.jit(
        lambda batch: model_flops.step_flops(
            model.config, objectives, frozenset(), model_flops.count(batch)
        )
    )(fakes.on_device(batch))
    assert float(on_device) == pytest.approx(expected, rel=1e-6)


def test_what_is_frozen_has_no_gradient(model, tiny_run):
    objectives, counts = only(tiny_run, "contrastive"), model_flops.count(fakes.batch(2, 3))

    def needed(*frozen: str) -> dict[str, float]:
        parts: dict[str, float] = {}
        for term in model_flops.terms(model.config, objectives, counts):
            if term.part == "text tower":
                key = "attention" if term.attention else "projections"
                parts[key] = term.training(frozen) / term.forward
        return parts

    assert needed() == {"attention": 3, "projections": 3}
    assert needed("text_encoder") == {"attention": 3, "projections": 2}
    assert needed("text_embedding") == {"attention": 3, "projections": 2}
    assert needed("text_embedding", "text_encoder") == {"attention": 1, "projections": 1}
