from django.apps import AppConfig
from django.db.models.signals import post_migrate


class OpsPortalConfig(AppConfig):
    name = "opsportal"
    verbose_name = "OpsPortal"

    def ready(self) -> None:
        from opsportal.roles import grant_roles

        post_migrate.connect(grant_roles, dispatch_uid="opsportal.roles")
