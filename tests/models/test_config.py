"""Every shipped config parses and describes a network that can be built."""

import pathlib

import jax
import pytest

from tests import fakes
from videobert_jax import configuration, schema
from videobert_jax.models import variables
from videobert_jax.models.videobert import VideoBert
from videobert_jax.training import state

CONFIGS = sorted(
    path.stem for path in (pathlib.Path(__file__).parents[2] / "configs").glob("[a-z]*.py")
)
# One of each kind of network; tests/sharding/test_golden_shardings.py builds others.
QUICK = ("tiny", "univl_stage2", "videobert_base")
EXPECTED_PARAMETERS = {
    "videobert_base": (160e6, 220e6),
    "videobert_large": (550e6, 750e6),
    "videobert_visual_words": (450e6, 650e6),
    **dict.fromkeys(("howto100m", "videoclip", "youcook2_from_scratch"), (160e6, 220e6)),
    **dict.fromkeys(("univl_stage1", "taco"), (160e6, 220e6)),
    "univl_stage2": (190e6, 250e6),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(of, marks=[pytest.mark.long] * (of not in QUICK)) for of in CONFIGS],
)
def test_a_whole_config_is_a_network(name):
    root = pathlib.Path(__file__).parents[2]
    run = configuration.parse(configuration.load_file(str(root / "configs" / f"{name}.py")))
    config = configuration.resolve_model(
        run, vocabulary_size=run.data.vocabulary_size, feature_dim=1024
    )
    model = VideoBert(config)
    axes = state.parameter_axes(model)
    block = schema.zero_block(
        schema.RowShape(1, run.data.text_length, run.data.video_length, 8, 8, 1024, 0, 8, 0, 0), 2
    )
    structs = variables.structs(config)
    assert jax.eval_shape(model.apply, structs, block).shape == (2, 1)
    is_axes = lambda node: isinstance(node, tuple)  # noqa: E731
    for leaf, names in zip(
        jax.tree.leaves(structs["params"]), jax.tree.leaves(axes, is_leaf=is_axes), strict=True
    ):
        assert leaf.ndim == len(names)
    assert set(structs["params"]) == set(config.modules)
    low, high = EXPECTED_PARAMETERS.get(name, (0, 1e12))
    size = sum(leaf.size for leaf in jax.tree.leaves(structs["params"]))
    assert low <= size <= high, size


def test_heads_must_divide_the_width(tiny_run):
    config = configuration.load_file(str(pathlib.Path(__file__).parents[2] / "configs" / "tiny.py"))
    configuration.apply_override(config, "model.num_heads", "5")
    with pytest.raises(configuration.ConfigError, match="embed_dim=32 is not divisible .*=5"):
        configuration.parse(config)


def test_vocabulary_contradicting_the_tokenizer_is_named(tiny_run):
    import dataclasses

    text = dataclasses.replace(tiny_run.model.text, vocabulary_size=512)
    run = dataclasses.replace(tiny_run, model=dataclasses.replace(tiny_run.model, text=text))
    with pytest.raises(configuration.ConfigError, match="512.*300 pieces, 384"):
        configuration.resolve_model(run, vocabulary_size=300, feature_dim=fakes.FEATURE_DIM)
