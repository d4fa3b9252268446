"""What the demo's operators run: harmless scripts, and one of each kind of end."""

from __future__ import annotations

import random
from typing import Any, Final

from django.db import transaction

from automation import runs, services
from automation.models import Automation, Run
from automation.models.run import UNFINISHED
from servers.models import Environment

DISK_USAGE: Final = r"""# How full each file system is; fails where one is fuller than the limit.
printf '\033[1m%-24s %6s  %s\033[0m\n' 'MOUNTED ON' 'USED' ''
df -P 2>/dev/null | grep -E "^(/|overlay)" | while read -r _ _ _ _ used path; do
  used=${used%\%}
  colour=32; [ "$used" -ge 70 ] && colour=33; [ "$used" -ge "$PARAM_LIMIT" ] && colour=31
  bar=$(printf '%*s' $((used / 5)) '' | tr ' ' '#')
  printf '%-24s \033[%sm%5s%%  %s\033[0m\n' "$path" "$colour" "$used" "$bar"
  [ "$used" -lt "$PARAM_LIMIT" ] || exit 1
done
"""

ROLLING_RESTART: Final = r"""# One server after the other; one that stays away stops the rest.
step() { printf '\033[36m→\033[0m %s' "$1"; sleep 1; printf ' \033[32mok\033[0m\n'; }
echo "Restarting $PARAM_SERVICE on $SERVER_NAME"
step "taking $SERVER_NAME out of the load balancer"
step "waiting for open requests"
step "stopping $PARAM_SERVICE"
step "starting $PARAM_SERVICE"
for percent in 10 25 45 70 90 100; do
  printf '\r  warming up %3s %%' "$percent"; sleep 0.3
done
echo
[ "$PARAM_CHECK" = none ] || step "health check ($PARAM_CHECK)"
step "back into the load balancer"
"""

BACKUPS: Final = r"""# Fails on the database, whose last backup is too old.
case $SERVER_NAME in
  db-*)
    echo "last backup: 31 hours ago" >&2
    printf '\033[31m%s\033[0m\n' "older than 24 hours" >&2
    exit 2 ;;
esac
echo "last backup: 5 hours ago"
"""

REINDEX: Final = r"""# Takes ten minutes: something to cancel, or to look at while it goes on.
trap 'echo "rolling back the open batch"; exit 1' TERM
batch=0
while [ "$batch" -lt 600 ]; do
  batch=$((batch + 1))
  echo "batch $batch of 600: $((batch * 250)) documents"
  sleep 1 & wait $!
done
"""

ROTATE_TOKEN: Final = r"""# What is secret is masked, wherever it is printed.
echo "writing the new token to the application's configuration"
echo "token=$PARAM_TOKEN"
sleep 1
echo "reloaded"
"""

AUTOMATIONS: Final[list[dict[str, Any]]] = [
    {
        "name": "Disk usage",
        "description": "Reports how full the file systems are.",
        "script": DISK_USAGE,
        "parameters": [
            {
                "name": "limit",
                "type": "integer",
                "label": "Fails from so many percent on",
                "default": 98,
                "minimum": 1,
                "maximum": 100,
            }
        ],
        "environment": "production",
        "timeout": 60,
    },
    {
        "name": "Rolling restart",
        "description": "Restarts a service, one server after the other.",
        "script": ROLLING_RESTART,
        "parameters": [
            {
                "name": "service",
                "type": "choice",
                "label": "Service",
                "choices": ["nginx", "app", "worker"],
                "default": "app",
            },
            {
                "name": "check",
                "type": "choice",
                "label": "Health check",
                "choices": ["http", "tcp", "none"],
                "default": "http",
            },
        ],
        "tags": ["web"],
        "concurrency": 1,
        "max_failures": 1,
    },
    {
        "name": "Check backups",
        "description": "Fails where the last backup is older than a day.",
        "script": BACKUPS,
        "environment": "production",
    },
    {
        "name": "Reindex search",
        "description": "Takes ten minutes, and can be cancelled.",
        "script": REINDEX,
        "tags": ["db"],
        "timeout": 900,
    },
    {
        "name": "Rotate API token",
        "description": "Writes a new token into the application's configuration.",
        "script": ROTATE_TOKEN,
        "parameters": [{"name": "token", "type": "secret", "label": "New token", "required": True}],
        "tags": ["web"],
    },
]

OFTEN: Final = ("Disk usage", "Rolling restart", "Check backups")


def create() -> None:
    """Makes the demo's automations where there never was one."""
    if Automation.objects.exists() or Run.objects.exists():
        return
    with transaction.atomic():
        for values in AUTOMATIONS:
            given = dict(values)
            environments = Environment.objects.filter(name=given.pop("environment", ""))
            services.create(Automation(**given), environments=environments)


def run_one(user: Any) -> None:
    """Runs one of them, unless one is under way."""
    automation = Automation.objects.filter(name=random.choice(OFTEN), enabled=True).first()
    if automation is None or Run.objects.filter(status__in=UNFINISHED).exists():
        return
    try:
        runs.start(automation, user, reason="The demo's routine")
    except runs.NoTargets:  # somebody has tidied up
        return
