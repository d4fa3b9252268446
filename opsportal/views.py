"""The site's own views: health, the end of a token, and the API's description."""

from __future__ import annotations

from csp.decorators import csp_update
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema, extend_schema_view
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework import status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import RefreshToken
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from opsportal.tokens import TokenEnd, TokenObtain, TokenPair, TokenRefresh


@transaction.non_atomic_requests
def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@transaction.non_atomic_requests
def readyz(request: HttpRequest) -> JsonResponse:
    """The database answers, and its tables are those of this code."""
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return JsonResponse({"detail": "The database cannot be reached."}, status=503)
    if pending:
        return JsonResponse({"detail": "Migrations are pending."}, status=503)
    return JsonResponse({"status": "ok"})


@extend_schema_view(post=extend_schema(responses=TokenPair))
class Login(TokenObtainPairView):
    serializer_class = TokenObtain


@extend_schema_view(post=extend_schema(responses=TokenPair))
class Refresh(TokenRefreshView):
    serializer_class = TokenRefresh


class Logout(APIView):
    """Ends a login: its tokens are refused from then on, and its user's streams are closed."""

    permission_classes = (AllowAny,)
    authentication_classes = ()

    @extend_schema(request=TokenEnd, responses={204: None})
    def post(self, request: Request) -> Response:
        body = TokenEnd(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            RefreshToken(body.validated_data["refresh"]).blacklist()
        except TokenError:
            detail = "The token is not valid or has expired."
            challenge = {"WWW-Authenticate": 'Bearer realm="api"'}
            return Response({"detail": detail}, status.HTTP_401_UNAUTHORIZED, headers=challenge)
        return Response(status=status.HTTP_204_NO_CONTENT)


@method_decorator(csp_update({"img-src": ["'self'", "data:"]}), name="dispatch")
class ApiDocs(SpectacularSwaggerSplitView):
    """Swagger UI, whose style sheet holds its icons. Its script comes by a request of its own."""

    template_name = "opsportal/api_docs.html"
