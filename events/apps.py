from django.apps import AppConfig
from django.core import checks


class EventsConfig(AppConfig):
    name = "events"
    verbose_name = "Events"

    def ready(self) -> None:
        from events import access_changes, catalogue, signals
        from events.checks import check_atomic_requests, check_event_maps, check_proxies

        catalogue.autodiscover()
        signals.connect()
        access_changes.connect()
        checks.register(check_event_maps)
        checks.register(check_proxies)
        checks.register(check_atomic_requests, checks.Tags.database)
