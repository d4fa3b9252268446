"""What the forms of pages do: the base of every action, also of the apps above."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django import forms
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.views import View
from django_htmx.http import trigger_client_event
from django_htmx.middleware import HtmxDetails

TEXT: Final = 500  # characters that are told: they go in a header, which proxies keep short


class HtmxRequest(HttpRequest):
    htmx: HtmxDetails


class Action(LoginRequiredMixin, PermissionRequiredMixin, View):
    """Takes a form by POST, and does in one transaction what it asks for.

    htmx is answered 204, or the status of what went wrong, with what there is to say in the event
    `told` (static/opsportal/actions.js); what was changed comes by the stream. A browser without
    scripts is sent `back`, with a message. ValidationError is told with 400, the errors that a
    subclass names in `refusals` with 409, and what was deleted meanwhile is not found.
    """

    http_method_names = ["post"]
    request: HtmxRequest
    refusals: ClassVar[tuple[type[Exception], ...]] = ()

    def act(self, **kwargs: Any) -> str:
        """Does it, and returns what to say of it, if anything."""
        raise NotImplementedError

    def back(self) -> str:
        """The path of the page with the form."""
        raise NotImplementedError

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            with transaction.atomic():
                text = self.act(**kwargs)
        except ValidationError as error:
            return self.tell(" ".join(error.messages), 400)
        except self.refusals as error:
            return self.tell(str(error), 409)
        except ObjectDoesNotExist:  # deleted since it was looked up
            raise Http404 from None
        return self.tell(text, 204)

    def tell(self, text: str, status: int) -> HttpResponse:
        is_refused = status >= 400
        if not self.request.htmx:
            if text:
                level = messages.ERROR if is_refused else messages.SUCCESS
                messages.add_message(self.request, level, text)
            return redirect(self.back())
        response = HttpResponse(status=status)
        if text:
            told = {"level": "problem" if is_refused else "notice", "text": shortened(text)}
            trigger_client_event(response, "told", told)
        return response

    def handle_no_permission(self) -> HttpResponseRedirect:
        """Who is not logged in comes back to the page after the login: what was asked is lost."""
        if self.request.user.is_authenticated:
            return super().handle_no_permission()  # which raises PermissionDenied
        page = self.request.htmx.current_url_abs_path if self.request.htmx else None
        login = redirect_to_login(page or self.back(), self.get_login_url())
        if self.request.htmx:
            # A redirect's status would be followed by the script's request, not by the page.
            login.status_code = 403
            login["HX-Redirect"] = login.url
            del login["Location"]
        return login


def cleaned(form: forms.Form, unnamed: tuple[str, ...] = ("__all__",)) -> dict[str, Any]:
    """Its values. Raises ValidationError, with the field's name before each message.

    The messages of `unnamed` fields say enough.
    """
    if form.is_valid():
        return form.cleaned_data
    raise ValidationError(
        [
            message if field in unnamed else f"{field.capitalize()}: {message}"
            for field, errors in form.errors.items()
            for message in errors
        ]
    )


def shortened(text: str) -> str:
    return text if len(text) <= TEXT else f"{text[: TEXT - 1]}…"
