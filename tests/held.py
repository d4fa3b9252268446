"""A portal with views whose computations are counted and held from outside: `held_settings`.

A test's name is part of its path, so that tests share a portal and no answer. In the directory of
that name in VAR_DIR, the files `arrived` and `computed` have a line for each request that passed
the view's checks, and for each computation that began: the process' id. No computation ends before
there is a file `gate`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import transaction
from django.urls import path
from django.utils.decorators import method_decorator
from rest_framework import exceptions, status
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events.api import deduplicate
from opsportal.urls import urlpatterns as portal_urls
from tests.services import wait_until

LONGEST: Final = 60  # seconds that the gate stays closed at the most


class Refusal(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT


def note(test: str, name: str) -> None:
    with Path(settings.VAR_DIR, test, name).open("a") as file:
        file.write(f"{os.getpid()}\n")


def noted(directory: Path, name: str) -> list[int]:
    path = directory / name
    return [int(line) for line in path.read_text().split()] if path.exists() else []


class Arrival(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        note(view.kwargs["test"], "arrived")
        return True


def held_answer(request: Request, rights: frozenset[str], test: str) -> Response:
    note(test, "computed")
    wait_until(Path(settings.VAR_DIR, test, "gate").exists, LONGEST, "the gate is open")
    if "fail" in request.query_params:
        raise Refusal(f"Refused by {os.getpid()}.")
    return Response({"process": os.getpid(), "rights": sorted(rights)})


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Held(APIView):
    permission_classes = (IsAuthenticated, Arrival)
    rights: frozenset[str]

    @deduplicate(ttl=LONGEST, lock=LONGEST)
    def get(self, request: Request, test: str) -> Response:
        return held_answer(request, self.rights, test)


class ShortlyHeld(Held):
    """Whose leader is replaced after a second."""

    @deduplicate(ttl=0, lock=1)
    def get(self, request: Request, test: str) -> Response:
        return held_answer(request, self.rights, test)


urlpatterns = [
    path("held/<str:test>/", Held.as_view()),
    path("shortly-held/<str:test>/", ShortlyHeld.as_view()),
    *portal_urls,
]
