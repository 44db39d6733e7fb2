"""What a manager reads and prints: the report of a run, and its claims, each verified when it is looked at."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from jayul.app import claims, proofs, report
from jayul.app.texts import _, current
from jayul.app.web import threads, view
from jayul.app.web.desk import Screen
from jayul.app.web.pages.chain import attachment
from jayul.app.web.pages.common import Query, shown
from jayul.project.claims import CLAIM, SEALED, Verified, verify
from jayul.prove.claim import Claim

NOTHING = "'none'"
STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def policy_of(page: str) -> str:
    """Return the content security policy of a page that brings one style sheet within itself: that one alone, by its digest."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in STYLE.findall(page)[:1]]
    styles = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; img-src data:; style-src {styles or NOTHING}; frame-ancestors 'none'; base-uri 'none'"


async def show_report(request: Request, screen: Screen) -> HTMLResponse:
    """Return the report of a complete run."""
    page = await anyio.to_thread.run_sync(
        report.render, screen.out, current(), request.scope.get("theme", ""), f"/r/{screen.id}/evidence"
    )
    return HTMLResponse(page, headers={"content-security-policy": policy_of(page)})


def _path(screen: Screen, name: str) -> Path | None:
    """Return the claim of that name; only what is there is found."""
    folder = screen.out / "claims"
    if not folder.is_dir():
        return None
    there = [p for p in folder.iterdir() if not p.is_symlink() and ((p / CLAIM).is_file() or p.name.endswith(SEALED))]
    return next((path for path in there if path.name == name), None)


async def show_claim(request: Request, screen: Screen) -> HTMLResponse:
    """Return a claim with what its verification found."""
    path = await anyio.to_thread.run_sync(_path, screen, request.path_params["claim"])
    if path is None:
        return view.page(request, "wrong.html", 404, screen=screen, text=_("There is no such claim."))
    found: Verified = await threads.slow(request, verify, path)
    paper = found.paper
    figures = claims.figures_of(paper) if paper is not None else None
    whole = isinstance(paper, Claim)
    coverage = sorted(paper.coverage.items()) if isinstance(paper, Claim) else []
    values: dict[str, Any] = {"found": found, "paper": paper, "figures": figures, "whole": whole, "coverage": coverage}
    values["name"] = path.name
    words: dict[str, Any] = {"claims": claims, "proofs": proofs, "command": view.command("verify", path), "q": Query({})}
    return view.page(request, "claim.html", here="evidence", **values, **words, **shown(screen, None))


async def zip_claim(request: Request, screen: Screen) -> Response:
    """Return a claim's bundle as one file."""
    path = await anyio.to_thread.run_sync(_path, screen, request.path_params["claim"])
    if path is None:
        return view.page(request, "wrong.html", 404, screen=screen, text=_("There is no such claim."))
    data = await anyio.to_thread.run_sync(packed, path)
    return Response(data, media_type="application/zip", headers=attachment(f"{path.name}.zip"))


def packed(path: Path) -> bytes:
    """Pack a claim: the same files make the same bytes."""
    data = io.BytesIO()
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file() and not p.is_symlink())
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            inside = file.name if path.is_file() else f"{path.name}/{file.name}"
            archive.writestr(zipfile.ZipInfo(inside), file.read_bytes(), zipfile.ZIP_DEFLATED)
    return data.getvalue()


def routes(on_run: Any) -> list[Route]:
    """Return the routes of these pages."""
    return [
        Route("/r/{run}/report", on_run(show_report)),
        Route("/r/{run}/claims/{claim}.zip", on_run(zip_claim)),
        Route("/r/{run}/claims/{claim}", on_run(show_claim)),
    ]
