"""Search against NumPy, moments told once, and indexes that are refused."""

import dataclasses
import json

import numpy as np
import pytest

from tests import bundles, fakes
from tests.search_index import made
from videobert_jax.export import safetensors
from videobert_jax.files import digests
from videobert_jax.inference.model import InputError, PretrainedModel
from videobert_jax.search_index import Index, SearchIndexError, building, manifest, vectors

pytest.importorskip("faiss", reason="faiss is not installed")

DIM = 24
GIVEN = [made.vectors(count, DIM, seed) for seed, count in enumerate((30, 1, 57, 200, 12))]
QUERIES = made.vectors(9, DIM, 77).astype(np.float32)


def expected(given, queries):
    """((file, window) of every vector, best first; scores) by NumPy alone."""
    places = [(f"/videos/{n}.mp4", w) for n, values in enumerate(given) for w in range(len(values))]
    scores = queries @ np.concatenate(given).astype(np.float32).T
    return [[(*places[i], row[i]) for i in np.argsort(-row)] for row in scores]


def told(hits):
    """(file, window) of hits, by the start of `made.WINDOWS`."""
    return [(hit.file, hit.start / 2) for hit in hits]


def test_an_exact_index_gives_what_numpy_sorts(tmp_path):
    made.index(tmp_path, GIVEN, "exact")
    found = Index.open(tmp_path).search(QUERIES, 50, merge=1)
    for hits, rows in zip(found, expected(GIVEN, QUERIES), strict=True):
        assert told(hits) == [(file, window) for file, window, _ in rows[:50]]
        np.testing.assert_allclose([hit.score for hit in hits], [r[2] for r in rows[:50]], 1e-5)
        assert all(hit.end == hit.start + 4 for hit in hits)


def test_all_segments_are_told_where_more_are_asked_for(tmp_path):
    made.index(tmp_path, GIVEN, "exact")
    (hits,) = Index.open(tmp_path).search(QUERIES[0], 1000, merge=1)
    assert len(hits) == 300 == len(set(told(hits)))


def test_an_approximate_index_finds_nearly_all_and_says_how_many_it_measured(tmp_path):
    given = [made.vectors(500, DIM, seed, 400) for seed in range(12)]
    written = made.index(tmp_path, given, "approximate").vectors
    assert written.kind == "approximate" and written.lists == 64
    assert written.recall >= vectors.TARGET_RECALL
    queries = made.vectors(200, DIM, 78, 400).astype(np.float32)
    opened, rows = Index.open(tmp_path), expected(given, queries)

    def recall(**options):
        hits = opened.search(queries, 10, merge=1, **options)
        shared = [
            len({*told(h)} & {r[:2] for r in row[:10]}) for h, row in zip(hits, rows, strict=True)
        ]
        return np.mean(shared) / 10

    assert recall(probes=64) == 1
    assert recall() >= 0.95 and recall() > recall(probes=1)
    scores = {row[:2]: row[2] for row in rows[0]}  # those of what is found are exact
    for hit in opened.search(queries[0], 10)[0]:
        assert abs(scores[hit.file, hit.start / 2] - hit.score) < 1e-3


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_a_moment_is_told_once(tmp_path, kind):
    """Against suppression written out: windows of 4 s, 2 s apart, share a half."""
    made.index(tmp_path, GIVEN, kind)
    opened = Index.open(tmp_path)
    options = {} if kind == "exact" else {"probes": opened.manifest.vectors.lists}
    for merge, apart in ((0.25, 2), (0.5, 1), (0.0, 2), (1.0, 1)):
        for hits, rows in zip(
            opened.search(QUERIES, 40, merge=merge, **options),
            expected(GIVEN, QUERIES),
            strict=True,
        ):
            kept = []
            for file, window, _ in rows:
                if all(file != f or abs(window - w) >= apart for f, w in kept):
                    kept.append((file, window))
            assert told(hits) == kept[:40]


