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
    """The caller's edit is of a state that is past; `instance` is in the present one."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = "It was changed meanwhile. Look at its current state, and edit that."

    def __init__(self, instance: models.Model) -> None:
        super().__init__()
        self.instance = instance


def etag(model: type[models.Model], pk: Any) -> str:
    """The tag of what can be edited of a row, as it is stored; secrets are not decrypted."""
    fields = [field for field in model._meta.concrete_fields if field.editable]
    columns = [
        Cast(field.attname, models.TextField())
        if isinstance(field, EncryptedTextField)
        else F(field.attname)
        for field in fields
    ]
    row = model._base_manager.filter(pk=pk).values_list(*columns).first()
    return f'"{hashlib.sha256(repr(row).encode()).hexdigest()[:32]}"'


class ConditionalEditsMixin(_Base):
    """For a ModelViewSet that locks the rows it is about to write.

    An answer with one object has its ETag, from before the object was read; a write whose If-Match
    names another gets 412 with the current state.
    """

    def get_object(self) -> Any:
        instance = super().get_object()
        wanted = self.request.headers.get("If-Match")
        if wanted is not None and self.action in WRITES:
            tags = parse_etags(wanted)
            if tags != ["*"] and etag(type(instance), instance.pk) not in tags:
                raise Stale(instance)
        return instance

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
            response.data["current"] = self.get_serializer(exc.instance).data
            response["ETag"] = etag(type(exc.instance), exc.instance.pk)
        return response
