from incidents.models.automatic import AutomaticIncidents, Watch
from incidents.models.incident import AffectedServer, Comment, Incident
from incidents.models.notification import Notification, NotificationChannel

__all__ = [
    "AffectedServer",
    "AutomaticIncidents",
    "Comment",
    "Incident",
    "Notification",
    "NotificationChannel",
    "Watch",
]
