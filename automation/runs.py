"""Starting runs, once more for those targets that failed, and cancelling them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from django.db import transaction
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from automation import log, parameters, telling
from automation.models import Automation, Run, Target
from automation.models.run import NOT_DONE
from events.api import actor
from servers.models import Environment, Server, validate_tag

SNAPSHOT: Final = ("name", "interpreter", "script", "timeout", "concurrency", "max_failures")
LONGEST_REASON: Final = 1_000  # characters


class Refused(Exception):
    """What was asked for cannot be done now; the text says why."""


class Disabled(Refused):
    """The automation is disabled."""


class NoTargets(Refused):
    """There is no server to run on."""


class NotFinished(Refused):
    """A run that is under way cannot be retried."""


class AlreadyFinished(Refused):
    """A run that is over cannot be cancelled."""


class SecretsForgotten(Refused):
    """The secrets that the run was started with are kept no more."""


def start(
    automation: Automation,
    user: Any,
    values: Mapping[str, Any] | None = None,
    *,
    servers: Iterable[Server] | None = None,
    environments: Iterable[Environment] | None = None,
    tags: Collection[str] | None = None,
    reason: str = "",
    force: bool = False,
) -> Run:
    """Queues a run of it; nobody (None) is whoever typed a command, if anybody did.

    Where any of `servers`, `environments` and `tags` is given, they take the place of the
    automation's own targets. Those in maintenance are skipped, unless it is forced. Raises
    parameters.InvalidValues, Disabled and NoTargets, and ValidationError for what is no tag.
    """
    with transaction.atomic():
        row = Automation.objects.select_for_update().get(pk=automation.pk)
        if not row.enabled:
            raise Disabled(f"{row} is disabled.")
        public, secrets = parameters.settle(row.parameters, values or {})
        if servers is None and environments is None and tags is None:
            targets = resolve(row.servers.all(), row.environments.all(), row.tags)
        else:
            targets = resolve(servers or (), environments or (), tags or ())
        run = Run(
            automation=row,
            parameters=row.parameters,
            values=public,  # type: ignore[misc]
            secrets=json.dumps(secrets) if secrets else "",
            reason=reason[:LONGEST_REASON],
            forced=force,
            **{name: getattr(row, name) for name in SNAPSHOT},
        )
        _queue(run, user, targets)
    return run


def resolve(
    servers: Iterable[Server], environments: Iterable[Environment], tags: Iterable[str]
) -> list[Server]:
    """All of these servers, those of the environments and those with a tag; each once, by name.

    Raises ValidationError for what is no tag.
    """
    wanted = Q(pk__in=[server.pk for server in servers])
    wanted |= Q(environment__in=[environment.pk for environment in environments])
    for tag in tags:
        validate_tag(tag)  # it has no quotes then, and stands in the list's text for itself only
        wanted |= Q(tags_text__contains=f'"{tag}"')
    rows: QuerySet[Server] = Server.objects.without_secrets()
    rows = rows.alias(tags_text=Cast("tags", TextField()))
    return list(rows.filter(wanted).order_by("name"))


def retry_failed(run: Run, user: Any, reason: str = "") -> Run:
    """Queues the same once more for those targets that it was not done on.

    Raises Disabled, NotFinished, NoTargets, SecretsForgotten, and DecryptionError where they
    cannot be read.
    """
    with transaction.atomic():
        # In the order in which a start locks them. What is deleted can be looked at in the run.
        automations = Automation.objects.select_for_update().filter(pk=run.automation_id or 0)
        if any(not automation.enabled for automation in automations):
            raise Disabled(f"{run.name} is disabled.")
        row = Run.objects.select_for_update().get(pk=run.pk)
        if not row.is_finished:
            raise NotFinished(f"{row} is under way.")
        wants = any(one["type"] == parameters.SECRET for one in row.parameters)
        if wants and row.log_pruned_at is not None:
            raise SecretsForgotten(f"The secrets of {row} are kept no more: start it anew.")
        left = row.targets.filter(status__in=NOT_DONE).values("server")
        targets = list(Server.objects.without_secrets().filter(pk__in=left).order_by("name"))
        again = Run(
            automation_id=row.automation_id,
            parameters=row.parameters,
            values=row.values,
            secrets=row.secrets,
            retry_of=row,
            forced=row.forced,
            reason=reason[:LONGEST_REASON],
            **{name: getattr(row, name) for name in SNAPSHOT},
        )
        _queue(again, user, targets)
    return again


def _queue(run: Run, user: Any, servers: list[Server]) -> None:
    if not servers:
        raise NoTargets("There is no server to run on.")
    who = user or actor()
    run.started_by = user
    run.started_by_name = who.get_username() if who else ""
    run.save()
    Target.objects.bulk_create(
        Target(run=run, position=position, server=server, name=server.name)
        for position, server in enumerate(servers, 1)
    )
    run.counts = telling.count(run)
    run.save(update_fields=["counts"])
    telling.tell_status(run)
    transaction.on_commit(ring, robust=True)


def ring() -> None:
    """Tells workers that runs wait. Raises what the broker's client does: then the beat comes."""
    from automation.tasks import start_queued

    start_queued.apply_async(retry=False)


def cancel(run: Run, user: Any) -> Run:
    """Cancels what has not begun at once, and asks the worker of one that has to stop it.

    Returns the run as it is then. Raises AlreadyFinished.
    """
    with transaction.atomic():
        row = Run.objects.select_for_update().defer("secrets").get(pk=run.pk)
        if row.is_finished:
            raise AlreadyFinished(f"{row} is over: it is {row.status}.")
        if row.cancel_requested_at is None:
            _cancel(row, user)
    return row


def _cancel(row: Run, user: Any) -> None:
    now = timezone.now()
    row.cancel_requested_at, row.cancel_requested_by = now, user
    who = user or actor()
    name = who.get_username() if who else "Somebody"
    fields = {"cancel_requested_at", "cancel_requested_by", "log_lines", "log_bytes"}
    log.append(row, [log.remark(f"{name} cancelled the run.")], {})
    if row.status == Run.Status.QUEUED:
        row.targets.update(status=Target.Status.CANCELLED, finished_at=now)
        row.status, row.finished_at, row.counts = Run.Status.CANCELLED, now, telling.count(row)
        telling.tell_targets(row.targets.all(), row)
        row.save(update_fields=fields | {"status", "finished_at", "counts"})
        telling.tell_status(row)
    else:
        row.save(update_fields=fields)
        telling.tell_cancelling(row)
