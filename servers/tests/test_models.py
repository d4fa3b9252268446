"""What a server may be called and where it may be."""

import pytest
from django.core.exceptions import ValidationError

from servers.models import Credential, Server, validate_host
from servers.tests.cast import create_server


@pytest.mark.parametrize(
    "host",
    ["a", "web-01", "web_01.example.com", "example.com.", "10.0.0.5", "::1", "fd00::1", "a" * 63],
)
def test_hosts_are_names_or_addresses(host: str) -> None:
    validate_host(host)


@pytest.mark.parametrize(
    "host",
    ["", "-a", "a-", "a..b", ".a", "a b", "a\n", "a/b", "ä.de", "a" * 64, "a." * 127 + "a"],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValidationError):
        validate_host(host)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("text", ["a" * 252 + "!", "a-" * 126 + "!", "a." * 126 + "!"])
def test_no_text_makes_the_check_of_a_host_take_long(text: str) -> None:
    with pytest.raises(ValidationError):
        validate_host(text)


@pytest.mark.django_db
def test_rows_without_secrets_have_neither_their_own_nor_the_shared_ones() -> None:
    shared = Credential.objects.create(name="ops", kind=Credential.Kind.PASSWORD, secret="x")
    create_server(credential="", shared_credential=shared)
    plain = Server.objects.without_secrets()
    for rows in (plain, plain.select_related("shared_credential")):
        assert "credential" in rows.get().get_deferred_fields()
    joined = plain.select_related("shared_credential").get().shared_credential
    assert joined
    assert joined.get_deferred_fields() == {"secret", "passphrase"}
