"""Mixed rights: 1,000 streams of 50 different sets of permissions and filters, and of one.

    python -m benchmarks.rights [--rounds N] [--seconds N] [--streams N]

Both see every event; they alternate, and the ratio is of medians.
"""

from __future__ import annotations

from typing import Any

from benchmarks import measuring
from benchmarks.streams import measure
from benchmarks.subjects import Subject, project
from tests.readers import STREAM

RATE = 167
SETS = 50
# Each user has the right that the events are for, and others in a combination of their own.
MAKE_USERS = """
from itertools import chain, combinations, islice
from django.contrib.auth.models import Permission, User
from rest_framework_simplejwt.tokens import AccessToken
from events.catalogue import catalogue
names = sorted(name for name in catalogue.permissions() if "." in name)
names.remove("servers.view_server")
sets = chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))
for number, others in enumerate(islice(sets, {count})):
    user = User.objects.create(username=f"mixed-{{number}}")
    for name in ("servers.view_server", *others):
        app, codename = name.split(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    print("TOKEN", AccessToken.for_user(user))
"""
FILTERS = ["", "?types=server.*", "?types=server.status_changed,incident.*"]


def make_users(subject: Subject, count: int) -> list[str]:
    """Access tokens of as many users, no two with the same rights. Raises RuntimeError where there
    are not as many sets."""
    assert subject.portal
    code = MAKE_USERS.format(count=count)
    printed = subject.portal.shell(code)
    tokens = [line.split()[1] for line in printed.splitlines() if line.startswith("TOKEN")]
    if len(tokens) < count:
        raise RuntimeError(f"there are only {len(tokens)} sets of rights")
    return tokens


def run(sets: int, streams: int, seconds: float) -> dict[str, Any]:
    with project() as subject:
        if sets == 1:
            return measure(subject, streams, RATE, seconds)
        tokens = make_users(subject, sets)
        paths = [STREAM + query for query in FILTERS]
        return measure(subject, streams, RATE, seconds, tokens=tokens, paths=paths, samples=sets)


def main() -> None:
    options = measuring.options(__doc__).parse_args()
    found: dict[int, list[dict[str, Any]]] = {1: [], SETS: []}
    for _ in range(options.rounds):
        for sets, rows in found.items():
            rows.append(run(sets, options.streams, options.seconds))
            print(f"{sets} sets of rights: {rows[-1]}", flush=True)
    medians = {sets: measuring.median_of(rows) for sets, rows in found.items()}
    one = medians[1]["CPU-seconds"]
    rows = [
        {
            "sets of rights": sets,
            "streams": options.streams,
            "events a second": RATE,
            "times the CPU of one set": round(row["CPU-seconds"] / one, 2),
        }
        | row
        for sets, row in medians.items()
    ]
    print(f"{SETS} sets cost {rows[-1]['times the CPU of one set']} times what one costs")
    measuring.write("rights", rows)


if __name__ == "__main__":
    main()
