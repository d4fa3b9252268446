"""`/metrics`: what all processes report, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from django.db import Error, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import IsAdminUser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from events.models import ProcessReport
from events.reports import recent, reporter
from opsportal.exposition import Reports

READ_TIMEOUT: Final = 2.0  # seconds until a scrape does without the other processes' reports
PROXY_HEADERS: Final = {"forwarded", "via", "x-real-ip"}

# A pool of connections makes its callers wait for long where the database is down.
_reader = ThreadPoolExecutor(1, thread_name_prefix="metrics")


def reports() -> list[ProcessReport]:
    """This process's, as of now, and those of the others, as long as the database answers."""
    own = reporter.current()
    reading = _reader.submit(read_others, own.process)
    try:
        return [own, *reading.result(READ_TIMEOUT)]
    except (Error, TimeoutError):
        reading.cancel()
        return [own]


def read_others(process: str) -> list[ProcessReport]:
    try:
        return list(recent().exclude(process=process))
    finally:
        connection.close()


def is_local(request: HttpRequest) -> bool:
    """Whether the caller is on this machine, and no proxy here speaks for one that is not."""
    names = {name.lower() for name in request.headers}
    if names & PROXY_HEADERS or any(name.startswith("x-forwarded-") for name in names):
        return False
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


class LocalOrStaff(IsAdminUser):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return is_local(request._request) or super().has_permission(request, view)


class OneForm(BaseContentNegotiation):
    """Whatever a scraper accepts, it gets the one form there is; errors are JSON."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        return next(iter(parsers))

    def select_renderer(  # type: ignore[override]
        self, request: Request, renderers: list[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


@extend_schema(exclude=True)
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Metrics(APIView):
    """For callers on this machine, and for staff."""

    permission_classes = (LocalOrStaff,)
    content_negotiation_class = OneForm

    def perform_authentication(self, request: Request) -> None:
        """Only where the permission asks: it needs the database, which may be down."""

    def get(self, request: Request) -> HttpResponse:
        registry = CollectorRegistry()
        registry.register(Reports(reports()))
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
