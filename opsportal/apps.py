from celery import signals
from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate, post_save


class OpsPortalConfig(AppConfig):
    name = "opsportal"
    verbose_name = "OpsPortal"

    def ready(self) -> None:
        from events.reports import reporter
        from events.waker import subscription_woken
        from opsportal.roles import grant_roles
        from opsportal.tasks import queue_subscription
        from opsportal.tokens import end_login

        post_migrate.connect(grant_roles, dispatch_uid="opsportal.roles")
        subscription_woken.connect(queue_subscription, dispatch_uid="opsportal.tasks")
        blacklisted = apps.get_model("token_blacklist", "BlacklistedToken")
        post_save.connect(end_login, sender=blacklisted, dispatch_uid="opsportal.tokens")
        # A worker with threads is one process; of one that forks, each child is another.
        for begun in (signals.worker_ready, signals.worker_process_init):
            begun.connect(lambda **_: reporter.start("worker"), weak=False)
        for ended in (signals.worker_shutdown, signals.worker_process_shutdown):
            ended.connect(lambda **_: reporter.stop(), weak=False)
