from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from incidents import deliveries, senders, webhooks
from incidents.models import Notification, NotificationChannel
from incidents.tests.making import SECRET
from incidents.tests.receivers import LOOPBACK, Hooks, Mail

pytestmark = pytest.mark.stack("embedded")  # it touches neither database nor Redis


@pytest.fixture(autouse=True)
def allowed(settings: Any) -> None:
    settings.NOTIFICATIONS_ALLOWED_NETWORKS = LOOPBACK


@pytest.fixture
def mail() -> Iterator[Mail]:
    with Mail() as server:
        yield server


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with Hooks() as server:
        yield server


def send(url: str, **values: Any) -> None:
    channel = NotificationChannel(name="ops", kind="apprise", url=url)
    if url.startswith("http"):
        channel.kind, channel.secret = "webhook", SECRET
    title, body = values.pop("title", "[HIGH] Disk full"), values.pop("body", "It is.")
    told: dict[str, Any] = {"title": title, "body": body, "payload": {"a": 1}}
    senders.send(channel, Notification(channel=channel, **told))


def refusal(url: str) -> str:
    with pytest.raises(senders.SendError) as caught:
        send(url)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_mail_arrives_as_text(mail: Mail) -> None:
    send(mail.url(), body="ann says:\n\n<script>alert(1)</script> & more")
    [message] = mail.messages
    assert mail.recipients == [["ops@example.org"]]
    assert message["Subject"] == "[HIGH] Disk full"
    assert message["From"] == "portal@example.org"
    assert message.get_content_type() == "text/plain"
    text = message.get_payload(decode=True)
    assert isinstance(text, bytes)
    lines = text.decode().split()
    assert lines == ["ann", "says:", "<script>alert(1)</script>", "&", "more"]


def test_no_title_adds_a_header_to_a_mail(mail: Mail) -> None:
    send(mail.url(), title="Disk full\r\nBcc: eve@example.org")
    assert mail.recipients == [["ops@example.org"]]
    assert mail.messages[0]["Bcc"] is None


def test_a_refused_mail_is_an_error(mail: Mail) -> None:
    mail.answers = ["451 Later"]
    assert "ops@example.org" not in refusal(mail.url())
    assert mail.messages == []


def test_a_wrong_password_is_an_error_that_does_not_repeat_it(mail: Mail) -> None:
    text = refusal(mail.url(password="starfish-43"))
    assert "127.0.0.1" in text
    assert "starfish" not in text
    assert mail.messages == []


def test_a_webhook_goes_the_other_way(hooks: Hooks) -> None:
    send(hooks.url())
    assert hooks.calls[0].verified(SECRET) == {"a": 1}


# Where to


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001"])
def test_a_mail_server_that_is_not_public_is_not_connected_to(
    mail: Mail, host: str, settings: Any
) -> None:
    settings.NOTIFICATIONS_ALLOWED_NETWORKS = []
    assert "which is no public address" in refusal(mail.url(host=host))
    assert mail.messages == []


def test_a_service_at_a_private_host_is_not_called(hooks: Hooks, settings: Any) -> None:
    settings.NOTIFICATIONS_ALLOWED_NETWORKS = []
    url = f"gotify://localhost:{hooks.port}/Aswordfish12345"
    assert "127.0.0.1, which is no public address" in refusal(url)
    assert hooks.calls == []


def test_a_redirect_leads_to_no_private_host(hooks: Hooks, settings: Any) -> None:
    settings.NOTIFICATIONS_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    with Hooks(host="127.0.0.2") as private:
        hooks.answers = [307] * 3
        hooks.headers = {"Location": private.url(host="127.0.0.2")}
        url = f"gotify://127.0.0.1:{hooks.port}/Aswordfish12345?redirect=yes"
        assert "127.0.0.2" in refusal(url)
        assert hooks.calls
        assert private.calls == []


REBIND = """
import socket
from incidents import apprise_process
real, answers = socket.getaddrinfo, ["127.0.0.1", "127.0.0.2"]
def getaddrinfo(host, *args, **options):
    if host != "rebound.example":
        return real(host, *args, **options)
    return real(answers.pop(0) if len(answers) > 1 else answers[0], *args, **options)
socket.getaddrinfo = getaddrinfo
for _ in range({looks}):
    socket.getaddrinfo("rebound.example", {port})
apprise_process.main()
"""


@pytest.mark.parametrize("looks", [0, 1])
def test_what_a_name_leads_to_is_judged_when_it_is_connected_to(looks: int) -> None:
    """However often it was looked up before (DNS rebinding)."""
    with Hooks(host="127.0.0.1") as permitted, Hooks(host="127.0.0.2") as private:
        port = (private if looks else permitted).port
        order = {
            "url": f"gotify://rebound.example:{port}/Aswordfish12345",
            "title": "t",
            "body": "b",
            "allowed": ["127.0.0.1/32"],
            "seconds": 30,
        }
        done = subprocess.run(
            [sys.executable, "-c", REBIND.format(looks=looks, port=port)],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            cwd=django_settings.BASE_DIR,
            timeout=60,
        )
        told = json.loads(done.stdout)
        assert (told["accepted"], told["refused"]) == (
            (False, "127.0.0.2") if looks else (True, "")
        )
        assert (len(permitted.calls), private.calls) == (0 if looks else 1, [])


