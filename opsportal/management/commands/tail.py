"""Follows the event stream in a terminal."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from typing import Any

import httpx
from django.core.management.base import BaseCommand, CommandError, CommandParser
from httpx_sse import ServerSentEvent, SSEError, connect_sse

STREAM = "/api/v1/events/stream"
SILENCE = 2.5  # heartbeats without a byte until the connection counts as lost
LONGEST_DELAY = 30.0  # seconds between two attempts
RED, GREEN, YELLOW, BLUE, DIM, PLAIN = (f"\x1b[{code}m" for code in (31, 32, 33, 36, 2, 0))


class Command(BaseCommand):
    help = "Follows the event stream: one line an event, reconnecting and resuming by itself."

    def add_arguments(self, parser: CommandParser) -> None:
        here = f"http://127.0.0.1:{os.environ.get('PORT') or 8000}"
        parser.add_argument("--url", default=here, help=f"the portal ({here}, by $PORT)")
        parser.add_argument(
            "--token",
            default=os.environ.get("OPSPORTAL_TOKEN", ""),
            help="access token, from POST /api/v1/auth/token/ (default: $OPSPORTAL_TOKEN)",
        )
        parser.add_argument("--types", default="", help="comma list, such as server.*")
        parser.add_argument("--subject", default="", help="such as servers.server/42")
        parser.add_argument("--after", type=int, help="begin after this position")
        parser.add_argument("--json", action="store_true", help="print each event's JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["token"]:
            raise CommandError("--token is needed: an access token of POST /api/v1/auth/token/")
        self.last_id = "" if options["after"] is None else str(options["after"])
        self.heartbeat, self.failures, self.connected = 30.0, 0, False
        self.as_json = options["json"]
        self.colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        try:
            while True:
                self._follow(options)
                self._pause()
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:  # as `head` does; Python flushes what is left at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _follow(self, options: dict[str, Any]) -> None:
        """Reads one connection to its end; returns for another attempt."""
        headers = {"Authorization": f"Bearer {options['token']}"}
        if self.last_id:
            headers["Last-Event-ID"] = self.last_id
        names = ("types", "subject")
        parameters = {name: options[name] for name in names if options[name]}
        timeout = httpx.Timeout(10, read=self.heartbeat * SILENCE)
        url = options["url"].rstrip("/") + STREAM
        try:
            with (
                httpx.Client(headers=headers, timeout=timeout) as client,
                connect_sse(client, "GET", url, params=parameters) as source,
            ):
                self._check(source.response)
                for event in source.iter_sse():
                    self._take(event)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise CommandError(f"--url {options['url']}: {error}") from error
        except (httpx.TransportError, SSEError) as error:
            what = "connection lost" if self.connected else f"cannot reach {options['url']}"
            self._note(f"{what}, trying again: {error or type(error).__name__}")
        self.connected = False

    def _check(self, response: httpx.Response) -> None:
        """Gives up where another attempt would get the same answer."""
        if response.status_code == 200:
            return
        try:
            detail = str(json.loads(response.read())["detail"])
        except (ValueError, KeyError, TypeError):
            detail = response.reason_phrase
        if response.status_code < 500 and response.status_code != 429:
            raise CommandError(f"{response.status_code}: {detail}")
        self._note(f"{response.status_code}: {detail}")

    def _take(self, event: ServerSentEvent) -> None:
        self.failures = 0
        self.last_id = event.id or self.last_id
        data = event.json()
        if event.event == "stream.open":
            self.heartbeat = float(data["heartbeat"])
            self.connected = True
            self._note(f"connected, at position {data['cursor']}")
            if not data["types"]:
                self._note("no event type is readable here: check --types, and this user's rights")
        elif event.event == "stream.reset":
            self._note(f"{data['reason']}: some events are missing, going on from {data['cursor']}")
        elif event.event == "stream.closing":
            self._note(f"the server ends this connection: {data['reason']}")
        elif event.event != "heartbeat":
            print(event.data if self.as_json else self._line(data), flush=True)

    def _line(self, event: dict[str, Any]) -> str:
        actor = (event["actor"] or {}).get("username", "-")
        data = json.dumps(event["data"], ensure_ascii=True)
        time_, colour = event["timestamp"], self._colour(event)
        head = f"{self._paint(DIM, time_)} {event['id']:>8} {self._paint(colour, event['type'])}"
        return f"{head} {event['subject']} {self._paint(DIM, 'by')} {actor} {data}"

    def _colour(self, event: dict[str, Any]) -> str:
        words = {*event["type"].split("."), event["data"].get("new_status")}
        if words & {"failed", "deleted"}:
            return RED
        if words & {"success", "created", "completed", "sent"}:
            return GREEN
        return YELLOW if words & {"testing", "started", "running"} else BLUE

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{PLAIN}" if self.colours else text

    def _note(self, text: str) -> None:
        """What is not an event goes to standard error, so that a pipe gets events only."""
        print(self._paint(DIM, f"# {text}"), file=sys.stderr, flush=True)

    def _pause(self) -> None:
        """Exponential back-off with full jitter."""
        self.failures += 1
        time.sleep(random.uniform(0.1, min(LONGEST_DELAY, 2.0 ** min(self.failures, 10) / 2)))