def test_windows_of_other_files_at_the_same_seconds_stay(tmp_path):
    same = np.tile(made.vectors(1, DIM, 0), (3, 1))
    made.index(tmp_path, [same, same], "exact")
    (hits,) = Index.open(tmp_path).search(same[0].astype(np.float32))
    assert told(hits) == [(f"/videos/{n}.mp4", w) for n in (0, 1) for w in (0, 2)]


def test_few_vectors_are_enough_for_an_approximate_index(tmp_path):
    made.index(tmp_path, [GIVEN[1]], "approximate")
    assert told(Index.open(tmp_path).search(GIVEN[1].astype(np.float32))[0]) == [
        ("/videos/0.mp4", 0)
    ]


def test_settings_out_of_range_are_refused(tmp_path):
    made.index(tmp_path, GIVEN, "exact")
    opened = Index.open(tmp_path)
    for arguments, message in (
        ({"top_k": 0}, "top_k=0"),
        ({"merge": 1.5}, "merge=1.5"),
        ({"probes": 3}, "probes=3: an exact index reads all"),
    ):
        with pytest.raises(SearchIndexError, match=message):
            opened.search(QUERIES, **arguments)
    building.rebuild(tmp_path, "approximate")
    with pytest.raises(SearchIndexError, match="probes=17; expected 1 to 16"):
        Index.open(tmp_path).search(QUERIES, probes=17)
    for wrong in (QUERIES[:, :5], QUERIES * np.nan, QUERIES[None]):
        with pytest.raises(SearchIndexError, match="expected finite vectors"):
            opened.search(wrong)


def damage(path, place=-5):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_damaged_vectors_are_noticed_and_made_anew(tmp_path, kind):
    path = tmp_path / made.index(tmp_path, GIVEN, kind).vectors.file
    before = path.read_bytes()
    damage(path)
    with pytest.raises(SearchIndexError, match="is damaged.*videobert index rebuild --index="):
        Index.open(tmp_path)
    path.write_bytes(before[:-1])
    with pytest.raises(SearchIndexError, match=f"has {len(before) - 1} bytes, {len(before)} were"):
        Index.open(tmp_path, verify=False)
    path.unlink()
    with pytest.raises(SearchIndexError, match="is gone"):
        Index.open(tmp_path)
    building.rebuild(tmp_path)
    assert path.read_bytes() == before


def test_an_index_that_is_changed_while_it_is_opened_is_opened_as_it_is_then(tmp_path, monkeypatch):
    made.index(tmp_path, GIVEN, "exact")
    read = vectors.read

    def meanwhile(*arguments, **options):
        monkeypatch.setattr(vectors, "read", read)
        building.remove(tmp_path, ["/videos/0.mp4"])
        return read(*arguments, **options)

    monkeypatch.setattr(vectors, "read", meanwhile)
    assert Index.open(tmp_path).num_segments == 270


def test_a_damaged_manifest_or_shard_is_noticed(tmp_path):
    files = made.index(tmp_path, GIVEN, "exact").files
    shard = building.shards.path_of(tmp_path, files[2].key)
    damage(shard)
    with pytest.raises(SearchIndexError, match=f"{shard.name}: its vectors are not those"):
        building.rebuild(tmp_path)
    with pytest.raises(SearchIndexError, match="not readable: File name too long"):
        building.shards.read(tmp_path, "x" * 300, "")
    path = tmp_path / manifest.FILE
    path.write_text(path.read_text().replace("/videos/3.mp4", "/videos/4.mp4"))
    with pytest.raises(SearchIndexError, match="is damaged .its content is not what was written"):
        Index.open(tmp_path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(SearchIndexError, match="is damaged .JSONDecodeError"):
        Index.open(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("maker/dim", True, "maker.dim is True"),
        ("windows/hop", "2", "windows.hop is '2'"),
        ("files/0/number", 0.5, "file.number is 0.5"),
        ("vectors/size", None, "vectors.size is None"),
    ],
)
def test_a_manifest_of_other_types_is_refused_whoever_signed_it(tmp_path, place, value, message):
    made.index(tmp_path, GIVEN, "exact")
    path = tmp_path / manifest.FILE
    fields = json.loads(path.read_text())
    del fields["sha256"]
    *parents, leaf = place.split("/")
    node = fields
    for name in parents:
        node = node[int(name) if name.isdigit() else name]
    node[leaf] = value
    path.write_text(json.dumps({**fields, "sha256": digests.sha256_json(fields)}))
    with pytest.raises(SearchIndexError, match=message):
        Index.open(tmp_path)


