import asyncssh


def new_host_key() -> str:
    """A public key in OpenSSH form, without a comment."""
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key()
    return " ".join(key.decode().split()[:2])
