"""Parameters taken over from another run: just those named, or an error that lists what differs."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import MODULE_GROUPS, RAW, ModelConfig
from videobert_jax.schema import ContractMismatch
from videobert_jax.text import word_pieces
from videobert_jax.training import initialization
from videobert_jax.training.config import InitConfig
from videobert_jax.training.state import TrainState
from videobert_jax.weights import bert

MODULES = ("text_embedding", "text_encoder", "video_embedding", "video_encoder", "cross_encoder")


def params_of(value: float, **changed: Any) -> dict[str, Any]:
    return {name: {"kernel": jnp.full((4, 3), value)} for name in MODULES} | changed


def state_of(value: float) -> TrainState:
    constants = {"video_embedding": {"mean": jnp.full(2, value), "scale": jnp.full(2, value)}}
    return TrainState(jnp.int32(0), params_of(value), constants, {}, None, None)


def bundle_of(tiny_run: Any, params: dict[str, Any]) -> ModelBundle:
    return ModelBundle(
        config=tiny_run.model,
        data=tiny_run.data,
        variables={"params": params, "constants": state_of(7.0).constants},
        tokenizer_model=b"",
        contract=fakes.CONTRACT,
        trained_on={},
        answers=(),
        clip_labels=(),
        step=1,
        digest="",
        weights=RAW,
        name="other",
        captioning_inputs=None,
    )


def values(state: TrainState) -> dict[str, float]:
    return {
        name: float(np.asarray(module["kernel"])[0, 0]) for name, module in state.params.items()
    }


def test_all_is_taken_where_nothing_is_named(tiny_run):
    state, taken = initialization.initialize(state_of(1.0), bundle_of(tiny_run, params_of(7.0)), ())
    assert set(values(state).values()) == {7.0} and not taken.fresh
    assert float(state.constants["video_embedding"]["mean"][0]) == 7.0


def test_only_what_is_named_is_taken_and_statistics_come_with_the_video_tower(tiny_run):
    bundle = bundle_of(tiny_run, params_of(7.0, cross_encoder={"kernel": jnp.zeros((9, 9))}))
    state, taken = initialization.initialize(state_of(1.0), bundle, ("text_tower",))
    assert values(state) == {n: 7.0 if n.startswith("text") else 1.0 for n in MODULES}
    assert float(state.constants["video_embedding"]["mean"][0]) == 1.0
    assert str(taken) == (
        "2 parameters taken over (text_embedding, text_encoder); random: cross_encoder, "
        "video_embedding, video_encoder (3)"
    )
    state, _ = initialization.initialize(state_of(1.0), bundle, ("video_embedding",))
    assert float(state.constants["video_embedding"]["mean"][0]) == 7.0


def test_what_does_not_match_is_listed(tiny_run):
    params = params_of(7.0, cross_encoder={"kernel": jnp.zeros((9, 9)), "bias": jnp.zeros(9)})
    params["text_encoder"] = {}
    with pytest.raises(initialization.InitializationError) as caught:
        initialization.initialize(state_of(1.0), bundle_of(tiny_run, params), ())
    message = str(caught.value)
    assert "cross_encoder/kernel: float32[9, 9] in the checkpoint, float32[4, 3]" in message
    assert "cross_encoder/bias: only the checkpoint has it" in message
    assert "text_encoder/kernel: nothing in the checkpoint" in message
    assert "init.modules=" in message


def test_an_unknown_module_is_named(tiny_run):
    with pytest.raises(initialization.InitializationError, match="'audio_tower'.*text_tower"):
        initialization.initialize(
            state_of(1.0), bundle_of(tiny_run, params_of(7.0)), ("audio_tower",)
        )


def test_shards_stay_where_they_were(tiny_run):
    mesh = jax.make_mesh((8,), ("fsdp",))
    layout = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp"))
    state = TrainState(
        jnp.int32(0),
        {"text_encoder": jax.device_put(np.zeros((16, 2)), layout)},
        constants={},
        opt_state={},
        ema=None,
        window=None,
    )
    given = np.arange(32, dtype=state.params["text_encoder"].dtype).reshape(16, 2)
    bundle = bundle_of(tiny_run, {"text_encoder": given})
    taken, _ = initialization.initialize(state, bundle, ("text_encoder",))
    assert taken.params["text_encoder"].sharding == layout
    np.testing.assert_array_equal(taken.params["text_encoder"], given)


def bert_of(params: dict[str, Any]) -> bert.Bert:
    vocabulary = word_pieces.Vocabulary((), True, None, True, True, "##", 100)
    return bert.Bert("given", "a" * 64, 3, vocabulary, params)


def test_first_rows_of_a_bert_are_taken_wherever_they_lie():
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))
    layout = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp"))
    born = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    params = {
        "text_embedding": {"pieces": jax.device_put(born, layout)},
        "text_encoder": jax.device_put(born, layout),
        "video_encoder": {"stack": {"layers": {"layer": jax.device_put(born, layout)}}},
    }
    state = TrainState(jnp.int32(0), params, {}, {}, None, None)
    given = np.arange(32, dtype=np.float32).reshape(16, 2)
    found, taken = initialization.initialize_with_bert(
        state,
        bert_of(
            {
                "video_encoder": {"stack": {"layers": {"layer": given[:3]}}},
                "text_embedding": {"pieces": given[:13]},
            }
        ),
    )
    for module, rows in (("text_embedding", 13), ("text_encoder", 0), ("video_encoder", 3)):
        (leaf,) = jax.tree.leaves(found.params[module])
        assert leaf.sharding == layout, module
        np.testing.assert_array_equal(leaf, np.concatenate([given[:rows], born[rows:]]))
    assert str(taken) == (
        "2 parameters taken over (text_embedding, video_encoder), of them in part: 13 of 16 rows "
        "of text_embedding/pieces, 3 of 16 layers of video_encoder; random: text_encoder (1)"
    )
    assert str(taken.beside(["text_encoder"])).endswith("3 of 16 layers of video_encoder")


@pytest.mark.parametrize("shape", [(9, 9), (5, 3), (4,)])
def test_a_bert_that_does_not_fit_is_named(shape):
    given = bert_of({"text_encoder": {"kernel": np.zeros(shape, np.float32)}})
    with pytest.raises(initialization.InitializationError, match=r"float32\[4, 3\] in the model"):
        initialization.initialize_with_bert(state_of(1.0), given)
    nowhere = bert_of({"audio": np.zeros(3, np.float32)})
    with pytest.raises(initialization.InitializationError, match="audio .* nothing in the model"):
        initialization.initialize_with_bert(state_of(1.0), nowhere)


def reading_vectors(model: ModelConfig) -> ModelConfig:
    return dataclasses.replace(model, text=dataclasses.replace(model.text, input="bert_vectors"))


def test_a_bert_whose_vectors_are_read_becomes_constants():
    born = state_of(1.0)
    own = {"text_embedding": {"pieces": jnp.zeros((16, 3))}, "text_encoder": {"a": jnp.zeros(2)}}
    constants = born.constants | {"text_embedding": {"bert": own}}
    given = {
        "text_embedding": {"pieces": np.ones((13, 3), np.float32)},
        "text_encoder": {"a": np.full(2, 3.0, np.float32)},
    }
    born = dataclasses.replace(born, constants=constants)
    state, taken = initialization.initialize_with_bert(born, bert_of(given))
    assert jax.tree.all(jax.tree.map(np.array_equal, state.params, born.params))
    found = state.constants["text_embedding"]["bert"]
    pieces = np.asarray(found["text_embedding"]["pieces"])
    assert (pieces == np.where(np.arange(16) < 13, 1.0, 0.0)[:, None]).all()
    np.testing.assert_array_equal(found["text_encoder"]["a"], [3.0, 3.0])
    assert str(taken) == (
        "2 parameters taken over (text_embedding), of them in part: 13 of 16 rows of "
        "text_embedding/bert/text_embedding/pieces; random: cross_encoder, text_embedding, "
        "text_encoder, video_embedding, video_encoder (5)"
    )


def test_constants_of_another_form_are_named(tiny_run):
    bundle = bundle_of(tiny_run, params_of(7.0))
    bundle.variables["constants"]["video_encoder"] = {"centre": jnp.zeros(3)}
    with pytest.raises(
        initialization.InitializationError,
        match="constants/video_encoder/centre: only the checkpoint has it",
    ):
        initialization.initialize(state_of(1.0), bundle, ("video_tower",))
    state, _ = initialization.initialize(state_of(1.0), bundle, ("text_tower",))
    assert float(state.constants["video_embedding"]["mean"][0]) == 1.0


@pytest.mark.parametrize(
    ("bert", "checkpoint", "modules", "given"),
    [
        ("", "", (), False),
        ("bert", "", (), True),
        ("", "run", (), True),
        ("", "run", ("text_tower",), True),
        ("", "run", ("video_tower", "text_encoder"), False),
    ],
)
def test_vectors_need_a_bert_to_begin_with(tiny_run, bert, checkpoint, modules, given):
    init = InitConfig(checkpoint, modules, bert, 0, "centroids")
    initialization.require_vectors(init, tiny_run.model)
    if given:
        initialization.require_vectors(init, reading_vectors(tiny_run.model))
        return
    with pytest.raises(initialization.InitializationError, match="needs a BERT to begin with"):
        initialization.require_vectors(init, reading_vectors(tiny_run.model))


@pytest.mark.parametrize(
    ("modules", "video_layers", "both"),
    [
        (("text_tower",), 0, "text_embedding, text_encoder"),
        (("text_encoder", "cross_encoder"), 0, "text_encoder"),
        (("heads",), 0, "bag_of_words_head, masked_language_head"),
        (("video_tower",), 1, "video_encoder"),
        (("video_tower", "cross_encoder"), 0, None),
        (("video_embedding",), 1, None),
    ],
)
def test_a_bert_and_a_checkpoint_give_different_parts(tiny_run, modules, video_layers, both):
    init = InitConfig("run", modules, "bert", video_layers, "centroids")
    available = [*MODULES, *MODULE_GROUPS["heads"]]
    if both is None:
        initialization.require_apart(init, tiny_run.model, available)
        return
    with pytest.raises(initialization.InitializationError, match=f"both give {both}; leave"):
        initialization.require_apart(init, tiny_run.model, available)


def test_a_frozen_bert_leaves_the_layers_to_a_checkpoint(tiny_run):
    model = reading_vectors(tiny_run.model)
    init = InitConfig("run", ("text_encoder",), "bert", 0, "centroids")
    initialization.require_apart(init, model, MODULES)
    with pytest.raises(initialization.InitializationError, match="both give text_embedding; leave"):
        init = InitConfig("run", ("text_tower",), "bert", 0, "centroids")
        initialization.require_apart(init, model, MODULES)


def test_another_tokenizer_or_other_features_are_refused(tiny_run, tmp_path: pathlib.Path):
    bundle = bundle_of(tiny_run, params_of(7.0))
    other = fakes.CONTRACT.from_json(fakes.CONTRACT.to_json() | {"backbone": "s3d"})

    def check(names: list[str], tokenizer: str, contract: Any) -> None:
        initialization.require_compatible(
            bundle,
            names,
            bundle.config,
            tokenizer_digest=tokenizer,
            bundle_tokenizer_digest="a" * 64,
            contract=contract,
        )

    check(["text_embedding", "video_embedding"], "a" * 64, fakes.CONTRACT)
    check(["cross_encoder"], "b" * 64, other)
    with pytest.raises(initialization.InitializationError, match="tokenizer"):
        check(["text_embedding"], "b" * 64, fakes.CONTRACT)
    with pytest.raises(ContractMismatch, match="'s3d'.*'random'"):
        check(["video_embedding"], "a" * 64, other)
    check(["bag_of_words_head"], "a" * 64, other)  # of the tower's outputs
    config = dataclasses.replace(bundle.config, bag_of_words_reads="features")
    bundle = dataclasses.replace(bundle, config=config)
    with pytest.raises(ContractMismatch, match="'s3d'.*'random'"):
        check(["bag_of_words_head"], "a" * 64, other)


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (["cross_encoder"], {"activation": "relu"}, "model.activation is 'relu', 'gelu' there"),
        (["text_encoder"], {"norm_epsilon": 1e-5}, "model.norm_epsilon is 1e-05, 1e-06 there"),
        (["bag_of_words_head"], {"bag_of_words_reads": "features"}, "reads is 'features', 'tower'"),
        (["cross_encoder"], {"bag_of_words_reads": "features"}, None),
        (
            ["video_embedding"],
            {"video": {"input_normalization": "none"}},
            "input_normalization is 'none', 'standardize'",
        ),
        (["masked_video_head"], {"video": {"input_normalization": "none"}}, "input_normalization"),
        (["bag_of_words_head"], {"video": {"input_normalization": "none"}}, None),  # of the tower
        (["text_encoder"], {"video": {"input_normalization": "none"}}, None),
        (["cross_encoder"], {"dropout_rate": 0.3, "remat": "dots"}, None),
    ],
)
def test_networks_of_one_shape_that_compute_otherwise_are_refused(
    tiny_run, names, settings, message
):
    settings = dict(settings)
    bundle = bundle_of(tiny_run, params_of(7.0))
    video = dataclasses.replace(bundle.config.video, **settings.pop("video", {}))

    def check() -> None:
        initialization.require_compatible(
            bundle,
            names,
            dataclasses.replace(bundle.config, video=video, **settings),
            tokenizer_digest="a" * 64,
            bundle_tokenizer_digest="a" * 64,
            contract=fakes.CONTRACT,
        )

    if message is None:
        check()
        return
    with pytest.raises(initialization.InitializationError, match=message):
        check()


@pytest.mark.parametrize(
    "modules, taken",
    [
        ((), True),
        (("text_tower",), True),
        (("masked_language_head",), True),
        (("bag_of_words_head",), True),
        (("decoder",), True),
        (("heads", "cross_encoder"), True),
        (("video_tower", "cross_encoder"), False),
    ],
)
def test_a_tokenizer_comes_with_the_parts_that_read_its_pieces(modules, taken):
    available = [*MODULES, *MODULE_GROUPS["heads"], "decoder"]
    assert initialization.takes_text(modules, available) is taken


def test_the_heads_are_those_that_the_model_has():
    heads = sorted(MODULE_GROUPS["heads"])
    assert initialization.top_level_names(("heads",), heads) == heads
    without = [name for name in heads if name != "bag_of_words_head"]
    assert initialization.top_level_names(("heads",), without) == without
    with pytest.raises(initialization.InitializationError, match="'heads'"):
        initialization.top_level_names(("heads",), [n for n in without if n != "joint_head"])
