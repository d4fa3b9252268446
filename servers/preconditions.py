"""Edits that are not lost: an ETag for one object, and If-Match where it is written.

RFC 9110, sections 8.8.3 and 13.1.1. The tag stands for what can be edited; what tests write beside
it makes nobody's edit stale.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import F
from django.db.models.functions import Cast
from django.utils.http import parse_etags
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from servers.encryption import EncryptedTextField

if TYPE_CHECKING:
    _Base = ModelViewSet[Any]
else:
    _Base = object

WRITES = frozenset({"update", "partial_update", "destroy"})


class Stale(APIException):
    """The caller's edit is of a state that is past; `current` is the present one, with its tag."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = "It was changed meanwhile. Look at its current state, and edit that."

    def __init__(self, current: dict[str, Any], tag: str) -> None:
        super().__init__()
        self.current, self.tag = current, tag


def etag(model: type[models.Model], pk: Any) -> str:
    """The tag of what can be edited of a row, as it is stored; secrets are not decrypted.

    Raises Http404.
    """
    fields = [field for field in model._meta.concrete_fields if field.editable]
    columns = [
        Cast(field.attname, models.TextField())
        if isinstance(field, EncryptedTextField)
        else F(field.attname)
        for field in fields
    ]
    row = get_object_or_404(model._base_manager.values_list(*columns), pk=pk)
    return f'"{hashlib.sha256(repr(row).encode()).hexdigest()[:32]}"'


class ConditionalEditsMixin(_Base):
    """An answer with one object has its ETag, from before the object was read.

    A row that is about to be written is locked; a write whose If-Match names another tag than the
    row has then gets 412 with the current state.
    """

    def get_object(self) -> Any:
        if self.action not in WRITES:
            return super().get_object()
        self._lock()
        instance = super().get_object()
        wanted = self.request.headers.get("If-Match")
        if wanted is not None:
            tags, tag = parse_etags(wanted), etag(type(instance), instance.pk)
            if tags != ["*"] and tag not in tags:
                raise Stale(self.get_serializer(instance).data, tag)
        return instance

    def _lock(self) -> None:
        """A write decides by what it reads; and of two deletions at once, only one finds the row.

        Apart from reading it: where PostgreSQL had to wait for a lock, it shows the new row beside
        the rows that the old one was joined with.
        """
        rows = self.get_queryset().model._base_manager.select_for_update().values_list("pk")
        get_object_or_404(rows, pk=self.kwargs["pk"])

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        tag = etag(self.get_queryset().model, self.kwargs["pk"])
        response = super().retrieve(request, *args, **kwargs)
        response["ETag"] = tag
        return response

    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response = super().update(request, *args, **kwargs)
        response["ETag"] = etag(self.get_queryset().model, self.kwargs["pk"])
        return response

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response = super().create(request, *args, **kwargs)
        response["ETag"] = etag(self.get_queryset().model, response.data["id"])
        return response

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        if isinstance(exc, Stale):
            # Read before: the transaction is to be rolled back now, and answers nothing more.
            response.data["current"] = exc.current
            response["ETag"] = exc.tag
        return response
