"""Digests that do not depend on the layout, and manifests that survive being written."""

import itertools
import pathlib

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from videobert_jax.training import manifest


def laid_out(values: np.ndarray, *spec: str | None) -> jax.Array:
    mesh = jax.make_mesh((2, 4), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    return jax.device_put(values, NamedSharding(mesh, PartitionSpec(*spec)))


VALUES = np.arange(8 * 12, dtype=np.float32).reshape(8, 12)


@pytest.mark.parametrize(
    "spec, pieces", [((), 1), (("fsdp",), 4), ((None, "fsdp"), 4), (("data", "fsdp"), 8)]
)
def test_pieces_cover_every_element_once_whatever_the_layout(
    spec: tuple[str | None, ...], pieces: int
):
    boxes = manifest.host_pieces({"kernel": laid_out(VALUES, *spec)})["kernel"]
    assert len(boxes) == pieces
    covered = np.zeros(VALUES.shape, np.int32)
    for start, values in boxes:
        place = tuple(slice(s, s + n) for s, n in zip(start, values.shape, strict=True))
        covered[place] += 1
        np.testing.assert_array_equal(values, VALUES[place])
    assert (covered == 1).all()


@pytest.mark.parametrize("spec", [(), ("fsdp",), ("data", "fsdp")])
def test_a_single_changed_bit_is_found_in_any_layout(spec: tuple[str | None, ...]):
    digested = manifest.digest_pieces(manifest.host_pieces({"x": laid_out(VALUES, *spec)}))
    leaf = manifest.Leaf(VALUES.shape, "float32", tuple(digested["x"]))
    assert leaf.is_whole and manifest.differing_pieces(leaf, VALUES) == []
    changed = VALUES.copy()
    changed.view(np.uint32)[5, 7] ^= 1
    [problem] = manifest.differing_pieces(leaf, changed)
    assert "not those saved" in problem
    assert "saved was float32[8, 12]" in manifest.differing_pieces(leaf, VALUES.astype("int32"))[0]


def test_a_manifest_is_read_as_it_was_written(tmp_path: pathlib.Path):
    piece = manifest.Piece((0, 0), (8, 12), "ab")
    written = manifest.Manifest(
        step=3,
        leaves={"params/kernel": manifest.Leaf((8, 12), "bfloat16", (piece,))},
        data_sha256="d",
        config_sha256="c",
        versions={"jax": "1"},
    )
    manifest.write(tmp_path / "3.json", written)
    assert manifest.read(tmp_path / "3.json") == written
    text = (tmp_path / "3.json").read_text()
    for damaged in (text[:-10], text.replace('"step"', '"stop"'), "[]", '{"format": 9}'):
        (tmp_path / "3.json").write_text(damaged)
        with pytest.raises(manifest.ManifestError, match="3.json"):
            manifest.read(tmp_path / "3.json")


def test_no_flipped_bit_makes_another_manifest(tmp_path: pathlib.Path):
    piece = manifest.Piece((0,), (8,), "ab")
    leaves = {"params/head": manifest.Leaf((8,), "float32", (piece,))}
    written = manifest.Manifest(3, leaves, data_sha256="d", config_sha256="c", versions={})
    path = tmp_path / "3.json"
    manifest.write(path, written)
    content, read = path.read_bytes(), 0
    for place, bit in itertools.product(range(len(content)), range(8)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            assert manifest.read(path) == written, (place, bit)
            read += 1
        except manifest.NewerManifestError:
            pytest.fail(f"said to be of a newer program: bit {bit} of {place}")
        except manifest.ManifestError:
            pass
    assert read < len(content) / 2  # but where white space becomes other white space


def test_names_of_leaves_nest_and_come_back():
    tree = {"a": {"b": 1}, "c": [2, {"d": 3}]}
    named = manifest.named_leaves(tree)
    assert named == {"a/b": 1, "c/0": 2, "c/1/d": 3}
    assert manifest.named_leaves(manifest.nested(named)) == named


def test_the_digest_of_a_tree_sees_names_dtypes_and_values():
    tree = {"a": VALUES, "b": np.zeros(3, np.float32)}
    same = {"b": np.zeros(3, np.float32), "a": laid_out(VALUES, "fsdp")}
    others = (
        {"a": VALUES, "c": tree["b"]},
        {"a": VALUES, "b": np.zeros(3, np.int32)},
        {"a": VALUES + 1, "b": tree["b"]},
        {"a": VALUES.reshape(12, 8), "b": tree["b"]},
    )
    digest = manifest.tree_digest(tree)
    assert manifest.tree_digest(same) == digest
    assert digest not in {manifest.tree_digest(other) for other in others}
