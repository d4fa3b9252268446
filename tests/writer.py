"""A writer as it runs in a process of its own: `manage.py shell -c "import tests.writer; …"`."""

from __future__ import annotations

import random

from django.db import transaction

from events.api import Draft, emit_many
from servers.models import Server

LARGEST = 20  # events in one transaction


def write(name: str, count: int, seed: int) -> None:
    """Emits `count` events about a server, and rolls some transactions back between."""
    chance = random.Random(seed)
    server = Server.objects.create(name=name, host="10.0.0.1", username="root")
    left = count - 1
    while left:
        size = min(chance.randint(1, LARGEST), left)
        with transaction.atomic():
            change(server, chance, size)
            rolled_back = chance.random() < 0.1
            transaction.set_rollback(rolled_back)
        left -= 0 if rolled_back else size


def change(server: Server, chance: random.Random, size: int) -> None:
    """`size` events, by one of the ways in which there can be some."""
    way = chance.randrange(3) if size < 4 else 2
    port = chance.randint(1_000, 60_000)
    if way == 0:
        for offset in range(size):
            Server.objects.filter(pk=server.pk).update(port=port + offset)
    elif way == 1:
        row = Server.objects.get(pk=server.pk)
        for offset in range(size):
            row.port = port + offset
            row.save(update_fields=["port"])
    else:
        data = {"id": server.pk, "name": server.name, "host": server.host, "status": "unknown"}
        emit_many([Draft("server.created", data) for _ in range(size)])
