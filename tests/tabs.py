"""Tabs of one browser that follow the stream through `events/static/events/stream.js`."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import BrowserContext, CDPSession, Error, Page, Request, Response

from tests.portal import Web
from tests.services import wait_until

PATIENCE = 30  # seconds
STREAM = re.compile(r"/api/v1/events/stream\b")
POLL = re.compile(r"/api/v1/events/\?")

# What a page of another app would do. The marker tells a reload, which takes the record away.
FOLLOW = """
async ({ url, ...options }) => {
  const { useSSE } = await import("/static/events/stream.js");
  const record = (window.record = { ids: [], statuses: [], resets: 0, opened: 0 });
  const stream = (window.stream = useSSE({ url, ...options }));
  record.statuses.push(stream.status);
  stream.onStatus((status) => status === record.statuses.at(-1) || record.statuses.push(status));
  stream.on("*", ({ id }) => record.ids.push(id));
  stream.on("stream.reset", () => (record.resets += 1));
  stream.on("stream.open", () => (record.opened += 1));
}
"""


@dataclass(eq=False)
class Tab:
    """A page that records what it is told, each event by its id."""

    page: Page
    streams: list[Request] = field(default_factory=list)
    polls: list[Response] = field(default_factory=list)
    debugger: CDPSession = field(init=False, repr=False)

    @classmethod
    def open(cls, context: BrowserContext, web: Web, clock: bool = False, **options: Any) -> Tab:
        """`options` are those of `useSSE`; with `clock` the test can make its time pass."""
        tab = cls(context.new_page())
        if clock:
            tab.page.clock.install()
        tab.page.on("request", tab.note_request)
        tab.page.on("response", tab.note_response)
        tab.page.goto(web.url("/healthz"))
        tab.page.evaluate(FOLLOW, {"url": "/api/v1/events/stream", "identity": "alice"} | options)
        return tab

    def note_request(self, request: Request) -> None:
        if STREAM.search(request.url):
            self.streams.append(request)

    def note_response(self, response: Response) -> None:
        if POLL.search(response.url):
            self.polls.append(response)

    def record(self, name: str) -> Any:
        return self.page.evaluate("(name) => window.record[name]", name)

    @property
    def ids(self) -> list[int]:
        return list(self.record("ids"))

    @property
    def statuses(self) -> list[str]:
        return list(self.record("statuses"))

    @property
    def status(self) -> str:
        return str(self.page.evaluate("stream.status"))

    def wait_for(self, status: str) -> None:
        self.wait_until(lambda: self.status == status, f"{status}, after {self.statuses}")

    def wait_for_opening(self) -> None:
        self.wait_until(lambda: self.record("opened") > 0, "it is told of an open stream")

    def wait_for_ids(self, count: int) -> None:
        self.wait_until(lambda: len(self.ids) >= count, f"{count} events")

    def wait_for_id(self, last: int) -> None:
        self.wait_until(lambda: self.ids[-1:] >= [last], f"the event {last}")

    def wait_until(self, predicate: Callable[[], bool], what: str) -> None:
        def met() -> bool:
            self.page.wait_for_timeout(50)  # in which Playwright takes in what happened
            return predicate()

        wait_until(met, PATIENCE, what)

    def hurry_until(self, predicate: Callable[[], bool], what: str) -> None:
        """Lets a second pass at each look. Not while a stream is open: heartbeats do not hurry."""

        def met() -> bool:
            self.page.clock.fast_forward(1_000)
            return predicate()

        self.wait_until(met, what)

    def close(self) -> None:
        self.page.close()

    def crash(self) -> None:
        with suppress(Error):  # nobody is left to answer
            self.page.context.new_cdp_session(self.page).send("Page.crash", timeout=500)

    def freeze(self) -> None:
        """As the browser does to one that nobody has looked at for long."""
        self.page.evaluate("document.dispatchEvent(new Event('freeze'))")

    def thaw(self) -> None:
        self.page.evaluate("document.dispatchEvent(new Event('resume'))")

    def hang(self) -> None:
        """Its script stands still, and is told of nothing: as on a phone that put it aside."""
        self.debugger = self.page.context.new_cdp_session(self.page)
        self.debugger.send("Debugger.enable")
        self.page.evaluate("setTimeout(() => { debugger; })")

    def go_on(self) -> None:
        self.debugger.send("Debugger.disable")
