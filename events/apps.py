from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate


class EventsConfig(AppConfig):
    name = "events"
    verbose_name = "Events"

    def ready(self) -> None:
        from events import access_changes, catalogue, settings_checks, signals, upkeep
        from events.checks import (
            check_event_maps,
            check_proxies,
            check_querysets,
            check_subscriptions,
        )

        catalogue.autodiscover()
        signals.connect()
        access_changes.connect()
        post_migrate.connect(upkeep.make_rows, sender=self, dispatch_uid="events.upkeep")
        checks.register(check_event_maps)
        checks.register(check_proxies)
        checks.register(check_querysets)
        checks.register(check_subscriptions)
        for check in settings_checks.CHECKS:
            checks.register(check)
