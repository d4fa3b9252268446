"""The automations' pages, and those of their runs."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.views.generic import DetailView, ListView

from automation import parameters, runs
from automation.filters import AutomationFilter, RunFilter
from automation.forms import RunForm
from automation.models import Automation, Run, Target
from automation.models.run import NOT_DONE, RunQuerySet
from events.api import event_cursor
from servers.models import Environment, Server

RECENT: Final = 10  # runs on an automation's page
NAMED: Final = 12  # servers that it names


def for_rows(rows: RunQuerySet) -> RunQuerySet:
    """Without what no row shows: a script may be long."""
    return rows.without_secrets().defer("script", "parameters", "values")


def words() -> dict[str, Any]:
    """What the pages call statuses."""
    return {"statuses": Run.Status.choices, "target_statuses": Target.Status.choices}


class AutomationList(LoginRequiredMixin, PermissionRequiredMixin, ListView):
    """The live table. Its cursor is read before its rows, so the stream joins without a gap."""

    permission_required = "automation.view_automation"
    template_name = "automation/automations.html"
    context_object_name = "automations"
    paginate_by = 100

    def get_queryset(self) -> QuerySet[Automation]:
        self.cursor = event_cursor()
        rows = Automation.objects.defer("script", "parameters")
        self.filters = AutomationFilter(self.request.GET, queryset=rows)
        found = self.filters.qs if self.filters.is_valid() else rows.none()
        return self.with_last_runs(found)

    def with_last_runs(self, rows: QuerySet[Automation]) -> QuerySet[Automation]:
        """Each one's `last` is a list of its newest run, for those who may view runs."""
        if not self.request.user.has_perm("automation.view_run"):
            return rows
        newest = Run.objects.filter(automation=OuterRef("automation")).order_by("-pk").values("pk")
        last = for_rows(Run.objects.filter(pk=Subquery(newest[:1])))
        return rows.prefetch_related(Prefetch("runs", last, to_attr="last"))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs) | words()
        return context | {"cursor": self.cursor, "filters": self.filters}


class AutomationDetail(LoginRequiredMixin, PermissionRequiredMixin, DetailView):
    """What an automation does, how to run it, and how that went lately; kept true by its events.

    `?again=` is a run whose parameters, targets and reason the form begins with.
    """

    permission_required = "automation.view_automation"
    template_name = "automation/automation.html"
    context_object_name = "automation"

    def get_queryset(self) -> QuerySet[Automation]:
        self.cursor = event_cursor()
        return Automation.objects.prefetch_related(
            Prefetch("servers", Server.objects.only("name").order_by("name")), "environments"
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        automation: Automation = self.object
        user: Any = self.request.user
        targets = runs.resolve(
            automation.servers.all(), automation.environments.all(), automation.tags
        )
        context = super().get_context_data(**kwargs) | words()
        if user.has_perm("automation.view_run"):
            context["runs"] = for_rows(automation.runs.all())[:RECENT]
        if user.has_perm("automation.run_automation"):
            context["form"] = RunForm.blank(automation, self.run_again())
            context["servers"] = Server.objects.only("name").order_by("name")
            context["environments"] = Environment.objects.order_by("name")
        return context | {
            "cursor": self.cursor,
            "targets": targets[:NAMED],
            "target_count": len(targets),
            "more_targets": max(0, len(targets) - NAMED),
        }

    def run_again(self) -> Run | None:
        again = self.request.GET.get("again", "")
        if not again.isdecimal() or not self.request.user.has_perm("automation.view_run"):
            return None
        rows = self.object.runs.without_secrets().prefetch_related("targets")
        found: Run | None = rows.filter(pk=int(again[:18])).first()
        return found


class RunList(LoginRequiredMixin, PermissionRequiredMixin, ListView):
    """The live table of runs, the newest first."""

    permission_required = "automation.view_run"
    template_name = "automation/runs.html"
    context_object_name = "runs"
    paginate_by = 50

    def get_queryset(self) -> QuerySet[Run]:
        self.cursor = event_cursor()
        rows = for_rows(Run.objects.all())
        self.filters = RunFilter(self.request.GET, queryset=rows)
        return self.filters.qs if self.filters.is_valid() else rows.none()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs) | words()
        query = self.request.GET
        return context | {
            "cursor": self.cursor,
            "filters": self.filters,
            "chosen": query.getlist("status"),
            "filtered": any(query.get(name) for name in RunFilter.Meta.fields),
            "names": Automation.objects.values_list("name", flat=True),
        }


class RunDetail(LoginRequiredMixin, PermissionRequiredMixin, DetailView):
    """One run, its targets and its log; kept true by its events.

    The page's script asks the API for the log, up to the line that the page names, and takes
    what follows from the stream.
    """

    permission_required = "automation.view_run"
    template_name = "automation/run.html"
    context_object_name = "run"

    def get_queryset(self) -> QuerySet[Run]:
        self.cursor = event_cursor()
        rows = Run.objects.without_secrets().select_related("automation")
        return rows.prefetch_related("targets")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        run: Run = self.object
        return super().get_context_data(**kwargs) | {
            **words(),
            "cursor": self.cursor,
            "parameters": parameters.shown(run.parameters, run.values),
            "not_done": NOT_DONE,
            "retriable": any(target.status in NOT_DONE for target in run.targets.all()),
        }
