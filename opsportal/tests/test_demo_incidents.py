"""The demo's incidents: one in each status, made once."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User

from incidents.models import Incident
from opsportal import demo_incidents
from servers.tests.cast import create_server

pytestmark = pytest.mark.django_db


def test_there_is_one_in_each_status_once() -> None:
    operator = User.objects.create(username="operator")
    operator.groups.add(Group.objects.get(name="Operator"))
    create_server(name="db-01")
    for _ in range(2):
        demo_incidents.create(operator)
    statuses = Incident.objects.values_list("status", flat=True)
    assert sorted(statuses) == sorted(Incident.Status.values)
    grown = Incident.objects.get(status="open")
    assert [row.name for row in grown.affected.all()] == ["db-01"]
