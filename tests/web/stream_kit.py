"""A line between browser and page server that can go dead without saying so, and pages that nobody looks at."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit


class Cable:
    """A TCP proxy. `cut()`: what is connected stays connected and carries nothing more; new connections are carried."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._to = parts.hostname, parts.port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._dead, self._open = threading.Event(), list[socket.socket]()
        self.made = 0
        threading.Thread(target=self._take, daemon=True).start()

    def cut(self) -> None:
        """Let all that is connected now go dead."""
        dead, self._dead = self._dead, threading.Event()
        dead.set()

    def close(self) -> None:
        """End everything."""
        self.cut()
        for one in (self._listening, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(self._to)
                self._open += [near, far]
                self.made += 1
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(a, b, self._dead), daemon=True).start()

    @staticmethod
    def _carry(a: socket.socket, b: socket.socket, dead: threading.Event) -> None:
        with suppress(OSError):
            while data := a.recv(65536):
                if not dead.is_set():
                    b.sendall(data)
            if not dead.is_set():
                b.shutdown(socket.SHUT_WR)


@contextmanager
def cable(url: str) -> Iterator[Cable]:
    """Put a cable before a page server."""
    made = Cable(url)
    try:
        yield made
    finally:
        made.close()


def away(page: Any, hidden: bool) -> None:
    """Let a page believe that nobody looks at it, or that somebody does again."""
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
