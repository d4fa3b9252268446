from typing import Any

from django.apps import AppConfig
from django.db.models.signals import pre_delete


class IncidentsConfig(AppConfig):
    name = "incidents"
    verbose_name = "Incidents"

    def ready(self) -> None:
        pre_delete.connect(keep_names, sender="servers.Server", dispatch_uid="incidents")


def keep_names(instance: Any, **_: Any) -> None:
    from incidents import services

    services.keep_names(instance)
