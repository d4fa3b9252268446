"""What the admin must not show."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from rest_framework_simplejwt.token_blacklist.admin import OutstandingTokenAdmin
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

admin.site.unregister(OutstandingToken)


@admin.register(OutstandingToken)
class RefreshTokenAdmin(OutstandingTokenAdmin):
    """simplejwt's, without the token: whoever copied it could act as its user."""

    exclude = ("token",)

    def get_readonly_fields(self, *args: Any, **kwargs: Any) -> list[str]:
        return [name for name in super().get_readonly_fields(*args, **kwargs) if name != "token"]
