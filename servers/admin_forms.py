"""The admin's forms: what is secret in them is never shown, and no edit undoes another."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin.utils import quote
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from servers import credentials
from servers.models import Credential, Environment, Server, validate_tags
from servers.preconditions import etag


class TagsField(forms.CharField):
    """A list of tags as text, separated by commas or spaces."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return value if isinstance(value, list) else (value or "").replace(",", " ").split()

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(initial) != self.to_python(data))


class UnseenTextarea(forms.Textarea):
    """Shows nothing, also of what was entered into a form that is refused."""

    def format_value(self, value: Any) -> str:
        return ""


class SecretField(forms.CharField):
    """Text as it was entered, with the line ends of PEM files."""

    def __init__(self, **kwargs: Any) -> None:
        attributes = {"rows": 3, "autocomplete": "off", "spellcheck": "false"}
        kwargs.setdefault("widget", UnseenTextarea(attrs=attributes))
        super().__init__(required=False, strip=False, **kwargs)

    def to_python(self, value: Any) -> str:
        return (super().to_python(value) or "").replace("\r\n", "\n")


class ShownTagField(forms.CharField):
    """The ETag of what a form showed; it is no part of what the form changes."""

    def __init__(self) -> None:
        super().__init__(required=False, widget=forms.HiddenInput)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False


class ConditionalForm(forms.ModelForm):
    """Refuses to write where the row is another than the one that was shown.

    As with If-Match, whoever sends no tag does not ask for that.
    """

    etag = ShownTagField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["etag"] = getattr(self.instance, "shown_tag", "")

    def clean(self) -> dict[str, Any]:
        super().clean()
        shown = self.cleaned_data.get("etag")
        if self.instance.pk and shown and shown != etag(type(self.instance), self.instance.pk):
            raise ValidationError(stale_message(self.instance), code="stale")
        return self.cleaned_data


def stale_message(instance: Model) -> SafeString:
    pages = f"admin:{instance._meta.app_label}_{instance._meta.model_name}"
    history, change = (
        reverse(f"{pages}_{view}", args=[quote(instance.pk)]) for view in ("history", "change")
    )
    return format_html(
        "It was changed meanwhile, and nothing was saved. Look at"
        ' <a href="{}">who changed what</a>, <a href="{}">open it anew</a>, and edit that.',
        history,
        change,
    )


class SecretsForm(ConditionalForm):
    """Has fields whose values are only written: it names them, and Meta does not."""

    secrets: tuple[str, ...] = ()

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            return
        for name in self.secrets:
            # The form comes back with an empty one, which would keep what is stored.
            if self.cleaned_data.get(name):
                self.add_error(name, "Enter it again: it is not shown.")


class ServerForm(SecretsForm):
    secrets = ("credential",)
    credential = SecretField(
        max_length=20_000,
        help_text="Of its own: a password, or a private key in PEM form without a passphrase."
        " Left empty, the stored one is kept.",
    )
    tags = TagsField(required=False, help_text="Separated by commas, such as web, on-call.")

    class Meta:
        model = Server
        fields = (
            "name",
            "host",
            "port",
            "username",
            "shared_credential",
            "environment",
            "tags",
            "check_interval",
        )

    def clean(self) -> dict[str, Any]:
        super().clean()
        own = self.cleaned_data.get("credential")
        if own and self.cleaned_data.get("shared_credential"):
            message = "Give a credential of its own or a shared one, not both."
            raise ValidationError({"shared_credential": message})
        credentials.check_own(own or "")
        return self.cleaned_data


class CredentialForm(SecretsForm):
    secrets = ("secret", "passphrase")
    secret = SecretField(
        max_length=20_000,
        help_text="The password, or the private key in OpenSSH or PEM form.",
    )
    passphrase = SecretField(
        max_length=1_000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Of a private key that has one.",
    )

    class Meta:
        model = Credential
        fields = ("name", "kind")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        secret = self.fields.get("secret")
        if secret is not None and self.instance.pk:
            secret.help_text += " Left empty, the stored one and its passphrase are kept."
        elif secret is not None:
            secret.required = True

    def clean(self) -> dict[str, Any]:
        super().clean()
        given = self.cleaned_data
        if not {"kind", *self.secrets} & set(self.changed_data) or self.errors:
            return given
        if not given["secret"]:
            raise ValidationError({"secret": "Give the secret anew to change what it is."})
        credentials.prepare(Credential(**{name: given[name] for name in ("kind", *self.secrets)}))
        return given


class EnvironmentForm(ConditionalForm):
    class Meta:
        model = Environment
        fields = ("name", "accept_new_host_keys")


class TestForm(forms.Form):
    force = forms.BooleanField(required=False, label="Also those in maintenance")


class HostKeysForm(forms.Form):
    """`seen` is what was shown to whoever accepts it: a line for each server, key and fingerprint.

    It is one field, as the number of a request's fields is limited.
    """

    seen = forms.CharField(widget=forms.HiddenInput)

    def clean_seen(self) -> dict[str, str]:
        pairs = (line.partition(" ") for line in self.cleaned_data["seen"].splitlines())
        return {key: fingerprint for key, _, fingerprint in pairs}


class MaintenanceForm(forms.Form):
    reason = forms.CharField(max_length=200, widget=forms.TextInput(attrs={"size": 60}))
    until = forms.DateTimeField(
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["until"].help_text = f"In {timezone.get_current_timezone_name()}."


class ChangeTagsForm(forms.Form):
    add = TagsField(required=False, validators=[validate_tags], help_text="Separated by commas.")
    remove = TagsField(required=False, validators=[validate_tags])

    def clean(self) -> dict[str, Any]:
        if not self.errors and not any(self.cleaned_data.values()):
            raise ValidationError("Enter tags to be added, or to be removed.")
        return self.cleaned_data
