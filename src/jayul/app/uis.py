"""`jayul ui`: serve the control room, and keep its accounts."""

from __future__ import annotations

import socket
import ssl
import sys
import webbrowser
from collections.abc import Sequence
from getpass import getpass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from jayul.app import show
from jayul.app.commands import Json, app, as_json, console
from jayul.app.texts import _
from jayul.project import run as running
from jayul.project.manifest import NAME
from jayul.project.problem import N_, ManifestError

PORT = 8737
HERE = ("127.0.0.1", "localhost", "::1")
ROLES = ("viewer", "operator", "engineer")
EXTRA = N_("the control room needs: pip install 'jayul[web]'")


@app.command(
    help=_("Show runs in the browser. Accounts: ui add NAME --role operator|engineer|viewer, ui remove NAME, ui list.")
)
def ui(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="FOLDER... | add NAME | remove NAME | list", help=_("folders (runs if not given)")),
    ] = None,
    port: Annotated[int, typer.Option(help=_("port to listen on; 0: any"), min=0, max=65535)] = PORT,
    host: Annotated[str, typer.Option(help=_("address to listen on; another one than this machine's needs an account"))] = HERE[
        0
    ],
    certificate: Annotated[Path | None, typer.Option(help=_("certificate (PEM), for HTTPS"))] = None,
    key: Annotated[Path | None, typer.Option(help=_("its private key (PEM)"))] = None,
    open_: Annotated[bool, typer.Option("--open", help=_("open the browser"))] = False,
    role: Annotated[str, typer.Option(help=_("for add: operator, engineer or viewer"))] = "",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help=_("for add: read the password from stdin"))] = False,
    json: Json = False,
) -> int:
    """Serve, or keep accounts: the first word decides."""
    words = what or []
    if words and words[0] in ("add", "remove", "list"):
        return _accounts(words, role, password_stdin=password_stdin, json=json)
    for option, given in (("--role", bool(role)), ("--password-stdin", password_stdin)):
        if given:
            raise running.refuse(option, N_("goes with ui add NAME only"))
    folders = [Path(word) for word in words] or usual()
    for folder in folders if words else ():
        if not folder.is_dir():
            raise running.refuse(folder, N_("no such folder"))
    serve(folders, port=port, host=host, certificate=certificate, key=key, show_it=open_)
    as_json(json, {"folders": [str(folder) for folder in folders]})
    return 0


def usual() -> list[Path]:
    """Return the folders that are shown where none is named: `runs`, and the projects beside it."""
    return [Path("runs"), *sorted(path.parent for path in Path().glob(f"*/{NAME}"))]


def serve(
    folders: Sequence[Path], *, port: int = PORT, host: str = HERE[0], certificate: Path | None = None, key: Path | None = None,
    show_it: bool = False,
) -> None:  # fmt: skip
    """Serve until Ctrl-C. Raises ManifestError for what cannot be done."""
    try:
        import uvicorn

        from jayul.app.web.accounts import Accounts
        from jayul.app.web.server import Config, create
    except ModuleNotFoundError as error:
        _lacking(error)
    private = host not in HERE
    if private and not Accounts().all():
        raise running.refuse(
            f"--host {host}", N_("is open to the network: make an account first with: jayul ui add NAME --role ROLE")
        )
    _check_certificate(certificate, key)
    made = create(Config(tuple(folders), _names(host), private=private, secure=certificate is not None))
    try:
        listening = _listen(host, port)
    except ManifestError:
        if not show_it or port != PORT:
            raise
        listening = _listen(host, 0)  # the browser is told where it is
    shown = f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - what is shown, not bound
    url = f"{'https' if certificate else 'http'}://{shown}:{listening.getsockname()[1]}"
    out = console()
    out.print(_("The control room is at {url} (Ctrl-C ends it; runs go on without it).").format(url=url), highlight=False)
    if private and certificate is None:
        text = _("Without --certificate and --key, passwords cross the network unencrypted.")
        out.print(text, style="yellow", highlight=False)
    out.file.flush()
    if show_it:
        webbrowser.open(url)
    server = uvicorn.Server(
        uvicorn.Config(
            made,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=1,
            server_header=False,
            proxy_headers=False,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            lifespan="on",
        )
    )
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        return
    finally:
        listening.close()


