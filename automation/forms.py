"""What the forms of the automations' pages hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from django import forms
from django.utils.text import capfirst

from automation import parameters
from automation.models import Automation, Run
from automation.parameters import CHOICE, INTEGER, SECRET, STRING
from automation.runs import LONGEST_REASON
from servers.forms import LARGEST_KEY, TagList
from servers.models import Environment, Server

PREFIX: Final = "parameter-"
KINDS: Final = [
    (STRING, "Text"),
    (INTEGER, "Whole number"),
    (CHOICE, "Choice"),
    (SECRET, "Secret"),
]
BLANK: Final = 2  # rows for parameters where there is no script to add them


@dataclass(frozen=True, slots=True)
class Input:
    """A parameter as the form to run asks for it."""

    definition: dict[str, Any]
    value: str | int = ""

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.definition['name']}"

    @property
    def label(self) -> str:
        return str(self.definition.get("label") or self.definition["name"])

    @property
    def is_wanted(self) -> bool:
        return bool(self.definition.get("required")) and "default" not in self.definition


class KeysOf(forms.TypedMultipleChoiceField):
    """Keys of rows that may have gone meanwhile: those count no more."""

    def __init__(self) -> None:
        super().__init__(required=False, coerce=int, empty_value=[])

    def valid_value(self, value: str) -> bool:
        return value.isdecimal() and int(value) <= LARGEST_KEY


class RunForm(forms.Form):
    """Where to run, and why; its parameters are checked where the run is started."""

    reason = forms.CharField(required=False, max_length=LONGEST_REASON)
    force = forms.BooleanField(required=False)
    servers = KeysOf()
    environments = KeysOf()
    tags = TagList(required=False)

    def clean_servers(self) -> list[Server]:
        rows = Server.objects.without_secrets()
        return list(rows.filter(pk__in=self.cleaned_data["servers"]))

    def clean_environments(self) -> list[Environment]:
        return list(Environment.objects.filter(pk__in=self.cleaned_data["environments"]))

    def values(self, automation: Automation) -> dict[str, str]:
        """What was typed for its parameters."""
        names = [one["name"] for one in automation.parameters]
        return {name: self.data.get(f"{PREFIX}{name}", "") for name in names}

    @staticmethod
    def blank(automation: Automation, again: Run | None = None) -> RunFields:
        """As the automation's defaults have it, or as a run of it was started; without secrets."""
        if again is None:
            return RunFields(
                inputs=_inputs(automation, {}),
                servers={server.pk for server in automation.servers.all()},
                environments={each.pk for each in automation.environments.all()},
                tags=list(automation.tags),
            )
        return RunFields(
            inputs=_inputs(automation, again.values),
            servers={target.server_id for target in again.targets.all()},
            reason=again.reason,
        )


@dataclass(frozen=True, slots=True)
class RunFields:
    """What the form to run begins with; keys of servers and environments."""

    inputs: list[Input]
    servers: set[int | None]
    environments: set[int] = field(default_factory=set)
    tags: list[str] = field(default_factory=list)
    reason: str = ""


def _inputs(automation: Automation, values: dict[str, Any]) -> list[Input]:
    return [
        Input(one, values.get(one["name"], one.get("default", ""))) for one in automation.parameters
    ]


class ParameterForm(forms.Form):
    """A definition of a parameter as a row; one without a name is none."""

    name = forms.CharField(required=False, max_length=50)
    type = forms.ChoiceField(choices=KINDS, required=False)
    label = forms.CharField(required=False, max_length=200)
    default = forms.CharField(required=False, max_length=parameters.LONGEST_VALUE, strip=False)
    required = forms.BooleanField(required=False)
    choices = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One on each line.",
    )
    minimum = forms.IntegerField(required=False)
    maximum = forms.IntegerField(required=False)
    max_length = forms.IntegerField(required=False, label="Longest, in characters")
    pattern = forms.CharField(required=False, max_length=500, strip=False)

    OF_KIND: Final = {
        STRING: ("default", "max_length", "pattern"),
        INTEGER: ("default", "minimum", "maximum"),
        CHOICE: ("default", "choices"),
        SECRET: ("max_length", "pattern"),
    }

    def clean_choices(self) -> list[str]:
        return [line for line in self.cleaned_data["choices"].splitlines() if line.strip()]

    def clean(self) -> None:
        """All that is wrong with it, at its fields; the row of no parameter may hold anything."""
        super().clean()
        if self.errors or not self.cleaned_data.get("name"):
            return
        for name, said in parameters.faults(self.definition()):
            self.add_error(name, capfirst(said))

    def definition(self) -> dict[str, Any]:
        """As `automation.parameters` describes it; what was left empty is left out."""
        values = self.cleaned_data
        kind = values["type"] or STRING
        found = {name: values[name] for name in ("label", *self.OF_KIND[kind])}
        found["default"] = self._default(kind, found.get("default", ""))
        wanted = {name: value for name, value in found.items() if value not in ("", None, [])}
        required = {"required": True} if values["required"] else {}
        return {"name": values["name"], "type": kind} | wanted | required

    @staticmethod
    def _default(kind: str, text: str) -> str | int:
        """A number where it is to be one; what is none is told where definitions are checked."""
        try:
            return int(text) if kind == INTEGER and text else text
        except ValueError:
            return text


class ParameterRows(forms.BaseFormSet):
    def clean(self) -> None:
        seen: set[str] = set()
        for form in self.forms:
            name = form.cleaned_data.get("name", "")
            if name in seen:
                form.add_error("name", capfirst(parameters.TWICE))
            seen |= {name} - {""}

    def definitions(self) -> list[dict[str, Any]]:
        return [form.definition() for form in self.forms if form.cleaned_data.get("name")]

    @staticmethod
    def initial_of(definitions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one | {"choices": "\n".join(one.get("choices", []))} for one in definitions]


ParameterFormSet = forms.formset_factory(
    ParameterForm, ParameterRows, extra=BLANK, max_num=parameters.MOST, absolute_max=60
)


class AutomationForm(forms.ModelForm):
    """All but the parameters, which have rows of their own."""

    script = forms.CharField(strip=False, widget=forms.Textarea(attrs={"rows": 18}))
    tags = TagList(required=False)
    servers = forms.ModelMultipleChoiceField(
        Server.objects.without_secrets(), required=False, widget=forms.CheckboxSelectMultiple
    )
    environments = forms.ModelMultipleChoiceField(
        Environment.objects.all(), required=False, widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = Automation
        fields = (
            "name",
            "description",
            "interpreter",
            "script",
            "timeout",
            "concurrency",
            "max_failures",
            "enabled",
            "servers",
            "environments",
            "tags",
        )
        widgets = {"description": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["tags"] = " ".join(self.initial.get("tags") or [])
        for name in ("script", "interpreter"):
            self.fields[name].widget.attrs.update(spellcheck="false", autocapitalize="none")
