import pytest

from events.audience import audience, group_name, permission_key, user_key

DECLARED = ("servers.view_server",)


@pytest.mark.parametrize(
    ("permissions", "users", "keys"),
    [
        (None, [], ["servers.view_server"]),
        ([], [], ["everyone"]),
        (["a.b"], [], ["a.b"]),
        (["a.b", "c.d", "a.b"], [], ["a.b", "c.d"]),
        (None, [7], ["user:7"]),
        (["a.b"], [7, 8], ["a.b", "user:7", "user:8"]),
        ([], [7], ["everyone", "user:7"]),
    ],
)
def test_audience_keys(permissions: list[str] | None, users: list[int], keys: list[str]) -> None:
    assert audience(DECLARED, permissions, users) == keys


@pytest.mark.parametrize(("permissions", "users"), [(None, []), ([], []), (["a.b"], [7])])
def test_an_internal_type_is_for_hubs_whatever_is_named(
    permissions: list[str] | None, users: list[int]
) -> None:
    assert audience(("internal",), permissions, users) == ["internal"]


@pytest.mark.parametrize(
    "text", ["", "everyone", "internal", "user:7", "a b.c", "a.b\n", "a.", ".b", "ä.b"]
)
def test_what_is_no_permission_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a permission"):
        permission_key(text)


def test_permissions_as_one_text_are_refused() -> None:
    with pytest.raises(ValueError, match="must be a list"):
        audience(DECLARED, "servers.view_server", [])


def test_a_user_is_named_by_key_or_object() -> None:
    class Someone:
        pk = 7

    assert user_key(Someone()) == user_key(7) == "user:7"


@pytest.mark.parametrize("key", ["servers.view_server", "user:7", "everyone"])
def test_group_names_can_be_read(key: str) -> None:
    assert group_name(key) == "events." + key.replace(":", "-")


def test_no_permission_shares_a_users_group() -> None:
    assert group_name("user:5") != group_name(permission_key("user.5"))


@pytest.mark.parametrize("key", ["a." + "x" * 200, "user:ä", "user:a b", "user:" + "é" * 40])
def test_group_names_are_legal_whatever_the_key(key: str) -> None:
    name = group_name(key)
    assert name.isascii()
    assert len(name) < 100
    assert group_name(key + "!") != name
