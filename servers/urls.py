from django.urls import path

from servers import views

app_name = "servers"
urlpatterns = [
    path("", views.ServerList.as_view(), name="list"),
    path("<int:pk>/test/", views.TestConnection.as_view(), name="test"),
]