def test_the_machines_proxy_is_not_asked(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hooks() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        send(f"gotify://127.0.0.1:{hooks.port}/Aswordfish12345")
        assert (len(hooks.calls), proxy.calls) == (1, [])


def test_no_file_of_the_portals_machine_is_read(tmp_path: Path) -> None:
    """Some of Apprise's services take a template from wherever their URL says."""
    secret = tmp_path / "secret.json"
    secret.write_text('{"text": "swordfish"}')
    url = f"workflows://127.0.0.1:1/workflow/signature/?template={secret}"
    told = senders._run_apprise(url, "t", "b")
    assert not told["accepted"]
    assert f"{secret} could not be read" in told["said"]
    assert str(secret) not in refusal(url)


# What is refused


@pytest.mark.parametrize(
    "url",
    [
        *("json://example.org/", "JSONS://example.org/", " xml://example.org/", "form://a.example"),
        *("syslog://", "rsyslog://example.org", "dbus://", "windows://", "macosx://", "gnome://"),
        *("apprise://example.org/token", "nonsense", "", "://", "swordfish://x", "mailto://"),
    ],
)
def test_services_that_reach_anything_are_not_offered(url: str) -> None:
    with pytest.raises(senders.UnknownService) as caught:
        senders.check_service(url)
    assert not url or url not in str(caught.value)


def test_a_check_connects_to_nothing(mail: Mail, hooks: Hooks) -> None:
    senders.check_service(mail.url())
    senders.check_service(f"gotify://127.0.0.1:{hooks.port}/Aswordfish12345")
    assert (mail.messages, hooks.calls) == ([], [])


# Time


def test_a_receiver_without_end_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says a little again and again, so that no single wait is long."""
    monkeypatch.setattr(senders, "APPRISE_TIMEOUT", 3)
    over = threading.Event()

    def drip() -> None:
        connection, _ = server.accept()
        with connection:
            while not over.wait(0.05):
                try:
                    connection.sendall(b"220-more\r\n")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        url = f"mailto://127.0.0.1:{server.getsockname()[1]}/?from=a@b.example&to=x@y.example"
        try:
            assert refusal(url) == "The service did not answer within 3 s."
        finally:
            over.set()
            thread.join()


def test_no_sender_outlasts_its_claim() -> None:
    longest = max(webhooks.TIMEOUT, senders.APPRISE_TIMEOUT)
    assert longest * 2 < deliveries.CLAIM.total_seconds()


# Secrets


def test_nothing_of_a_url_is_logged(mail: Mail, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("", "apprise", "urllib3", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)
    send(mail.url())
    refusal(mail.url(password="starfish-43"))
    refusal("tgram://123456789:swordfish_abcdefghijklmnopqrst/12315544?rto=1&cto=1")
    # The mail server of the test logs what it is told.
    logged = [row.getMessage() for row in caplog.records if not row.name.startswith("mail.")]
    for secret in ("swordfish", "starfish", "portal@example.org", "123456789"):
        assert secret not in "\n".join(logged)


@pytest.mark.parametrize(
    ("url", "words", "told"),
    [
        ("mailto://u:swordfish@mail.example/?to=x@y.example", "mail.example is down", True),
        ("mailto://u:swordfish@mail.example/?to=x@y.example", "no swordfish here", False),
        ("mailto://mail.example/?user=u&pass=sword%20fish", "no sword fish here", False),
        ("mailto://mail.example/?user=u&pass=sword%2Ffish", "no sword/fish here", False),
        ("tgram://1234:swordfish/99", "bot1234:swordfish is unknown", False),
        ("slack://swordfish/b/c", "host swordfish is unknown", False),
        ("ntfy://ntfy.example/swordfish", "it said 500", True),
        ("gotify://gotify.example/sw", "", True),
    ],
)
def test_words_that_repeat_a_part_of_the_url_are_not_told(
    url: str, words: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"known": True, "accepted": False, "said": words, "refused": ""}
    monkeypatch.setattr(senders, "_run_apprise", lambda *_: answer)
    text = refusal(url)
    assert (text in (words, "The service did not accept it.")) is told
    assert told or "swordfish" not in text


def test_the_process_is_given_no_secret_of_the_portals(
    monkeypatch: pytest.MonkeyPatch, mail: Mail
) -> None:
    given: list[Any] = []
    real = subprocess.run

    def run(command: Any, **options: Any) -> Any:
        given.append((command, options["env"]))
        return real(command, **options)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("SECRET_KEY", "starfish")
    send(mail.url())
    [(command, environment)] = given
    assert "SECRET_KEY" not in environment
    assert Mail.password not in str(command) + str(environment)
