"""Tokens: simplejwt's, but strict, and with an end that access tokens know of."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.utils import timezone
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import AuthenticationFailed, InvalidToken
from rest_framework_simplejwt.serializers import (
    PasswordField,
    TokenObtainPairSerializer,
    TokenRefreshSerializer,
)
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import RefreshToken, Token
from rest_framework_simplejwt.utils import get_md5_hash_password

from events.api import access_changed
from opsportal.models import EndedLogin
from servers.serializers import StrictMixin

LOGIN: Final = "login"  # the claim: the first refresh token's id, kept through all rotations

_rotating: ContextVar[bool] = ContextVar("rotating", default=False)


class TokenObtain(StrictMixin, TokenObtainPairSerializer):
    """A login; a password is taken as it is, also with spaces around it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"] = PasswordField(trim_whitespace=False)

    @classmethod
    def get_token(cls, user: Any) -> Token:
        token = super().get_token(user)
        token[LOGIN] = token[api_settings.JTI_CLAIM]
        return token


class TokenRefresh(StrictMixin, TokenRefreshSerializer):
    """A refresh; the token of a user who was deleted is refused as that of an inactive one."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        login = RefreshToken(attrs["refresh"]).get(LOGIN)
        if EndedLogin.objects.filter(login=login).exists():
            raise InvalidToken("This login was ended.")
        rotating = _rotating.set(True)
        try:
            return super().validate(attrs)
        except ObjectDoesNotExist as error:
            detail = self.error_messages["no_active_account"]
            raise exceptions.AuthenticationFailed(detail, "no_active_account") from error
        finally:
            _rotating.reset(rotating)


class TokenPair(serializers.Serializer):
    """What a login and a refresh answer."""

    access = serializers.CharField()
    refresh = serializers.CharField()


class TokenEnd(StrictMixin, serializers.Serializer):
    refresh = serializers.CharField(max_length=4000)


class TokenAuthentication(JWTAuthentication):
    """By access token; one whose login was ended is refused."""

    def get_user(self, validated_token: Token) -> Any:
        return self._only(self._find_users([validated_token]))

    def authenticate_many(
        self, requests: Sequence[Request]
    ) -> list[tuple[Any, Token] | exceptions.APIException | None]:
        """For each request what `authenticate` would return or raise, in two queries for all."""
        outcomes = [self._token(request) for request in requests]
        tokens = [outcome for outcome in outcomes if isinstance(outcome, Token)]
        users = iter(self._find_users(tokens))
        return [self._paired(found, users) for found in outcomes]

    def _token(self, request: Request) -> Token | exceptions.APIException | None:
        try:
            header = self.get_header(request)
            raw = None if header is None else self.get_raw_token(header)
            return None if raw is None else self.get_validated_token(raw)
        except exceptions.APIException as error:
            return error

    @staticmethod
    def _paired(found: Any, users: Any) -> Any:
        if not isinstance(found, Token):
            return found
        user = next(users)
        return user if isinstance(user, exceptions.APIException) else (user, found)

    @staticmethod
    def _only(found: list[Any]) -> Any:
        if isinstance(found[0], exceptions.APIException):
            raise found[0]
        return found[0]

    def _find_users(self, tokens: Sequence[Token]) -> list[Any]:
        """The user of each token, or the error that simplejwt raises."""
        name = api_settings.USER_ID_FIELD
        wanted = {key for token in tokens if (key := self._key(token)) is not None}
        rows = get_user_model()._default_manager.filter(**{f"{name}__in": wanted})
        users = {str(getattr(user, name)): user for user in rows}
        logins = {token.get(LOGIN) for token in tokens} - {None}
        ended = set(EndedLogin.objects.filter(login__in=logins).values_list("login", flat=True))
        return [self._checked(users, ended, token) for token in tokens]

    @staticmethod
    def _key(token: Token) -> Any:
        """The user's key as the database takes it, or None where it is none."""
        field: Any = get_user_model()._meta.get_field(api_settings.USER_ID_FIELD)
        try:
            return field.clean(token.get(api_settings.USER_ID_CLAIM), None)
        except ValidationError:
            return None

    @staticmethod
    def _checked(users: dict[str, Any], ended: set[str], token: Token) -> Any:
        claim = token.get(api_settings.USER_ID_CLAIM)
        if claim is None:
            return InvalidToken("Token contained no recognizable user identification")
        user = users.get(str(claim))
        if user is None:
            return AuthenticationFailed("User not found", code="user_not_found")
        if not user.is_active:
            return AuthenticationFailed("User is inactive", code="user_inactive")
        password = get_md5_hash_password(user.password)
        if token.get(api_settings.REVOKE_TOKEN_CLAIM) != password:
            detail = "The user's password has been changed."
            return AuthenticationFailed(detail, code="password_changed")
        if token.get(LOGIN) in ended:
            return AuthenticationFailed("This login was ended.", code="login_ended")
        return user


def end_login(instance: Any, created: bool, raw: bool, **_: Any) -> None:
    """A refresh token was withdrawn: its login's access tokens end, and its user's streams.

    A token that was spent on its successor is withdrawn, too, but its login goes on.
    """
    token = instance.token
    deleted = token.user_id is None  # a deleted account's access tokens are refused anyway
    if raw or not created or deleted or _rotating.get():
        return
    EndedLogin.objects.filter(expires_at__lt=timezone.now()).delete()
    claims = RefreshToken(token.token, verify=False)
    EndedLogin.objects.update_or_create(
        login=claims.get(LOGIN, token.jti),
        # No token of this login that is out by now is good for longer.
        defaults={"expires_at": timezone.now() + api_settings.REFRESH_TOKEN_LIFETIME},
    )
    access_changed(token.user_id, "token blacklisted", ended=True)
