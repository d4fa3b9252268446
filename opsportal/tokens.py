"""What the token endpoints take: simplejwt's serializers, but strict, and prepared for more."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from rest_framework import exceptions, serializers
from rest_framework_simplejwt.serializers import (
    PasswordField,
    TokenObtainPairSerializer,
    TokenRefreshSerializer,
)

from events.api import access_changed
from servers.serializers import StrictMixin


class TokenObtain(StrictMixin, TokenObtainPairSerializer):
    """A login; a password is taken as it is, also with spaces around it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"] = PasswordField(trim_whitespace=False)


class TokenRefresh(StrictMixin, TokenRefreshSerializer):
    """A refresh; the token of a user who was deleted is refused as that of an inactive one."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        try:
            return super().validate(attrs)
        except ObjectDoesNotExist as error:
            detail = self.error_messages["no_active_account"]
            raise exceptions.AuthenticationFailed(detail, "no_active_account") from error


class TokenPair(serializers.Serializer):
    """What a login and a refresh answer."""

    access = serializers.CharField()
    refresh = serializers.CharField()


class TokenEnd(StrictMixin, serializers.Serializer):
    refresh = serializers.CharField(max_length=4000)


def tell_of_blacklisting(instance: Any, **_: Any) -> None:
    """A refresh token that is spent, or was withdrawn: its user's rights are read again."""
    access_changed(instance.token.user_id, "token blacklisted")
