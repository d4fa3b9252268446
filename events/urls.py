"""The REST side of the event log; the stream beside it is a Channels consumer."""

from django.urls import path

from events import views

urlpatterns = [
    path("", views.EventsView.as_view(), name="events"),
    path("ticket/", views.TicketView.as_view(), name="event-ticket"),
    path("types/", views.EventTypesView.as_view(), name="event-types"),
]
