from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate, post_save


class OpsPortalConfig(AppConfig):
    name = "opsportal"
    verbose_name = "OpsPortal"

    def ready(self) -> None:
        from opsportal.roles import grant_roles
        from opsportal.tokens import tell_of_blacklisting

        post_migrate.connect(grant_roles, dispatch_uid="opsportal.roles")
        blacklisted = apps.get_model("token_blacklist", "BlacklistedToken")
        post_save.connect(tell_of_blacklisting, sender=blacklisted, dispatch_uid="opsportal.tokens")
