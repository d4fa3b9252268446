from django.urls import path

from incidents import notification_views as views

app_name = "notifications"
urlpatterns = [
    path("", views.NotificationList.as_view(), name="list"),
    path("read/", views.MarkRead.as_view(), name="read-all"),
    path("<int:pk>/read/", views.MarkRead.as_view(), name="read"),
]
