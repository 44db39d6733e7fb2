"""What an attacker would try at the control room."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx2
import pytest
from desk_kit import BAD_NAME, PASSWORD, csrf, sign_in
from ui_kit import token as token_of
from ui_kit import ui

from jayul.app.web.accounts import Accounts, Refused, may
from jayul.app.web.security import COOKIE, IDLE, LONGEST, POLICY, Limit, Sessions, cookie_name
from jayul.core.types import Event
from jayul.record.inbox import SqliteInbox

PAGES = ("/", "/signin", "/r/line/now", "/nothing", "/r/nothing/now")
ACTS = ("approve", "reject", "sign", "demote")


def inbox(roots: Path) -> list[Event]:
    box = SqliteInbox(roots / "line" / "state.db")
    try:
        return list(box.drain(0, None))
    finally:
        box.close()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_the_headers_and_no_inline_script_or_style(client, path):
    answer = client().get(path)
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    for name in ("x-content-type-options", "x-frame-options", "referrer-policy"):
        assert answer.headers[name]
    assert "<script>" not in answer.text
    assert " style=" not in answer.text
    assert " onclick=" not in answer.text


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("who", ["", "park", "lee", "kim"])
def test_forced_browsing_per_role(client, roots, who, act):
    here, before = client(who), len(inbox(roots))
    answer = here.post(f"/r/line/act/{act}", data={"csrf": csrf(here), "ask": "preheat:nothing", "policy": "preheat"})
    allowed = {"": (), "park": (), "lee": ("approve", "reject", "demote"), "kim": ACTS}[who]
    if act not in allowed:
        assert answer.status_code == (403 if who else 401)
        assert len(inbox(roots)) == before
    elif act == "demote":
        assert answer.status_code == 200
        assert (found := inbox(roots)[-1]).kind == "demotion"
        assert found.by == who
    else:
        assert answer.status_code == 409, "nothing of that name waits"


@pytest.mark.parametrize("act", ACTS)
def test_without_its_token_nothing_is_done(client, roots, act):
    here, before = client("kim"), len(inbox(roots))
    for token in ({}, {"csrf": ""}, {"csrf": "0" * 48}, {"csrf": "é"}):
        assert here.post(f"/r/line/act/{act}", data={"policy": "preheat", **token}).status_code == 403
    assert here.get(f"/r/line/act/{act}").status_code in (404, 405)
    assert len(inbox(roots)) == before


def test_another_sites_request_is_refused(client, roots):
    here, before = client("kim"), len(inbox(roots))
    data = {"policy": "preheat", "csrf": csrf(here)}
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        assert here.post("/r/line/act/demote", data=data, headers=headers).status_code == 403
    assert here.get("/", headers={"host": "evil.example"}).status_code == 421, "DNS rebinding"
    assert len(inbox(roots)) == before


def test_a_session_that_was_planted_is_worth_nothing(client):
    here = client()
    here.get("/")
    planted = here.cookies[COOKIE]
    assert sign_in(here, "lee").status_code == 303
    assert here.cookies[COOKIE] != planted
    other = client()
    other.cookies.set(COOKIE, planted)
    assert "Sign out" not in other.get("/").text
    other.cookies.clear()
    other.cookies.set(COOKIE, "made-up")
    assert "Sign out" not in other.get("/").text


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(client):
    told = client(secure=True).get("/").headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Secure", "Path=/"} <= {part.strip() for part in told.split(";")}


@pytest.mark.parametrize("stream", ["r/line/now/stream", "r/line/trends/stream", "api/v1/runs/line/events"])
def test_a_stream_ends_with_the_session_of_who_began_it(accounts, roots, monkeypatch, stream):
    monkeypatch.setenv("JAYUL_KEYS", str(accounts.path.parent))
    with ui(roots) as (_, url), httpx2.Client(base_url=url, timeout=30) as browser:
        form = {"csrf": token_of(browser.get("/signin").text), "name": "lee", "password": PASSWORD, "then": "/"}
        browser.post("/signin", data=form)
        with browser.stream("GET", f"/{stream}") as following:
            lines = following.iter_lines()
            assert next(lines) == "retry: 1000"
            browser.post("/signout", data={"csrf": token_of(browser.get("/").text)})
            beats = 0
            for line in lines:  # to its end
                beats += line in (": still here", "event: beat")
                assert beats < 4, "it goes on"


def test_two_desks_on_one_host_do_not_sign_each_other_out(accounts, roots, monkeypatch):
    """A browser sends the cookies of a host to all its ports (RFC 6265, 8.5)."""
    monkeypatch.setenv("JAYUL_KEYS", str(accounts.path.parent))
    with ui(roots) as (_, one), ui(roots) as (_, other), httpx2.Client() as browser:
        for url, name in ((one, "lee"), (other, "kim")):
            page = browser.get(f"{url}/signin").text
            form = {"csrf": token_of(page), "name": name, "password": PASSWORD, "then": "/"}
            assert browser.post(f"{url}/signin", data=form).status_code == 303
        for url, name in ((one, "lee"), (other, "kim"), (one, "lee")):
            assert browser.get(f"{url}/api/v1/session").json()["name"] == name
        keys = browser.get(f"{one}/api/v1/openapi.json").json()["components"]["securitySchemes"]
        assert keys["session"]["name"] in browser.cookies
        names = {cookie.name for cookie in browser.cookies.jar}
    assert names == {f"{COOKIE}_{url.rpartition(':')[2]}" for url in (one, other)}


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:8737", "jayul_session_8737"), ("[::1]:8737", "jayul_session_8737"), ("[::1]", "jayul_session"),
        ("line3.plant.example", "jayul_session"), ("", "jayul_session"), ("a:b;c=d", "jayul_session"), ("a:\u0663", "jayul_session"),
    ],
)  # fmt: skip
def test_the_cookie_has_the_name_of_its_port(host, name):
    assert cookie_name(host, secure=False) == name
    assert cookie_name(host, secure=True) == f"__Host-{name}"


def test_signing_out_ends_the_session(client):
    here = client("lee")
    kept = here.cookies[COOKIE]
    assert here.post("/signout", data={"csrf": csrf(here)}).status_code == 303
    here.cookies.clear()
    here.cookies.set(COOKIE, kept)
    assert "Sign out" not in here.get("/").text


def test_sessions_end_by_themselves():
    now = [0.0]
    sessions = Sessions(now=lambda: now[0], most=3)
    session = sessions.new()
    now[0] = IDLE - 1
    assert sessions.get(session.id) is session
    now[0] += IDLE - 1
    assert sessions.get(session.id, person=False) is session, "a stream is no sign of life"
    now[0] += 2
    assert sessions.get(session.id) is None
    session, began = sessions.new(), now[0]
    while now[0] - began <= LONGEST:
        assert sessions.get(session.id) is session
        now[0] += IDLE / 2
    assert sessions.get(session.id) is None
    made = [sessions.new() for _ in range(5)]
    assert [sessions.get(one.id) is not None for one in made] == [False, False, True, True, True]


def test_who_has_not_signed_in_pushes_nobody_out(client, accounts):
    sessions = Sessions(most=20)
    lee = sessions.new(accounts.all()["lee"])
    for _ in range(200):
        sessions.new()
    assert sessions.get(lee.id) is lee
    assert len(sessions._all) <= 20


def test_a_session_ends_with_its_account(client, accounts):
    accounts.add("guest", "operator", PASSWORD)
    here = client("guest")
    assert "Sign out" in here.get("/").text
    accounts.add("guest", "viewer", PASSWORD)
    assert "Sign out" not in here.get("/").text, "another role, another key: signed in no more"
    accounts.remove("guest")
    assert "Sign out" not in here.get("/").text


def test_cookies_of_other_programs_do_no_harm(client):
    for cookie in ("a/b=1", "a=b; ;;; =; x", "jayul_session=\u00ff"):
        assert client().get("/", headers={"cookie": cookie.encode("latin-1")}).status_code == 200


def test_a_body_that_is_too_large_is_not_read(client):
    answer = client().post("/signin", content=b"x" * 2_000_000, headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 413


def test_guessing_is_slowed_down(client):
    here = client()
    answers = [sign_in(here, "kim", f"wrong {i}").status_code for i in range(10)]
    assert answers == [401] * 8 + [429] * 2
    assert sign_in(here, "kim").status_code == 429, "the right one has to wait, too"
    now = [0.0]
    limit = Limit(2, 60.0, now=lambda: now[0])
    assert [limit.passes("a"), limit.passes("a"), limit.passes("a"), limit.passes("b")] == [True, True, False, True]
    now[0] = 61.0
    assert limit.passes("a")


def test_a_wrong_name_says_no_more_than_a_wrong_password(client):
    here = client()
    one, two = sign_in(here, "kim", "wrong"), sign_in(here, "nobody", "wrong")
    assert (one.status_code, two.status_code) == (401, 401)
    assert one.text.replace("kim", "nobody").partition("<main")[2] == two.text.partition("<main")[2]


@pytest.mark.parametrize("then", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", ""])
def test_nobody_is_sent_to_another_site(client, then):
    here = client()
    assert sign_in(here, "lee", then=then).headers["location"] == "/"
    for path in ("/language/ko", "/theme/dark"):
        assert here.get(path, params={"then": then}).headers["location"] == "/"


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/%2e%2e/cli.py", "/r/../now", "/r/..%2f..%2fetc/now",
     "/r/~/now", "/r/..~..~etc/now", "/r/%00/now", "/static//etc/passwd", "/static/%2fetc/passwd"],
)  # fmt: skip
def test_traversal_leads_nowhere(client, path):
    answer = client().get(path)
    assert answer.status_code in (400, 404)
    assert "import" not in answer.text
    assert "root:" not in answer.text


def test_what_a_manifest_says_is_text_and_nothing_else(client):
    here = client("kim")
    for path in ("/", "/r/line/now"):
        text = here.get(path).text
        assert BAD_NAME not in text
        assert "&lt;img src=x" in text


@pytest.mark.parametrize("path", ["/projects/erase", "/r/line/act/erase", "/r/line/moves/erase"])
def test_an_act_that_there_is_not_is_refused(client, path: str):
    here = client("kim")
    assert here.post(path, data={"csrf": csrf(here)}).status_code in (404, 405)


def test_private_means_private(client):
    here = client(private=True)
    for path in ("/", "/r/line/now", "/r/line/now/stream"):
        assert here.get(path).headers["location"].startswith("/signin")
    for path in ("/api/v1/runs", "/api/v1/runs/line"):
        assert here.get(path).status_code == 401
    assert sign_in(here, "park").status_code == 303
    assert here.get("/r/line/now").status_code == 200


def test_keys_and_passwords_do_not_lie_open(accounts: Accounts, keys: Path):
    text = accounts.path.read_text()
    assert accounts.path.stat().st_mode & 0o077 == 0
    account, signer = accounts.enter("kim", PASSWORD)
    assert signer.public == account.public
    assert PASSWORD not in text
    assert not list(keys.glob("person-*")), "no open key of a person"
    assert accounts.enter("kim", PASSWORD + "x") is None
    damaged = json.loads(text)
    damaged[0]["sealed"], damaged[1]["sealed"] = damaged[1]["sealed"], damaged[0]["sealed"]
    other = Accounts(keys / "swapped.json")
    other.path.write_text(json.dumps(damaged))
    assert other.enter("kim", PASSWORD) is None, "a key that was sealed for somebody else"


@pytest.mark.parametrize(("name", "password"), [("a/b", PASSWORD), ("", PASSWORD), ("ok", "short"), ("<b>", PASSWORD)])
def test_bad_names_and_short_passwords_are_refused(accounts: Accounts, name: str, password: str):
    with pytest.raises(Refused):
        accounts.add(name, "viewer", password)
    assert name not in accounts.all()


def test_roles_are_in_order():
    assert [[may(has, least) for least in ("viewer", "operator", "engineer")] for has in ("viewer", "operator", "engineer")] == [
        [True, False, False], [True, True, False], [True, True, True],
    ]  # fmt: skip
    assert not may("root", "viewer")


def test_the_name_is_in_focus_when_somebody_signs_in_also_after_a_wrong_password(client):
    here = client()
    again = sign_in(here, "kim", "wrong")
    assert again.status_code == 401
    for text in (here.get("/signin").text, again.text):
        assert re.search(r'<input name="name"[^>]* autofocus>', text)
