"""What all REST endpoints share: pages of lists, and errors with a `detail`."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, RequestDataTooBig
from django.db import IntegrityError
from django.db.models import ProtectedError
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions, status
from rest_framework.pagination import PageNumberPagination
from rest_framework.response import Response
from rest_framework.views import exception_handler as rest_exception_handler

logger = logging.getLogger(__name__)


class PageNumbers(PageNumberPagination):
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500


class BodyTooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request's body is too large."


class Clash(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = "Somebody else wrote what contradicts it at the same moment. Try it again."


class InUse(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT

    def __init__(self, error: ProtectedError) -> None:
        users = Counter(row._meta.verbose_name for row in error.protected_objects)
        named = ", ".join(f"{count} × {name}" for name, count in sorted(users.items()))
        super().__init__(f"It is still used: {named}.")


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's, but every answer has a `detail`; the fields' errors are in `errors`."""
    if isinstance(error, RequestDataTooBig):
        error = BodyTooLarge()
    elif isinstance(error, RecursionError):
        error = exceptions.ParseError("The request's body is nested too deeply.")
    elif isinstance(error, ProtectedError):
        error = InUse(error)
    elif isinstance(error, IntegrityError):
        logger.warning("The database refused a write", exc_info=error)
        error = Clash()
    elif isinstance(error, ObjectDoesNotExist):
        # Between its being found and its being locked, somebody deleted it.
        logger.warning("A row is gone", exc_info=error)
        error = Http404()
    response = rest_exception_handler(error, context)
    if response is not None and not (isinstance(response.data, dict) and "detail" in response.data):
        response.data = {"detail": "The input is not valid.", "errors": response.data}
    return response


@csrf_exempt  # or a POST to nowhere would be refused for its missing token, in HTML
def not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return JsonResponse({"detail": "Not found."}, status=404)
