"""Where the agents of tasks dial a driver: TLS with a certificate of the run's own, and one token for each attempt."""

from __future__ import annotations

import contextlib
import datetime
import hmac
import json
import select
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit.errors import RunError
from lepton_kit.runtime.spark.task import token

HELLO_BYTES = 1 << 14
HELLO_SECONDS = 10.0
GREETED_AT_ONCE = 64
"""More that dial at one time and have not said who they are wait."""
VALID_DAYS = 365


@dataclass(frozen=True)
class Hello:
    """Who dials: the place that a task of a job is, and why no agent is there, if none is."""

    job: int
    place: int
    attempt: int
    token: str
    problem: str | None

    @classmethod
    def read(cls, line: bytes) -> Hello | None:
        """What stands in a line; None unless it is a hello."""
        try:
            told = cls(**json.loads(line))
        except (ValueError, TypeError):
            return None
        whole = all(isinstance(one, int) for one in (told.job, told.place, told.attempt))
        return told if whole and isinstance(told.token, str) and told.token.isascii() else None


class Certificate:
    """A key and a certificate that signs itself, made for one run; only who was told of it trusts it."""

    def __init__(self) -> None:
        """Raises `RunError` where cryptography is not installed."""
        try:
            from cryptography import x509
            from cryptography.hazmat.primitives import hashes, serialization
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError:
            raise RunError("spark: needs cryptography: pip install lepton-kit[spark]") from None
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lepton_kit run")])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
            .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.pem = made.public_bytes(serialization.Encoding.PEM).decode()
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        with tempfile.TemporaryDirectory() as folder:  # its owner's alone; ssl takes keys from files only
            file = Path(folder) / "key.pem"
            file.touch(mode=0o600)
            file.write_bytes(secret + self.pem.encode())
            self.context.load_cert_chain(file)


class Listener:
    """Accepts tasks while it is open, on one port. ``arrived`` gets each that proves to be of the run, in a thread."""

    def __init__(self, arrived: Callable[[Hello, ssl.SSLSocket], None]):
        self.certificate = Certificate()
        self.port = 0
        self._arrived = arrived
        self._secrets: dict[int, str] = {}
        self._used: set[tuple[int, int, int]] = set()
        self._lock = threading.Lock()
        self._greeting = threading.BoundedSemaphore(GREETED_AT_ONCE)
        self._server: socket.socket | None = None

    @property
    def is_open(self) -> bool:
        """Whether anybody can dial."""
        return self._server is not None

    def expect(self, job: int, secret: str) -> None:
        """Let the tasks of this job in, which have this secret."""
        with self._lock:
            self._secrets[job] = secret

    def forget(self, job: int) -> None:
        """Let no task of this job in any more."""
        with self._lock:
            self._secrets.pop(job, None)

    def open(self, address: str, port: int) -> None:
        """Listen, on a port that the system chooses if it is 0. Raises `OSError`."""
        self._server = socket.create_server((address, port), family=_family(address))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True, name="spark-door").start()

    def close(self) -> None:
        """Listen no more; who is in stays."""
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes the thread
            server.close()

    def _accept(self, server: socket.socket) -> None:
        while self._server is server:
            try:
                select.select([server], [], [], 1.0)
                server.settimeout(0.0)
                plain, _ = server.accept()
            except BlockingIOError:
                continue
            except (OSError, ValueError):  # closed
                return
            self._greeting.acquire()
            threading.Thread(target=self._greet, args=(plain,), daemon=True, name="spark-greeting").start()

    def _greet(self, plain: socket.socket) -> None:
        try:
            plain.settimeout(HELLO_SECONDS)
            try:
                secure = self.certificate.context.wrap_socket(plain, server_side=True)
            except (OSError, ValueError):
                plain.close()
                return
            with contextlib.suppress(OSError):
                hello = Hello.read(_line(secure))
                if hello is not None and self._is_of_the_run(hello):
                    self._arrived(hello, secure)
                    return
            secure.close()
        finally:
            self._greeting.release()

    def _is_of_the_run(self, hello: Hello) -> bool:
        """Whether the token is that of its place and attempt, and comes for the first time."""
        with self._lock:
            secret, key = self._secrets.get(hello.job), (hello.job, hello.place, hello.attempt)
            if secret is None or key in self._used:
                return False
            if not hmac.compare_digest(token(secret, hello.place, hello.attempt), hello.token):
                return False
            self._used.add(key)
            return True


def _line(end: Any) -> bytes:
    """The first line, and nothing of what follows it."""
    line = bytearray()
    while len(line) < HELLO_BYTES and (byte := end.recv(1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
