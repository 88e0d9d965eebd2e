"""What libraries of buckets raise comes as an error of files; see tests/parity/test_buckets.py."""

import pytest

from videobert_jax.files import storage


class _Object:
    """A path of a bucket, which answers with an error."""

    def __init__(self, error: Exception):
        self._error = error

    def __fspath__(self) -> str:
        return "gs://bucket/a"

    __str__ = __fspath__

    def stat(self):
        raise self._error


class _HttpError(Exception):
    pass


def test_a_store_that_does_not_say_a_size_raises_an_error_of_files():
    with pytest.raises(OSError, match="gs://bucket/a: _HttpError: 503, backend error"):
        storage.size(_Object(_HttpError("503, backend error")))
    with pytest.raises(FileNotFoundError):
        storage.size(_Object(FileNotFoundError("a")))


@pytest.mark.parametrize("scheme", ["nonsense", "memory", "ftp"])  # unknown to fsspec, to etils
def test_a_url_of_another_kind_is_refused_by_name(scheme: str):
    with pytest.raises(storage.StorageError, match=f"{scheme}:// cannot be used.*gs://BUCKET"):
        storage.path(f"{scheme}://there/file")
