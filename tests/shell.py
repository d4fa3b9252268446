"""What a portal's shell runs: the code that it is sent, a piece a line of JSON, until the end.

Each piece is as if it had a `manage.py shell -c` of its own, of which the start costs most.
"""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import redirect_stdout
from io import StringIO

from django.core.management.commands.shell import Command
from django.db import connections

from events.relay import relay


def main() -> None:
    """Answers each line with one: `{"printed": …, "failed": …}`."""
    answers, sys.stdout = sys.stdout, sys.stderr
    namespace = Command().get_namespace(verbosity=0)
    for line in sys.stdin:
        printed, failed = StringIO(), ""
        try:
            with redirect_stdout(printed):
                exec(json.loads(line), dict(namespace))
        except Exception:
            failed = traceback.format_exc()
        relay.stop()  # a process that ends lets it finish, too
        connections.close_all()
        answer = {"printed": printed.getvalue(), "failed": failed}
        print(json.dumps(answer), file=answers, flush=True)
