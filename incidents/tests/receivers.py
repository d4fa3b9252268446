"""What notifications are sent to in the tests: a mail server, and a server of webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from standardwebhooks import Webhook

from tests.services import free_port

LOOPBACK = ["127.0.0.0/8", "::1/128"]


@dataclass(frozen=True, slots=True)
class Call:
    """A request to a webhook."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """The payload, by the reference library and by a computation of its own."""
        signed = f"{self.key}.{self.headers['webhook-timestamp']}.".encode() + self.body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        wanted = f"v1,{base64.b64encode(digest).decode()}"
        assert self.headers["webhook-signature"] == wanted
        payload = Webhook(secret).verify(self.body, self.headers)
        assert payload == json.loads(self.body)
        return payload


class Hooks(ThreadingHTTPServer):
    """Answers 200, or what `answers` holds next; what came is in `calls`.

    `headers` go with each answer. With `drips`, an answer never comes to its end.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.calls: list[Call] = []
        self.answers: list[int] = []
        self.headers: dict[str, str] = {}
        self.drips = ""  # in the "head" or in the "body"
        self.context = context
        self.over = threading.Event()
        self.arrived = threading.Event()
        self.hold: threading.Event | None = None  # an answer waits for it
        super().__init__((host, free_port()), Handler)
        self.port = self.server_address[1]

    def get_request(self) -> Any:
        connection, address = super().get_request()
        if self.context:
            connection = self.context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what some tests want."""

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{'https' if self.context else 'http'}://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Hooks

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.calls.append(Call(self.path, headers, body))
        self.server.arrived.set()
        if self.server.hold:
            self.server.hold.wait(120)
        status = self.server.answers.pop(0) if self.server.answers else 200
        if self.server.drips == "head":
            self.drip(b"HTTP/1.1 200 OK\r\nX-A: ")
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.server.drips == "body":
            self.drip(b"")

    do_GET = do_POST

    def drip(self, first: bytes) -> None:
        self.wfile.write(first)
        while not self.server.over.wait(0.05):
            self.wfile.write(b"x")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing, as the tests look at what the portal logs."""


class Mail:
    """A mail server that takes one user's login. `answers` holds what it says to messages next."""

    username, password = "portal", "swordfish-42"

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.recipients: list[list[str]] = []
        self.answers: list[str] = []
        self.port = free_port()
        self.controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            authenticator=self.authenticate,
            auth_require_tls=False,
            ident="mail",
        )

    def url(self, host: str = "127.0.0.1", password: str = password) -> str:
        login = f"{self.username}:{password}"
        return f"mailto://{login}@{host}:{self.port}/?from=portal@example.org&to=ops@example.org"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == (self.username, self.password), handled=False)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("2"):
            assert isinstance(envelope.content, bytes)
            self.messages.append(message_from_bytes(envelope.content))
            self.recipients.append(envelope.rcpt_tos)
        return answer

    def __enter__(self) -> Self:
        self.controller.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.controller.stop()
