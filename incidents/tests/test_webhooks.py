from __future__ import annotations

import json
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from incidents import webhooks
from incidents.tests.receivers import LOOPBACK, Hooks

pytestmark = pytest.mark.stack("embedded")  # it touches neither database nor Redis

SECRET = webhooks.new_secret()
PAYLOAD = {"type": "incident.created", "data": {"title": "Plattenfehler – ünï"}}

Resolver = Callable[[str, list[str]], list[str]]


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with Hooks() as server:
        yield server


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Lets a name lead to each of these in turn, and on to the last; returns who asked for it."""
    real = socket.getaddrinfo
    asked: list[str] = []

    def names(name: str, answers: list[str]) -> list[str]:
        def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
            if host != name:
                return real(host, port, *args, **options)
            asked.append(host)
            address = answers.pop(0) if len(answers) > 1 else answers[0]
            return [row for each in address.split() for row in real(each, port, *args, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return names


def send(url: str, allowed: list[str] = LOOPBACK, key: str = "key-1") -> None:
    webhooks.send(url, SECRET, key, PAYLOAD, allowed)


def refusal(url: str, allowed: list[str] = LOOPBACK) -> str:
    with pytest.raises(webhooks.NotAccepted) as caught:
        send(url, allowed)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_webhook_is_signed_by_the_convention(hooks: Hooks) -> None:
    send(hooks.url("/hook?token=1"))
    [call] = hooks.calls
    assert call.verified(SECRET) == PAYLOAD
    assert call.path == "/hook?token=1"
    assert call.key == "key-1"
    assert abs(int(call.headers["webhook-timestamp"]) - time.time()) < 60
    assert call.headers["content-type"] == "application/json"
    assert call.headers["host"] == f"127.0.0.1:{hooks.port}"


def test_another_secret_does_not_verify(hooks: Hooks) -> None:
    send(hooks.url())
    with pytest.raises(AssertionError):
        hooks.calls[0].verified(webhooks.new_secret())


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_accepts(hooks: Hooks, status: int) -> None:
    hooks.answers = [status]
    send(hooks.url())


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410, 429, 500, 503])
def test_nothing_else_does(hooks: Hooks, status: int) -> None:
    hooks.answers = [status]
    hooks.headers = {"Location": hooks.url("/elsewhere")}
    assert refusal(hooks.url("/hook")) == f"The receiver answered {status}."
    assert [call.path for call in hooks.calls] == ["/hook"]


@pytest.mark.parametrize("place", ["head", "body"])
def test_a_receiver_without_end_holds_nobody(
    hooks: Hooks, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows the head is not waited for; a head that does not end is not accepted."""
    monkeypatch.setattr(webhooks, "TIMEOUT", 1.0)
    hooks.drips = place
    if place == "body":
        send(hooks.url())
    else:
        assert "did not answer within 1 s" in refusal(hooks.url())


def test_a_receiver_that_says_nothing_holds_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(webhooks, "CONNECT_TIMEOUT", 0.3)
        assert "did not take the connection" in refusal(f"https://127.0.0.1:{port}/")
        monkeypatch.setattr(webhooks, "TIMEOUT", 0.5)
        assert "did not answer within 0.5 s" in refusal(f"http://127.0.0.1:{port}/")


def test_time_that_the_name_takes_counts(
    hooks: Hooks, resolve: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT", -1.0)
    assert "did not answer" in refusal(hooks.url())
    assert hooks.calls == []


def test_a_receiver_that_is_down_is_an_error_without_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    text = refusal(f"http://127.0.0.1:{port}/swordfish?token=swordfish")
    assert text == "The receiver could not be reached: ConnectError."


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.1", "[::1]", "[::ffff:7f00:1]"],
)
def test_what_is_not_public_is_not_called(hooks: Hooks, host: str) -> None:
    assert "no public address" in refusal(hooks.url(host=host), allowed=[])
    assert hooks.calls == []


@pytest.mark.parametrize(
    "url",
    [
        "http://public.example@127.0.0.1:{port}/",
        "http://user:pass@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@public.example/",
        "http://127.0.0.1:{port}#@public.example/",
        "http://127.0.0.1:{port}?@public.example/",
        "http://①②⑦.0.0.1:{port}/",
        "http://127。0。0。1:{port}/",
        "http://127.0.0.1.:{port}/",
        "http:127.0.0.1:{port}/",
        "http:///127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "ftp://127.0.0.1:{port}/",
        "file:///etc/passwd",
        "http://[::1/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http://\r\nHost: x/",
        "http://\udcff/",
        "",
    ],
)
def test_no_trick_of_a_url_leads_to_what_is_not_public(hooks: Hooks, url: str) -> None:
    assert refusal(url.format(port=hooks.port), allowed=[])
    assert hooks.calls == []


def test_the_address_that_was_looked_at_is_the_one_that_is_called(
    hooks: Hooks, resolve: Resolver
) -> None:
    """A name that leads elsewhere a moment later (DNS rebinding)."""
    with Hooks(host="127.0.0.2") as private:
        private.port = hooks.port
        asked = resolve("rebound.example", ["127.0.0.1", "127.0.0.2"])
        send(hooks.url(host="rebound.example"), allowed=["127.0.0.1/32"])
        assert asked == ["rebound.example"]
        assert [call.headers["host"] for call in hooks.calls] == [f"rebound.example:{hooks.port}"]
        assert "no public address" in refusal(
            hooks.url(host="rebound.example"), allowed=["127.0.0.1/32"]
        )
        assert (len(hooks.calls), private.calls) == (1, [])