def test_folders_that_are_no_index_and_newer_ones_are_refused(tmp_path):
    with pytest.raises(SearchIndexError, match="holds no search index"):
        Index.open(tmp_path)
    made.index(tmp_path, GIVEN, "exact")
    path = tmp_path / manifest.FILE
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "version": 2}))
    with pytest.raises(SearchIndexError, match="has the version 2, this package reads 1; update"):
        Index.open(tmp_path)
    path.write_text(json.dumps({**fields, "format": "other"}))
    with pytest.raises(SearchIndexError, match="of the format 'other'"):
        Index.open(tmp_path)


@pytest.fixture(scope="module")
def bundle(tiny_run):
    return dataclasses.replace(bundles.tiny(tiny_run), contract=fakes.CONTRACT)


def never():
    raise AssertionError("nothing is to be extracted")


@pytest.fixture
def indexed(bundle, tmp_path):
    """(folder, folder of the export) of an index of features by the tiny model."""
    safetensors.save_bundle(bundle, tmp_path / "export")
    videos = made.features(tmp_path / "videos", {"a": 30, "b": 7})
    options = building.Options(checkpoint=str(tmp_path / "export"))
    building.update(tmp_path / "i", PretrainedModel(bundle), [videos], never, options)
    return tmp_path / "i", tmp_path / "export"


def test_a_sentence_is_searched_by_the_export_that_made_the_index(indexed, bundle):
    folder, _ = indexed
    model = PretrainedModel(bundle)
    hits, other = Index.open(folder).search(["cut the onion", "add chopped carrot"], merge=1)
    clips = np.load(folder.parent / "videos" / "a.npy").astype(np.float32)
    cosines = model.similarity(
        [clips[first : first + 8] for first in (0, 4, 8, 12, 16, 20, 22)], ["cut the onion"]
    )[:, 0]
    of_a = {hit.start: hit.score for hit in hits if hit.file.endswith("a.npy")}
    np.testing.assert_allclose([of_a[s] for s in (0, 4, 8, 12, 16, 20, 22)], cosines, atol=2e-3)
    assert [h.score for h in hits] != [h.score for h in other]


def test_another_model_is_refused(indexed, bundle):
    folder, export = indexed
    stranger = PretrainedModel(dataclasses.replace(bundle, digest="5" * 64, name="stranger"))
    with pytest.raises(
        SearchIndexError,
        match="was made by tiny step 20 .333333333333., .*export, "
        "the model given is stranger step 20 .555555555555.",
    ):
        Index.open(folder, stranger)
    with pytest.raises(SearchIndexError, match="into another folder"):
        building.update(folder, stranger, [folder.parent / "videos"], never, building.Options())
    export.rename(export.with_name("elsewhere"))
    with pytest.raises(
        SearchIndexError, match="not where it was .*export: expected a workdir.*give it"
    ):
        Index.open(folder).search("cut the onion")


def test_texts_without_a_known_word_are_refused(indexed):
    opened = Index.open(indexed[0])
    with pytest.raises(SearchIndexError, match="has no word or letter that the model knows"):
        opened.search("卵を割る")
    with pytest.raises(InputError, match="expected words"):
        opened.search("")
    long = "cut the onion " * 5000
    with pytest.raises(InputError, match="truncate=True"):
        opened.search(long)
    assert opened.search(long, truncate=True)[0]
