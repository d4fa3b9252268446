"""Django's model permissions, asked for on reads too."""

from typing import Any

from rest_framework.permissions import DjangoModelPermissions


class ModelPermissions(DjangoModelPermissions):
    """REST framework's own asks nothing for GET; here reading needs `view`.

    A view whose action needs another permission names it in `action_permissions`, as
    `{"test_connection": "servers.test_server"}`; where it names several, all of them are needed.
    """

    perms_map = DjangoModelPermissions.perms_map | {
        "GET": ["%(app_label)s.view_%(model_name)s"],
        "HEAD": ["%(app_label)s.view_%(model_name)s"],
    }

    def has_permission(self, request: Any, view: Any) -> bool:
        named = getattr(view, "action_permissions", {}).get(getattr(view, "action", None))
        if named is None:
            return super().has_permission(request, view)
        needed = (named,) if isinstance(named, str) else named
        user = request.user
        return bool(user and user.is_authenticated and user.has_perms(needed))
