from django.urls import path

from incidents import editing, page_actions, views

app_name = "incidents"
urlpatterns = [
    path("", views.IncidentList.as_view(), name="list"),
    path("board/", views.Board.as_view(), name="board"),
    path("new/", editing.OpenIncident.as_view(), name="new"),
    path("bulk/transition/", page_actions.TransitionMany.as_view(), name="bulk-transition"),
    path("bulk/assign/", page_actions.AssignMany.as_view(), name="bulk-assign"),
    path("<int:pk>/", views.IncidentDetail.as_view(), name="detail"),
    path("<int:pk>/edit/", editing.EditIncident.as_view(), name="edit"),
    path("<int:pk>/transition/", page_actions.Transition.as_view(), name="transition"),
    path("<int:pk>/assign/", page_actions.Assign.as_view(), name="assign"),
    path("<int:pk>/comment/", page_actions.Comment.as_view(), name="comment"),
]
