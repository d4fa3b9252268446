"""Channels and notifications in Django's admin: secrets are only ever written."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse

from incidents import bell, channels, deliveries
from incidents.models import Notification, NotificationChannel
from incidents.models.notification import OCCASIONS, all_occasions
from servers.confirmation import AskingActions, Question

NEW: Final = {"new_url": "url", "new_secret": "secret"}  # the form's names, and the model's

SEND_TEST: Final = Question(
    "send_test",
    "Send a test through these channels?",
    "What comes of it stands among the notifications.",
    "Send",
    facts={"Leads to": lambda channel: channel.label},
)
SEND_AGAIN: Final = Question(
    "send_again",
    "Send these again?",
    "Only those are shown that failed, and whose channel is still there. It is tried for another"
    " day; who got one after all can tell by its key.",
    "Send again",
    facts={
        "To": lambda notification: notification.channel_name,
        "Last error": lambda notification: notification.last_error,
    },
)
MARK_READ: Final = Question(
    "mark_read",
    "Mark these as read?",
    "Only those are shown that are yours, and not read yet.",
    "Mark as read",
    facts={"Of": lambda notification: notification.created_at},
)

# What was found of a URL: nothing, or why it is wrong.
Looked = tuple[channels.Checked, ValidationError | None]


def unseen() -> forms.PasswordInput:
    """Not even shown again beside an error."""
    return forms.PasswordInput(attrs={"class": "vLargeTextField", "autocomplete": "new-password"})


class ChannelForm(forms.ModelForm):
    """URL and secret are never shown, nor read; where they are empty, the stored ones are kept."""

    looked: Looked | None = None  # at the URL, before

    # Not by the model's names, or the stored ones would be read to fill in the form.
    new_url = forms.CharField(
        label="URL",
        required=False,
        max_length=2_000,
        widget=unseen(),
    )
    new_secret = forms.CharField(
        label="Secret",
        required=False,
        max_length=200,
        widget=unseen(),
        help_text="Of a webhook: whsec_ and 24 to 64 bytes in base64. Left empty, the stored one"
        " is kept, and a webhook without one is given a new one, which is shown once.",
    )
    events = forms.MultipleChoiceField(
        choices=list(OCCASIONS.items()),
        required=False,
        initial=all_occasions,
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = NotificationChannel
        fields = ("name", "kind", "events", "minimum_severity", "environments", "enabled")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "new_url" not in self.fields:  # of whoever may only look
            return
        stored = self.instance.label
        kept = f"Stored: {stored} Left empty, it is kept." if stored else ""
        self.fields["new_url"].help_text = kept or "Of Apprise's, or a webhook's, https://…"

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if {"kind", *NEW} <= data.keys():
            values = {name: data[new] for new, name in NEW.items()}
            try:
                self._check(NotificationChannel(kind=data["kind"], **values))
            except ValidationError as error:
                told = {f"new_{name}": texts for name, texts in error.message_dict.items()}
                self.add_error(None, ValidationError(told))
        return data

    def _check(self, given: NotificationChannel) -> None:
        checked, wrong = self.looked or (None, None)
        if wrong and checked == (given.kind, given.url):
            raise wrong
        channels.check(given, self.written(), checked)

    def written(self) -> set[str] | None:
        """The model's fields to write: of a new channel, all of them (None)."""
        if self.instance.pk is None:
            return None
        return {NEW.get(name, name) for name in self.changed_data} - {"environments"}


def look_at_url(posted: QueryDict) -> Looked | None:
    """What the form's check will find, as far as it takes long."""
    kind = posted.get("kind", "")
    try:
        url = ChannelForm.base_fields["new_url"].clean(posted.get("new_url", ""))
    except ValidationError:  # as the form will tell
        return None
    if not url or kind not in NotificationChannel.Kind.values:
        return None
    try:
        channels.check_url(kind, url)
    except ValidationError as error:
        return (kind, url), error
    return (kind, url), None


