"""Requests that are not answered, with the HTTP status that says so."""

from http import HTTPStatus


class Refusal(ValueError):
    """A request that is refused; its text is shown to whoever asked."""

    def __init__(self, status: HTTPStatus, text: str):
        super().__init__(text)
        self.status = status


def bad(text: str) -> Refusal:
    """A request that is not what it should be (400)."""
    return Refusal(HTTPStatus.BAD_REQUEST, text)


def unknown(text: str) -> Refusal:
    """A thing that is not there (404)."""
    return Refusal(HTTPStatus.NOT_FOUND, text)
