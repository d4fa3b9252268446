"""How servers are written: host keys that somebody accepts."""

from __future__ import annotations

import pytest

from events.api import acting
from servers import checks, services, ssh
from servers.models import Server
from servers.tests.cast import Person, create_server, recorded_events
from servers.tests.keys import new_host_key
from servers.tests.outcomes import after_test, claimed

pytestmark = pytest.mark.django_db


def test_a_changed_host_key_waits_for_a_person() -> None:
    old, new = new_host_key(), new_host_key()
    server = create_server(host_key=old)
    after_test(server, success=False, host_key=new)
    assert (server.host_key, server.offered_host_key) == (old, new)
    assert checks.target(server).host_key == old
    with pytest.raises(services.HostKeyMismatch):
        services.accept_host_key(server, ssh.fingerprint(old), None)
    services.accept_host_key(server, ssh.fingerprint(new), None)
    assert (server.host_key, server.offered_host_key) == (new, "")


def test_a_key_that_was_replaced_meanwhile_is_not_accepted() -> None:
    looked_at, now = new_host_key(), new_host_key()
    server = create_server(host_key=new_host_key(), offered_host_key=looked_at)
    Server.objects.update(offered_host_key=now)
    with pytest.raises(services.HostKeyMismatch):
        services.accept_host_key(server, ssh.fingerprint(looked_at), None)
    assert Server.objects.get().offered_host_key == now


def test_an_acceptance_is_told_with_both_keys_and_who_did_it(operator: Person) -> None:
    old, new = new_host_key(), new_host_key()
    server = create_server(host_key=old, offered_host_key=new)
    with recorded_events() as events, acting(lambda: operator.user):
        services.accept_host_key(server, ssh.fingerprint(new), operator.user)
    [event] = events
    assert (event.type, event.actor_username) == ("server.updated", "operator")
    assert event.data["changes"] == {"host_key": {"old": old, "new": new}}


def test_a_server_whose_key_was_accepted_is_tested_for_who_accepted_it(operator: Person) -> None:
    server = create_server(check_interval=0, offered_host_key=new_host_key())
    assert claimed() == []
    services.accept_host_key(server, ssh.fingerprint(server.offered_host_key), operator.user)
    [claim] = checks.claim_due(1)
    assert claim.check_requested_by == operator.user
