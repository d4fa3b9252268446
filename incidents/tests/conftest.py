from servers.tests.cast import (
    admin,
    anonymous,
    committing,
    environment,
    jobs,
    operator,
    outsider,
    people,
    responder,
    server,
    viewer,
)

__all__ = [
    "admin",
    "anonymous",
    "committing",
    "environment",
    "jobs",
    "operator",
    "outsider",
    "people",
    "responder",
    "server",
    "viewer",
]
