"""What applications and extensions call is described: names, shapes, seconds, errors."""

import dataclasses
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import videobert_jax
from docs import api
from videobert_jax import schema
from videobert_jax.data import index, segments
from videobert_jax.data.datasets import annotated
from videobert_jax.data.writer import DatasetWriter
from videobert_jax.export.errors import ExportError
from videobert_jax.files.extras import MissingExtra
from videobert_jax.inference.inputs import InputError
from videobert_jax.inference.search import SearchModel
from videobert_jax.loading import LoadError
from videobert_jax.objectives import passes
from videobert_jax.search_index import Index, SearchIndexError, building
from videobert_jax.tasks import report
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.video import clips, extract

# Of applications: all that `videobert_jax` offers, and what docs/search.md names. Of extensions:
# what docs/extending.md names.
SEARCH = (Index, building.update, building.remove, building.rebuild, building.Options)
APPLICATIONS = (
    *(getattr(videobert_jax, name) for name in videobert_jax.__all__),
    SearchModel,
    *SEARCH,
)
ERRORS = (InputError, LoadError, ExportError, MissingExtra, SearchIndexError)
EXTENSIONS = (
    annotated.Corpus,
    segments.Segment,
    index.Dataset,
    DatasetWriter,
    schema.Batch,
    passes.Encoded,
    passes.apply,
    EvaluationContext,
    report.TaskResult,
    clips.ClipSettings,
    extract.Backbone,
)
_ERROR = re.compile(r"\b[Rr]aise[sd]?\b")
_SHAPE = re.compile(r"\[[^\]\"]+\]")  # [b, joint]


class Described(NamedTuple):
    """A callable with what is said of it: by itself, and where all methods of its class are."""

    name: str
    call: Callable[..., Any]
    own: str
    text: str


def said(thing: Any) -> str:
    """The docstring that something has itself: dataclasses and tuples make up one that says
    nothing."""
    text = inspect.getdoc(thing) or ""
    made_up = inspect.isclass(thing) and text.startswith(f"{thing.__name__}(")
    return "" if made_up else text


def described(things: tuple[Any, ...]) -> Iterator[Described]:
    """Functions, and methods and properties of classes but those that Python itself calls."""
    for thing in things:
        if not inspect.isclass(thing):
            yield Described(thing.__name__, thing, said(thing), said(thing))
            continue
        for name, member in inspect.getmembers_static(thing):
            call = getattr(member, "fget", None) or getattr(member, "__func__", member)
            of_ours = (getattr(call, "__module__", None) or "").startswith("videobert_jax")
            if name.startswith("_") or not inspect.isfunction(call) or not of_ours:
                continue
            own = said(call)
            yield Described(f"{thing.__name__}.{name}", call, own, f"{own}\n{said(thing)}")


def parameters(call: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(call).parameters if name not in ("self", "cls")]


def names(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def result_of(call: Callable[..., Any]) -> Any:
    return inspect.signature(call).return_annotation


def ours_in(annotation: Any) -> Iterator[type]:
    """Classes of this package that a type is made of."""
    for inner in typing.get_args(annotation):
        yield from ours_in(inner)
    if inspect.isclass(annotation) and annotation.__module__.startswith("videobert_jax"):
        yield annotation


CALLS = list(described((*APPLICATIONS, *EXTENSIONS)))
RESULTS = {of for each in described(APPLICATIONS) for of in ours_in(result_of(each.call))}
PUBLIC = dict.fromkeys((*APPLICATIONS, *EXTENSIONS, *ERRORS, *RESULTS))
CLASSES = sorted(filter(inspect.isclass, PUBLIC), key=lambda thing: thing.__name__)


def test_there_is_something_to_describe():
    found = {of.name for of in CALLS}
    assert {"load", "PretrainedModel.encode_video", "SearchModel.search"} <= found
    assert {"DatasetWriter.add_video", "apply", "PretrainedModel.features"} <= found
    results = {"Answer", "Told", "TimedCaption", "Localization", "WordAttention", "Hit", "Report"}
    assert results <= {thing.__name__ for thing in CLASSES}


@pytest.mark.parametrize("of", CALLS, ids=lambda of: of.name)
def test_every_parameter_is_named(of):
    assert of.own, f"{of.name} has no docstring"
    missing = [name for name in parameters(of.call) if not names(of.text, name)]
    assert not missing, f"{of.name} says nothing of {missing}"


@pytest.mark.parametrize("thing", CLASSES, ids=lambda thing: thing.__name__)
def test_every_field_is_named(thing):
    """Those of dataclasses and tuples, in the docstring of the class or a comment behind them."""
    assert said(thing), f"{thing.__name__} has no docstring"
    fields = getattr(thing, "_fields", None) or [
        field.name
        for field in (dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ())
    ]
    source = inspect.getsource(thing) if fields else ""
    missing = [
        name
        for name in fields
        if not names(said(thing), name)
        and not re.search(rf"^    {name}: [^\n]*(?:\(\n[^\n]*)?  # ", source, re.M)
    ]
    assert not missing, f"{thing.__name__} says nothing of {missing}"


@pytest.mark.parametrize("of", CALLS, ids=lambda of: of.name)
def test_errors_are_said(of):
    """Of applications by all that take something, of the rest where their own lines raise."""
    first = of.name.split(".")[0]
    of_applications = any(thing.__name__ == first for thing in APPLICATIONS)
    raises = " raise " in inspect.getsource(of.call)
    if not raises and not (of_applications and parameters(of.call)):
        return
    assert _ERROR.search(of.text), f"{of.name} does not say what it raises"


@pytest.mark.parametrize("of", CALLS, ids=lambda of: of.name)
def test_arrays_have_shapes_and_times_have_units(of):
    result = result_of(of.call)
    if "ndarray" in str(result) and "Float[" not in str(result) and "Int[" not in str(result):
        assert _SHAPE.search(of.text), f"{of.name} gives arrays of a shape that is not said"
    fields = getattr(result, "_fields", ())
    of_arrays = [name for name in fields if result.__annotations__[name] is np.ndarray]
    if of_arrays:
        assert _SHAPE.search(said(result)), f"{result.__name__} does not say its shapes"
    timed = {"seconds", "start", "end", "segments", "maximum_seconds"} & set(parameters(of.call))
    if timed or {"seconds", "start", "end"} & set(fields):
        assert names(f"{of.text} {said(result)}", "seconds"), f"{of.name}: in which unit?"


def test_what_is_documented_is_importable_by_its_page():
    """`make docs` makes a page of each module that holds one of these."""
    assert {thing.__module__ for thing in PUBLIC} <= set(api.PAGES)
    assert all(importlib.import_module(page).__doc__ for page in api.PAGES)
