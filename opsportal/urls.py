from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView
from rest_framework.routers import DefaultRouter

import opsportal.openapi  # noqa: F401  (drf-spectacular finds what has been imported)
from automation.api import AutomationViewSet, RunViewSet
from incidents.api import ChannelViewSet, IncidentStats, IncidentViewSet, NotificationViewSet
from opsportal import monitor, views
from opsportal.dashboard import DashboardStats
from opsportal.explorer import Explorer
from opsportal.metrics import Metrics
from opsportal.overview import Overview
from opsportal.rest import not_found
from servers.api import CredentialViewSet, EnvironmentViewSet, ServerViewSet

admin.site.site_header = admin.site.site_title = "OpsPortal"
admin.site.index_title = "Administration"

router = DefaultRouter()
router.include_root_view = False
router.register("servers", ServerViewSet, basename="server")
router.register("credentials", CredentialViewSet, basename="credential")
router.register("incidents", IncidentViewSet, basename="incident")
router.register("notification-channels", ChannelViewSet, basename="notification-channel")
router.register("notifications", NotificationViewSet, basename="notification")
router.register("environments", EnvironmentViewSet, basename="environment")
router.register("automations", AutomationViewSet, basename="automation")
router.register("runs", RunViewSet, basename="run")

api: list[URLPattern | URLResolver] = [
    path("auth/token/", views.Login.as_view(), name="token"),
    path("auth/token/refresh/", views.Refresh.as_view(), name="token-refresh"),
    path("auth/logout/", views.Logout.as_view(), name="token-logout"),
    path("events/", include("events.urls")),
    path("events/processes/", monitor.Processes.as_view(), name="processes"),
    path("dashboard/stats/", DashboardStats.as_view(), name="dashboard-stats"),
    path("incidents/stats/", IncidentStats.as_view(), name="incident-stats"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", views.ApiDocs.as_view(url_name="schema"), name="docs"),
    path("", include(router.urls)),
    re_path(r"", not_found),
]

urlpatterns = [
    path("", Overview.as_view(), name="home"),
    path("login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("servers/", include("servers.urls")),
    path("incidents/", include("incidents.urls")),
    path("notifications/", include("incidents.notification_urls")),
    path("automations/", include("automation.urls")),
    path("events/", Explorer.as_view(), name="explorer"),
    path("streams/", monitor.Monitor.as_view(), name="streams"),
    path("admin/", admin.site.urls),
    path("api/v1/", include(api)),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", Metrics.as_view(), name="metrics"),
]

handler500 = "opsportal.trouble.server_error"
