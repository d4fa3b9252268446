"""The portal's URLs, and one that says what lives in a process: `uncollected_settings`."""

import gc

from django.http import HttpRequest, JsonResponse
from django.urls import path

from events.consumers import EventStreamConsumer
from events.streams import Stream
from opsportal.management.commands.serve import PortalProtocol
from opsportal.urls import urlpatterns as portal_urls


def living(request: HttpRequest) -> JsonResponse:
    """How many there are of what each stream has one of."""
    kinds = [type(found) for found in gc.get_objects()]
    of_a_stream = (Stream, EventStreamConsumer, PortalProtocol)
    return JsonResponse({kind.__name__: kinds.count(kind) for kind in of_a_stream})


urlpatterns = [path("living/", living), *portal_urls]
