"""1,000 users on the dashboard: polling every five seconds beside the stream.

    python -m benchmarks.polling [--users N] [--seconds N] [--interval N] [--rate N] [--quick]

One `manage.py serve` and a worker on PostgreSQL and Redis; servers change their status at the given
rate a second. A polling user asks every five seconds for two things, one after the other:

    GET /api/v1/dashboard/stats/            the figures
    GET /api/v1/events/?after=N             what has happened since the last answer

- with nothing kept: figures computed for each request (by a query string of its own), no ETag;
- with a cache: figures that are kept for a second and shared, and If-None-Match where the same
  address was asked for before.

A user with a stream opens one an hour and asks for nothing else: figures come as `stats.updated`,
which the worker tells. What is counted begins when all have polled once, or have their stream open,
and ends with the last change; an hour of streams counts their opening, too. Queries are those that
PostgreSQL counts of the web process, BEGIN and the like apart. Latency is from before the change is
saved until the user has read of it, for each user and each change; the figures a user asks for may
be newer.

Writes benchmarks/results/polling.json. Takes about six minutes: one process answers a thousand who
poll every five seconds once in forty.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks import measuring
from benchmarks.load import Job, percentiles, raise_open_files_limit
from benchmarks.measuring import Reader
from benchmarks.pollers import Crowd
from benchmarks.portals import CountingPostgres, portal_on
from benchmarks.subjects import Subject
from tests.portal import Portal, Web
from tests.readers import STREAM

HOUR = 3600  # seconds; and the lifetime of a stream
ROLES = ("web", "worker", "writer")
PATIENCE = 300  # seconds

MAKE_USERS = """
import json
from django.contrib.auth.models import Group, User
from rest_framework_simplejwt.tokens import AccessToken
viewers = Group.objects.get(name="Viewer")
users = User.objects.bulk_create(User(username=f"user-{{n}}") for n in range({count}))
viewers.user_set.through.objects.bulk_create(
    viewers.user_set.through(group=viewers, user=user) for user in users
)
print("TOKENS", json.dumps([str(AccessToken.for_user(user)) for user in users]))
"""


@dataclass
class Bench:
    """The portal, and for each role the URL of its database."""

    portal: Portal
    postgres: CountingPostgres
    web: Web
    urls: dict[str, str]
    tokens: list[str]

    def counts(self) -> dict[str, float]:
        """Everything that only grows, as of now."""
        web = self.postgres.statements("web")
        return {
            "queries": web["queries"],
            "transactions": web["transactions"],
            "queries of the worker": self.postgres.statements("worker")["queries"],
            "CPU-seconds of the web process": measuring.cpu_seconds(self.web.pid),
            "seconds": time.perf_counter(),
        }

    def writer(self, rate: float, seconds: float) -> subprocess.Popen[str]:
        """Begins to write."""
        url = self.urls["writer"]
        web = (self.web.port, self.web.pid, self.tokens)
        return Subject.of_portal("", self.portal, *web, DATABASE_URL=url).write(rate, seconds)


def difference(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after}


def bench(running: ExitStack, users: int) -> Bench:
    postgres = running.enter_context(CountingPostgres())
    portal = running.enter_context(portal_on(postgres))
    url = portal.environment["DATABASE_URL"]
    urls = {role: postgres.url_as(role, url) for role in ROLES}
    printed = portal.shell(MAKE_USERS.format(count=users))
    tokens = json.loads(printed.split("TOKENS ")[1])
    portal.environment["DATABASE_URL"] = urls["worker"]
    portal.worker()
    portal.environment["DATABASE_URL"] = urls["web"]
    return Bench(portal, postgres, portal.serve(), urls, tokens)


async def polling(
    on: Bench, keeps: bool, interval: float, rate: float, seconds: float
) -> dict[str, Any]:
    async with Crowd(on.web.port, on.tokens, interval, keeps) as crowd:
        await crowd.wait_until_all_have_polled(PATIENCE)
        before, seen = on.counts(), crowd.seen.copy()
        writer = on.writer(rate, seconds)
        written = asyncio.to_thread(measuring.said, writer)
        await asyncio.gather(written, asyncio.sleep(seconds))
        after, since = on.counts(), crowd.seen.copy()
        changes = round(rate * seconds) * len(on.tokens)
        await crowd.wait_until_told(len(seen.latencies) + changes, PATIENCE)
        latencies = crowd.seen.latencies[len(seen.latencies) :]
    spent = difference(after, before)
    requests = since.requests - seen.requests
    return hourly(
        spent, requests.total(), since.received + since.sent - seen.received - seen.sent
    ) | {
        "requests wanted an hour": round(2 * len(on.tokens) * HOUR / interval),
        "answers": dict(requests),
        "latency s": percentiles(latencies, 50, 99, digits=3),
        "% of users and changes told": round(100 * len(latencies) / changes, 1),
    }


def streaming(on: Bench, rate: float, seconds: float) -> dict[str, Any]:
    users = len(on.tokens)
    at_first = on.counts()
    with Reader(Job(on.web.port, users, users, [STREAM], on.tokens)) as reader:
        before = on.counts()
        opening = difference(before, at_first)
        writer = on.writer(rate, seconds)
        changes = round(rate * seconds)
        reader.start_waiting(changes, patience=20)
        measuring.said(writer)
        time.sleep(max(0.0, seconds - (time.perf_counter() - before["seconds"])))
        after = on.counts()
        read = reader.answer()
    spent = difference(after, before)
    heads = len(STREAM) + 200 + len(on.tokens[0])  # of the requests, about
    an_hour = hourly(spent, 0, read["bytes"])
    return an_hour | {
        "requests an hour": users,
        "queries an hour": an_hour["queries an hour"] + round(opening["queries"]),
        "transactions an hour": an_hour["transactions an hour"] + round(opening["transactions"]),
        "KB an hour": an_hour["KB an hour"] + round(users * heads / 1000),
        "queries of opening": round(opening["queries"]),
        "latency s": {
            n: round(ms / 1000, 3) for n, ms in read["latency ms"].items() if n in ("p50", "p99")
        },
        "% of users and changes told": round(100 * (1 - read["lost"] / (changes * users)), 1),
        "open": read["open"],
    }


def hourly(spent: dict[str, float], requests: int, size: int) -> dict[str, Any]:
    """What a measured while comes to in an hour."""
    times = HOUR / spent["seconds"]
    return {
        "requests an hour": round(requests * times),
        "queries an hour": round(spent["queries"] * times),
        "transactions an hour": round(spent["transactions"] * times),
        "queries of the worker an hour": round(spent["queries of the worker"] * times),
        "KB an hour": round(size * times / 1000),
        "cores of the web process": round(
            spent["CPU-seconds of the web process"] / spent["seconds"], 3
        ),
    }


def fewer(stream: dict[str, Any], polls: dict[str, Any]) -> dict[str, float]:
    """Percent; the last one counts the worker's queries for the stream alone."""

    def saved(name: str, more: int = 0) -> float:
        return round(100 * (1 - (stream[name] + more) / polls[name]), 2)

    return {
        "% fewer requests": saved("requests an hour"),
        "% fewer queries": saved("queries an hour"),
        "% fewer queries, with the worker's": saved(
            "queries an hour", stream["queries of the worker an hour"]
        ),
        "% fewer bytes": saved("KB an hour"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--interval", type=float, default=5, help="seconds between two polls")
    parser.add_argument("--rate", type=float, default=1, help="changes a second")
    parser.add_argument(
        "--quick", action="store_true", help="50 users, 5 s, a poll a second, nothing written"
    )
    options = parser.parse_args()
    if options.quick:
        options.users, options.seconds, options.interval = 50, 5, 1
    interval, rate, seconds = options.interval, options.rate, options.seconds
    raise_open_files_limit()
    with ExitStack() as running:
        on = bench(running, options.users)
        rows = {
            "polling, nothing kept": asyncio.run(polling(on, False, interval, rate, seconds)),
            "polling, with a cache": asyncio.run(polling(on, True, interval, rate, seconds)),
            "stream": streaming(on, rate, seconds),
        }
    for name in list(rows)[:2]:
        rows[name] |= {"the stream takes": fewer(rows["stream"], rows[name])}
    shared = {"users": options.users, "changes a second": rate, "seconds between polls": interval}
    results = [{"how": name} | shared | row for name, row in rows.items()]
    for result in results:
        print(", ".join(f"{key}: {value}" for key, value in result.items()))
    if not options.quick:
        measuring.write("polling", results)


if __name__ == "__main__":
    main()
