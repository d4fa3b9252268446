"""Somebody at the admin's pages, who fills in their forms."""

from __future__ import annotations

import html
import re
from typing import Any

from django.test import Client

from servers.tests.cast import Person

PAGE = "/admin/servers/server/"
CREDENTIALS = "/admin/servers/credential/"
ENVIRONMENTS = "/admin/servers/environment/"

_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)"')


def desk(person: Person) -> Client:
    """A browser of this person, who is on the staff."""
    person.user.is_staff = True
    person.user.save()
    browser = Client()
    browser.force_login(person.user)
    return browser


def filled(browser: Client, url: str, **values: Any) -> dict[str, Any]:
    """What the form at `url` would send with these values in place of those that it shows."""
    form = browser.get(url).context["adminform"].form
    shown = {name: form[name].value() for name in form.fields}
    return {name: value for name, value in (shown | values).items() if value not in (None, False)}


def save(browser: Client, url: str, **values: Any) -> Any:
    """The answer to the form at `url`, sent with these values."""
    return browser.post(url, filled(browser, url, **values))


def errors(response: Any) -> dict[str, list[str]]:
    """What a form that was refused says, by field."""
    assert response.status_code == 200, response
    found: dict[str, list[str]] = response.context["adminform"].form.errors
    return found


def run_action(browser: Client, action: str, *rows: Any, page: str = PAGE) -> Any:
    keys = [row.pk for row in rows]
    return browser.post(page, {"action": action, "_selected_action": keys}, follow=True)


def confirm(browser: Client, question: Any, page: str = PAGE, **values: Any) -> Any:
    """The answer to a page that asked, with what it hides in its form."""
    return browser.post(page, hidden(question) | values, follow=True)


def hidden(question: Any) -> dict[str, str]:
    content = question.content.decode().split('id="content-main"')[1]
    return {name: html.unescape(value) for name, value in _HIDDEN.findall(content)}


def messages(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]
