"""The portal's URLs, and one that says what lives in a process: `uncollected_settings`."""

import gc
from weakref import WeakSet

from django.http import HttpRequest, JsonResponse
from django.urls import path

from events.consumers import CONNECTION, EventStreamConsumer
from events.streams import Stream
from opsportal.management.commands.serve import PortalProtocol
from opsportal.urls import urlpatterns as portal_urls

asking: WeakSet[PortalProtocol] = WeakSet()  # which what Django leaves as garbage keeps


def living(request: HttpRequest) -> JsonResponse:
    """How many there are of what each stream has one of, but for what is of such a request."""
    asking.add(request.scope[CONNECTION])  # type: ignore[attr-defined]
    kinds = [type(found) for found in gc.get_objects()]
    of_a_stream = (Stream, EventStreamConsumer, PortalProtocol)
    counts = {kind.__name__: kinds.count(kind) for kind in of_a_stream}
    counts["PortalProtocol"] -= len(asking)
    return JsonResponse(counts)


urlpatterns = [path("living/", living), *portal_urls]
