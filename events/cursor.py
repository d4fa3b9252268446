"""How a page or a response joins the stream: the log's position from before its data was read."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from events import log

HEADER = "X-Event-Cursor"


def event_cursor() -> int:
    """The log's last position. Read it before the state that a stream after it continues."""
    return log.head().position


class EventCursorMixin:
    """Gives a view's answers to safe methods the header X-Event-Cursor."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        if request.method in ("GET", "HEAD"):
            self._event_cursor = event_cursor()

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        if hasattr(self, "_event_cursor") and response.status_code < 400:
            response[HEADER] = str(self._event_cursor)
        finalized: Response = super().finalize_response(  # type: ignore[misc]
            request, response, *args, **kwargs
        )
        return finalized
