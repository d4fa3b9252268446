"""The inventory in figures."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db.models import Count, Min
from rest_framework import serializers

from servers.models import Server


class ServerStats(serializers.Serializer):
    total = serializers.IntegerField()
    by_status = serializers.DictField(child=serializers.IntegerField())
    by_environment = serializers.DictField(
        child=serializers.IntegerField(), help_text="An empty name is none."
    )
    tested = serializers.IntegerField(help_text="Servers with a result of a connection test.")
    failing = serializers.IntegerField(help_text="Servers whose last test failed.")
    oldest_test_at = serializers.DateTimeField(
        allow_null=True, help_text="When the oldest of these results came."
    )


def stats() -> dict[str, Any]:
    """How many servers there are, by status and by environment ("" is none), and their tests.

    `tested` have a result, `failing` had a bad one; `oldest_test_at` is when the result that is
    the oldest came, or None. All of it is of one moment: read in one query.
    """
    rows = Server.objects.order_by().values_list("environment__name", "status")
    by_status = Counter(dict.fromkeys(Server.Status.values, 0))
    by_environment: Counter[str] = Counter()
    tested, oldest = 0, []
    figures = (Count("pk"), Count("last_tested_at"), Min("last_tested_at"))
    for environment, status, count, with_result, oldest_result in rows.annotate(*figures):
        by_status[status] += count
        by_environment[environment or ""] += count
        tested += with_result
        oldest += [oldest_result] if oldest_result else []
    return {
        "total": by_status.total(),
        "by_status": dict(by_status),
        "by_environment": dict(sorted(by_environment.items())),
        "tested": tested,
        "failing": by_status[Server.Status.FAILED],
        "oldest_test_at": min(oldest, default=None),
    }