def _lacking(error: ModuleNotFoundError) -> NoReturn:
    if (error.name or "").split(".")[0] not in (
        "uvicorn",
        "starlette",
        "argon2",
        "multipart",
        "python_multipart",
        "anyio",
        "jinja2",
    ):
        raise error
    raise running.refuse("ui", EXTRA) from None


def _names(host: str) -> frozenset[str]:
    """Return the names that it answers to: those of this machine alone, or any where it listens to the network."""
    return frozenset(HERE) if host in HERE else frozenset()


def _check_certificate(certificate: Path | None, key: Path | None) -> None:
    if (certificate is None) != (key is None):
        raise running.refuse("--certificate", N_("'--certificate' and '--key' go together"))
    if certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise running.refuse(certificate, N_("cannot be used with its key: {error}"), error=error) from None


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(found[0], found[1])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
        listening.listen(128)
    except OSError as error:
        raise running.refuse(
            f"{host}:{port}", N_("nobody can listen here ({error}); use another --port"), error=error
        ) from None
    return listening


def _accounts(words: Sequence[str], role: str, *, password_stdin: bool, json: bool) -> int:
    try:
        from jayul.app.web import accounts
    except ModuleNotFoundError as error:
        _lacking(error)
    kept, what, names = accounts.Accounts(), words[0], words[1:]
    if what == "list" and not names:
        return _list(kept, json=json)
    if what == "list" or len(names) != 1:
        raise running.refuse(f"ui {what}", N_("write: ui add NAME --role ROLE, ui remove NAME, or ui list"))
    if what == "remove":
        if names[0] not in kept.all():
            raise running.refuse(names[0], N_("has no account; there are: {known}"), known=", ".join(kept.all()) or "-")
        kept.remove(names[0])
        console().print(_("{name} has no account any more.").format(name=names[0]), highlight=False)
        as_json(json, {"removed": names[0]})
        return 0
    if role not in ROLES:
        raise running.refuse(f"--role {role}".strip(), N_("say which: operator, engineer or viewer"))
    known = names[0] in kept.all()
    try:
        made = kept.add(names[0], role, _password(stdin=password_stdin))  # type: ignore[arg-type]
    except accounts.Refused as error:
        raise running.refuse("ui add", "{text}", text=error) from None
    _added(made, known=known)
    as_json(json, {"name": made.name, "role": made.role, "key": made.public})
    return 0


def _list(kept: Any, *, json: bool) -> int:
    found, out = kept.all(), console()
    for account in found.values():
        out.print(f"{account.name}: {account.role}", highlight=False)
    if not found:
        out.print(_("There is no account yet; make one with: jayul ui add NAME --role engineer"), highlight=False)
    as_json(json, [{"name": account.name, "role": account.role, "key": account.public} for account in found.values()])
    return 0


def _password(*, stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass(_("Password (at least 10 characters): "))
    if getpass(_("Once more: ")) != first:
        raise running.refuse("ui add", N_("the two passwords differ; nothing was changed"))
    return first


def _added(made: Any, *, known: bool) -> None:
    out = console()
    text = _("{name} has a new password and a new key.") if known else _("{name} has an account.")
    out.print(text.format(name=made.name), highlight=False)
    if made.role == "viewer":
        return
    out.print(_("For signatures that count in a project, write into its {file}:").format(file=NAME), highlight=False)
    out.print(
        f'\n[[people.person]]\nname = "{made.name}"\nroles = ["{made.role}"]\nkey = "{made.public}"',
        highlight=False,
        soft_wrap=True,
    )
    show.following(out, show.command("ui"))