def test_an_address_that_does_not_answer_is_followed_by_the_next(
    hooks: Hooks, resolve: Resolver
) -> None:
    resolve("two.example", ["127.0.0.9 127.0.0.1"])
    send(hooks.url(host="two.example"))
    assert len(hooks.calls) == 1


def test_a_name_beyond_ascii_is_asked_for_as_the_url_encodes_it(
    hooks: Hooks, resolve: Resolver
) -> None:
    """By IDNA 2008. Python's own codec would lead to strasse.example, which is somebody else's."""
    asked = resolve("xn--strae-oqa.example", ["127.0.0.1"])
    send(hooks.url(host="straße.example"))
    assert asked == ["xn--strae-oqa.example"]
    assert hooks.calls[0].headers["host"] == f"xn--strae-oqa.example:{hooks.port}"


def test_the_machines_proxy_is_not_asked(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hooks() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url(""))
        monkeypatch.setenv("ALL_PROXY", proxy.url(""))
        send(hooks.url())
        assert (len(hooks.calls), proxy.calls) == (1, [])


# HTTPS


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ssl.SSLContext]:
    """An authority that is trusted here; makes what a server of a name presents."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=Test CA")
    basic = x509.BasicConstraints(ca=True, path_length=None)
    root = certificate(name, key.public_key()).add_extension(basic, critical=True)
    (tmp_path / "ca.pem").write_bytes(pem(root.issuer_name(name).sign(key, hashes.SHA256())))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def context(host: str) -> ssl.SSLContext:
        own = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        leaf = certificate(subject, own.public_key()).add_extension(names, critical=False)
        private = own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        chain = tmp_path / f"{host}.pem"
        chain.write_bytes(private + pem(leaf.issuer_name(name).sign(key, hashes.SHA256())))
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(chain)
        return made

    return context


def certificate(subject: x509.Name, key: Any) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )


def pem(signed: x509.Certificate) -> bytes:
    return signed.public_bytes(serialization.Encoding.PEM)


def test_the_certificate_is_verified_for_the_urls_name(
    authority: Callable[[str], ssl.SSLContext], resolve: Resolver
) -> None:
    resolve("hooks.example", ["127.0.0.1"])
    with Hooks(authority("hooks.example")) as good, Hooks(authority("other.example")) as bad:
        send(good.url(host="hooks.example"))
        assert [call.verified(SECRET) for call in good.calls] == [PAYLOAD]
        text = refusal(bad.url(host="hooks.example"))
        assert "its certificate is not good for this host" in text
        assert "certificate is not good" in refusal(good.url(host="127.0.0.1"))
        assert (len(good.calls), bad.calls) == (1, [])


def test_the_certificate_is_verified_for_a_name_beyond_ascii(
    authority: Callable[[str], ssl.SSLContext], resolve: Resolver
) -> None:
    resolve("xn--strae-oqa.example", ["127.0.0.1"])
    with Hooks(authority("xn--strae-oqa.example")) as good:
        send(good.url(host="straße.example"))
        assert len(good.calls) == 1


def test_a_certificate_of_nobody_who_is_trusted_is_refused(
    authority: Callable[[str], ssl.SSLContext], resolve: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve("hooks.example", ["127.0.0.1"])
    with Hooks(authority("hooks.example")) as server:
        monkeypatch.delenv("SSL_CERT_FILE")
        assert "certificate is not good" in refusal(server.url(host="hooks.example"))
        assert server.calls == []


# Secrets


def test_nothing_of_the_path_or_the_secret_is_logged(
    hooks: Hooks, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("", "httpx", "httpcore", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    hooks.answers = [200, 500]
    send(hooks.url("/swordfish?token=starfish"))
    text = refusal(hooks.url("/swordfish?token=starfish"))
    assert len(hooks.calls) == 2
    for secret in ("swordfish", "starfish", SECRET, SECRET.removeprefix("whsec_")):
        assert secret not in caplog.text + text


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (webhooks.new_secret(), True),
        ("whsec_" + "A" * 32, True),
        ("whsec_" + "A" * 28, False),
        ("whsec_" + "A" * 88, False),
        ("A" * 32, False),
        ("whsec_", False),
        ("whsec_" + "!" * 40, False),
        ("whsec_ünï", False),
    ],
)
def test_a_secret_is_24_to_64_bytes_after_its_prefix(text: str, good: bool) -> None:
    assert webhooks.is_secret(text) is good


def test_new_secrets_are_good_and_never_the_same() -> None:
    made = {webhooks.new_secret() for _ in range(20)}
    assert len(made) == 20
    assert all(map(webhooks.is_secret, made))


def test_the_payload_is_json_in_ascii_whatever_it_holds(hooks: Hooks) -> None:
    webhooks.send(hooks.url(), SECRET, "k", {"text": "\udcff ünï \x00"}, LOOPBACK)
    assert json.loads(hooks.calls[0].body)["text"] == "\udcff ünï \x00"
