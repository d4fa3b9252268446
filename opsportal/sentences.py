"""Events in words. The pages' scripts tell the same ones by the same table (sentences.js)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.urls import NoReverseMatch, reverse


@dataclass(frozen=True, slots=True)
class Sentence:
    """`{field}` stands for the data's field, `{field|: }` for the same with `: ` before it unless
    it is empty, and what is in brackets leads to the event's subject.

    With `when`, as `new_status=failed`, it is for events with this value alone. `tone` is `good`,
    `bad`, `quiet` for what hardly matters, or none of these.
    """

    text: str
    when: str = ""
    tone: str = ""


# The first that fits an event tells of it; an event that none fits is told of by its type.
SENTENCES: Final[dict[str, list[Sentence]]] = {
    "server.created": [Sentence("[{name}] was added")],
    "server.updated": [Sentence("[{name}] was changed{changes|: }")],
    "server.deleted": [Sentence("{name} was deleted")],
    "server.status_changed": [
        Sentence("[{name}] is being tested", "new_status=testing", "quiet"),
        Sentence("[{name}] answers", "new_status=success", "good"),
        Sentence("[{name}] fails{message|: }", "new_status=failed", "bad"),
        Sentence("[{name}] is to be tested anew", "new_status=unknown"),
    ],
    "credential.created": [Sentence("Credential {name} was added")],
    "credential.updated": [Sentence("Credential {name} was changed{changes|: }")],
    "credential.deleted": [Sentence("Credential {name} was deleted")],
    "environment.created": [Sentence("Environment {name} was added")],
    "environment.updated": [Sentence("Environment {name} was changed{changes|: }")],
    "environment.deleted": [Sentence("Environment {name} was deleted")],
    "incident.created": [
        Sentence("[{title}] was opened: {severity}", "severity=critical", "bad"),
        Sentence("[{title}] was opened: {severity}", "severity=high", "bad"),
        Sentence("[{title}] was opened: {severity}"),
    ],
    "incident.updated": [Sentence("[{title}] was changed{changes|: }")],
    "incident.deleted": [Sentence("Incident “{title}” was deleted")],
    "incident.status_changed": [
        Sentence("[{title}] was reopened{comment|: }", "new_status=open", "bad"),
        Sentence("[{title}] was acknowledged{comment|: }", "new_status=acknowledged"),
        Sentence("[{title}] was resolved{comment|: }", "new_status=resolved", "good"),
        Sentence("[{title}] was closed{comment|: }", "new_status=closed"),
    ],
    "incident.commented": [Sentence("A comment on [an incident]{text|: }")],
    "automation.queued": [Sentence("[{automation}] is to run{reason|: }", tone="quiet")],
    "automation.started": [Sentence("[{automation}] runs")],
    "automation.cancelling": [Sentence("[{automation}] is being cancelled")],
    "automation.completed": [Sentence("[{automation}] is done", tone="good")],
    "automation.failed": [Sentence("[{automation}] failed{error|: }", tone="bad")],
    "automation.cancelled": [Sentence("[{automation}] was cancelled")],
    "automation.target_changed": [
        Sentence("A [run] on {server} failed{error|: }", "status=failed", "bad"),
        Sentence("A [run] on {server}: {status}", tone="quiet"),
    ],
    "automation.definition_changed": [
        Sentence("Automation {name} was deleted", "change=deleted"),
        Sentence("Automation [{name}] was {change}{changes|: }"),
    ],
    "log.added": [Sentence("A [run] printed something", tone="quiet")],
    "stats.updated": [Sentence("Figures of {domain} changed", tone="quiet")],
    "notification.sent": [
        Sentence("A bell was rung for [{title}]", "channel="),
        Sentence("{channel} was told of [{title}]"),
    ],
    "notification.failed": [Sentence("{channel} was not told of [{title}]{error|: }", tone="bad")],
}

# Of many a second that are made for machines, and would hide what happens.
QUIET: Final = frozenset({"stats.updated", "log.added"})

# Subjects that have a page, and its name.
_PAGES: Final = {
    "servers.server": "servers:detail",
    "incidents.incident": "incidents:detail",
    "automation.run": "automations:run",
    "automation.automation": "automations:detail",
}

_TOKEN: Final = re.compile(r"\[|\]|\{(\w+)(?:\|([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Part:
    text: str
    is_link: bool


def sentence_of(event: Mapping[str, Any]) -> Sentence | None:
    for sentence in SENTENCES.get(event["type"], ()):
        field, _, value = sentence.when.partition("=")
        if not field or (field in event["data"] and told(event["data"][field]) == value):
            return sentence
    return None


def parts(sentence: Sentence, data: Mapping[str, Any]) -> Iterator[Part]:
    """The sentence of an event with this data, cut where a link begins or ends."""
    text, is_link, end = "", False, 0
    for token in _TOKEN.finditer(sentence.text):
        text += sentence.text[end : token.start()]
        end = token.end()
        if token[1]:
            value = told(data.get(token[1]))
            text += f"{token[2] or ''}{value}" if value else ""
        else:
            yield Part(text, is_link)
            text, is_link = "", token[0] == "["
    yield Part(text + sentence.text[end:], is_link)


def told(value: Any) -> str:
    """A value of an event's data, which may be whatever JSON can hold."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return ", ".join(str(each).replace("_", " ") for each in value)
    return str(value)


def page_of(subject: str) -> str:
    """The path of the page about a subject; empty where it has none."""
    kind, _, key = subject.partition("/")
    pattern = pages().get(kind, "")
    return pattern.replace("/0/", f"/{key}/") if key.isdecimal() else ""


def pages() -> dict[str, str]:
    """The path of each kind of subject that has a page, with 0 for its key."""
    found = {}
    for kind, name in _PAGES.items():
        try:
            found[kind] = reverse(name, args=[0])
        except NoReverseMatch:  # an app without pages
            continue
    return found


def for_scripts() -> dict[str, Any]:
    """All of this as JSON can hold it."""
    table = {name: [asdict(each) for each in choices] for name, choices in SENTENCES.items()}
    return {"sentences": table, "pages": pages()}