class ChannelAdmin(AskingActions):
    form = ChannelForm
    fields = (
        *("name", "kind", *NEW, "events"),
        *("minimum_severity", "environments", "enabled"),
    )
    list_display = ("name", "label", "minimum_severity", "enabled")
    list_filter = ("kind", "enabled", "environments")
    search_fields = ("name", "label")
    filter_horizontal = ("environments",)
    actions = ("send_test",)

    # Django's admin begins a transaction of its own, and Apprise is asked before that.
    @transaction.non_atomic_requests
    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().add_view(request, *args, **kwargs)

    @transaction.non_atomic_requests
    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().change_view(request, *args, **kwargs)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        allowed = self.has_add_permission(request) or self.has_change_permission(request)
        looked = look_at_url(request.POST) if request.method == "POST" and allowed else None
        request.looked = looked  # type: ignore[attr-defined]
        return super().changeform_view(request, *args, **kwargs)

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, *args, **kwargs)
        form.looked = getattr(request, "looked", None)
        return form

    def get_queryset(self, request: HttpRequest) -> QuerySet[NotificationChannel]:
        return super().get_queryset(request).defer("url", "secret")

    def get_fields(self, request: HttpRequest, obj: NotificationChannel | None = None) -> list[Any]:
        """Without the secrets for whoever may only look: they see values, not the form."""
        fields = [*(super().get_fields(request, obj))]
        if obj is None or self.has_change_permission(request, obj):
            return fields
        return ["label" if name == "new_url" else name for name in fields if name != "new_secret"]

    def get_readonly_fields(
        self, request: HttpRequest, obj: NotificationChannel | None = None
    ) -> tuple[str, ...]:
        return () if obj is None or self.has_change_permission(request, obj) else ("label",)

    def save_model(
        self, request: HttpRequest, obj: NotificationChannel, form: Any, change: bool
    ) -> None:
        fields = form.written()
        for new, name in NEW.items():
            setattr(obj, name, form.cleaned_data[new])  # written only where it was given
        request.made_secret = channels.write(obj, fields)  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Any, *args: Any) -> HttpResponse:
        return self._telling_secret(request, obj, super().response_add(request, obj, *args))

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return self._telling_secret(request, obj, super().response_change(request, obj))

    def _telling_secret(
        self, request: HttpRequest, channel: NotificationChannel, response: HttpResponse
    ) -> HttpResponse:
        """By the answer itself: a message would lie in a cookie, or in the session."""
        made = getattr(request, "made_secret", "")
        if not made:
            return response
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"The secret of {channel}",
            "channel": channel,
            "secret": made,
            "next": response.headers.get("Location", "../"),
        }
        return TemplateResponse(request, "admin/incidents/made_secret.html", context)

    def has_test_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.test_notificationchannel")

    @admin.action(description="Send a test …", permissions=["test"])
    def send_test(
        self, request: HttpRequest, queryset: QuerySet[NotificationChannel]
    ) -> HttpResponse | None:
        def send(channels: list[NotificationChannel], form: dict[str, Any]) -> None:
            for channel in channels:
                deliveries.test(channel.pk, channel.name)
            self.tell(request, f"Tests queued: {len(channels)}.")

        return self.ask(request, queryset, SEND_TEST, send)


class SentToFilter(admin.SimpleListFilter):
    title = "channel"
    parameter_name = "channel"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Also of channels that are gone."""
        rows = Notification.objects.visible_to(request.user).exclude(channel_name="")
        names = rows.order_by("channel_name").values_list("channel_name", flat=True).distinct()
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(channel_name=self.value()) if self.value() else queryset


class NotificationAdmin(AskingActions):
    """To be looked at; what failed can be sent again by those who may send tests."""

    list_display = ("title", "sent_to", "state", "attempts", "created_at")
    list_filter = ("state", SentToFilter, "event_type")
    list_select_related = ("user",)
    search_fields = ("title", "channel_name")
    date_hierarchy = "created_at"
    fields = (
        *("title", "body", "sent_to", "incident", "event_type", "state", "attempts"),
        *("last_error", "next_attempt_at", "created_at", "sent_at", "read_at", "key"),
    )
    readonly_fields = fields
    actions = ("send_again", "mark_read")

    @admin.display(description="Sent to", ordering="channel_name")
    def sent_to(self, notification: Notification) -> str:
        return notification.channel_name or f"{notification.user}’s bell"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notification]:
        return Notification.objects.visible_to(request.user).order_by("-pk")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Notification | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Notification | None = None) -> bool:
        """They go with their incident or user, at whose pages this is asked, and not alone."""
        page = request.resolver_match.url_name if request.resolver_match else None
        return obj is not None and not (page or "").startswith("incidents_notification_")

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.test_notificationchannel")

    @admin.action(description="Send again …", permissions=["send"])
    def send_again(
        self, request: HttpRequest, queryset: QuerySet[Notification]
    ) -> HttpResponse | None:
        def send(failed: list[Notification], form: dict[str, Any]) -> None:
            shown = Notification.objects.filter(pk__in=[row.pk for row in failed])
            self.tell(request, f"Queued again: {deliveries.send_again(shown)}.")

        failed = queryset.filter(state=Notification.State.FAILED, channel__isnull=False)
        return self.ask(request, failed, SEND_AGAIN, send)

    @admin.action(description="Mark yours as read …", permissions=["view"])
    def mark_read(
        self, request: HttpRequest, queryset: QuerySet[Notification]
    ) -> HttpResponse | None:
        def mark(unread: list[Notification], form: dict[str, Any]) -> None:
            count = sum(bell.mark_read(request.user, row.pk) for row in unread)
            self.tell(request, f"Marked as read: {count}.")

        yours = queryset.filter(user=request.user.pk, read_at=None)
        return self.ask(request, yours, MARK_READ, mark)
