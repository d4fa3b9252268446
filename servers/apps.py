from django.apps import AppConfig
from django.core import checks


class ServersConfig(AppConfig):
    name = "servers"
    verbose_name = "Servers"

    def ready(self) -> None:
        from servers.system_checks import check_field_keys

        checks.register(check_field_keys, checks.Tags.database)
