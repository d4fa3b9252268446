from django.urls import path

from automation import editing, page_actions, views

app_name = "automations"
urlpatterns = [
    path("", views.AutomationList.as_view(), name="list"),
    path("new/", editing.NewAutomation.as_view(), name="new"),
    path("<int:pk>/", views.AutomationDetail.as_view(), name="detail"),
    path("<int:pk>/edit/", editing.EditAutomation.as_view(), name="edit"),
    path("<int:pk>/run/", page_actions.StartRun.as_view(), name="start"),
    path("<int:pk>/delete/", page_actions.DeleteAutomation.as_view(), name="delete"),
    path("runs/", views.RunList.as_view(), name="runs"),
    path("runs/<int:pk>/", views.RunDetail.as_view(), name="run"),
    path("runs/<int:pk>/cancel/", page_actions.CancelRun.as_view(), name="cancel"),
    path("runs/<int:pk>/retry/", page_actions.RetryRun.as_view(), name="retry"),
]
