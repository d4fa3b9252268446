from django.urls import path

from servers import page_actions, transfer_views, views

app_name = "servers"
urlpatterns = [
    path("", views.ServerList.as_view(), name="list"),
    path("import/", transfer_views.ImportServers.as_view(), name="import"),
    path("export/", transfer_views.ExportServers.as_view(), name="export"),
    path("bulk/test/", page_actions.TestMany.as_view(), name="bulk-test"),
    path(
        "bulk/maintenance/",
        page_actions.BeginMaintenanceOfMany.as_view(),
        name="bulk-maintenance",
    ),
    path(
        "bulk/maintenance/end/",
        page_actions.EndMaintenanceOfMany.as_view(),
        name="bulk-maintenance-end",
    ),
    path("bulk/tags/", page_actions.TagMany.as_view(), name="bulk-tags"),
    path("<int:pk>/", views.ServerDetail.as_view(), name="detail"),
    path("<int:pk>/test/", page_actions.TestConnection.as_view(), name="test"),
    path("<int:pk>/host-key/", page_actions.AcceptHostKey.as_view(), name="host-key"),
    path("<int:pk>/maintenance/", page_actions.BeginMaintenance.as_view(), name="maintenance"),
    path(
        "<int:pk>/maintenance/end/", page_actions.EndMaintenance.as_view(), name="maintenance-end"
    ),
]
