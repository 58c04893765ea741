"""Web security of the rating server, over real sockets."""

from __future__ import annotations

import contextlib
import hmac
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.rate.serving import Rater, Serving, error_of, make_edits, serving, write_table

from hpedit.errors import HPEditError
from hpedit.web import security
from hpedit.web.security import MAX_BODY, NetworkPolicy

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def guarded(edits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """A server that needs a token."""
    monkeypatch.setattr("hpedit.rate.server.WRONG_TOKEN_SECONDS", 0.0)
    with serving(edits, tmp_path / "ratings.sqlite", token=TOKEN) as running:
        yield running


def raw(base: str, request: bytes, wait: float = 5.0) -> bytes:
    """What the server answers to these bytes, until it closes the connection."""
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        connection.sendall(request)
        chunks = []
        # A server that refuses what it has not read to the end resets the connection.
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        return b"".join(chunks)


def status_of(app: Serving, method: str, path: str, headers: list[tuple[str, str]], body: str = "") -> int:
    """The status of a request of exactly these headers."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", body]
    answer = raw(app.base, "\r\n".join(lines).encode())
    if not answer.startswith(b"HTTP/1.1 200"):
        assert b"set-cookie" not in answer
    return int(answer.split()[1])


SIGN_IN = '{"rater": "Eve", "token": null}'


def own_headers(app: Serving, **changes: str | None) -> list[tuple[str, str]]:
    """The headers of the page's own POST, some changed or, by None, left out."""
    headers: dict[str, str | None] = {
        "Host": app.base.removeprefix("http://"),
        "Origin": app.base,
        "X-HPEdit": "1",
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return [(name, value) for name, value in headers.items() if value is not None]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "rate.example.org"])
def test_other_addresses_need_a_token(host: str) -> None:
    with pytest.raises(HPEditError, match="needs a token"):
        NetworkPolicy.of_address(host, 8600, None)
    with pytest.raises(HPEditError, match="at least 16"):
        NetworkPolicy.of_address(host, 8600, "short")
    assert NetworkPolicy.of_address(host, 8600, TOKEN).token == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_loopback_needs_none(host: str) -> None:
    assert NetworkPolicy.of_address(host, 8600, None, ["localhost:9000", "[::1]:9000"]).token is None


@pytest.mark.parametrize("name", ["rate.example.org", "rate.example.org:8443", "192.168.1.5", "[fe80::1]:80"])
def test_a_name_for_other_machines_needs_a_token(name: str) -> None:
    with pytest.raises(HPEditError, match="needs a token"):
        NetworkPolicy.of_address("127.0.0.1", 8600, None, ["localhost:9000", name])
    assert NetworkPolicy.of_address("127.0.0.1", 8600, TOKEN, [name]).token == TOKEN


def test_only_the_servers_own_names_are_hosts(app: Serving) -> None:
    port = app.base.rsplit(":", 1)[1]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}"):
        assert status_of(app, "GET", "/healthz", [("Host", host)]) == 200, host
    for host in (
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{int(port) ^ 1}",
        f"127.0.0.1.evil.example:{port}",
        "",
    ):
        assert status_of(app, "GET", "/healthz", [("Host", host)]) == 421, host
    own = f"127.0.0.1:{port}"
    assert status_of(app, "GET", "/healthz", [("Host", own), ("Host", own)]) in (400, 421)
    assert status_of(app, "GET", "/healthz", []) in (400, 421)
    assert status_of(app, "GET", f"http://evil.example:{port}/healthz", [("Host", f"evil.example:{port}")]) == 421


def test_names_of_a_proxy_can_be_allowed() -> None:
    hosts = NetworkPolicy.of_address("0.0.0.0", 8600, TOKEN, ["Rate.Example.org"]).hosts
    assert {"rate.example.org", "localhost:8600", "127.0.0.1:8600"} <= hosts
    assert "[::1]:8600" in NetworkPolicy.of_address("::1", 8600, None).hosts


def test_foreign_null_missing_and_double_origins_are_refused(app: Serving) -> None:
    assert status_of(app, "POST", "/api/session", own_headers(app), SIGN_IN) == 200
    port = app.base.rsplit(":", 1)[1]
    for origin in (
        "null",
        "http://evil.example",
        f"http://localhost:{port}",
        app.base + ".evil.example",
        "",
        "file://",
    ):
        assert status_of(app, "POST", "/api/session", own_headers(app, Origin=origin), SIGN_IN) == 403, origin
    assert status_of(app, "POST", "/api/session", own_headers(app, Origin=None), SIGN_IN) == 403
    twice = [*own_headers(app), ("Origin", app.base)]
    assert status_of(app, "POST", "/api/session", twice, SIGN_IN) == 403
    assert status_of(app, "GET", "/healthz", [*own_headers(app, Origin="http://evil.example")]) == 403


def test_a_form_on_another_site_cannot_post(app: Serving) -> None:
    post = ("POST", "/api/session")
    assert status_of(app, *post, own_headers(app, X_HPEdit=None), SIGN_IN) == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert status_of(app, *post, own_headers(app, Content_Type=kind), SIGN_IN) == 422, kind
    for site in ("cross-site", "same-site"):
        assert status_of(app, *post, own_headers(app, Sec_Fetch_Site=site), SIGN_IN) == 403, site
    assert status_of(app, *post, own_headers(app, Sec_Fetch_Site="same-origin"), SIGN_IN) == 200
    assert status_of(app, "DELETE", "/api/session", own_headers(app, X_HPEdit=None)) == 403
    # No other site gets a preflight answered.
    assert status_of(app, "OPTIONS", "/api/answer", own_headers(app, Origin="http://evil.example")) == 403


def test_a_link_opens_the_page_and_nothing_else(app: Serving) -> None:
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Origin": None, "X_HPEdit": None}
    assert status_of(app, "GET", "/", own_headers(app, **link, Sec_Fetch_Dest="document")) == 200
    assert status_of(app, "GET", "/", own_headers(app, **link, Sec_Fetch_Dest="iframe")) == 403
    assert status_of(app, "GET", "/api/next", own_headers(app, **link, Sec_Fetch_Dest="document")) == 403


def test_the_token_is_asked_for_and_compared_in_constant_time(
    guarded: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(security.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    eve = guarded.rater(sign_in=False)
    for wrong in (None, "", "x", TOKEN + "x", TOKEN[:-1], TOKEN.upper(), "\u00e9" * 20):
        response = eve.http.post("/api/session", json={"rater": "Eve", "token": wrong})
        assert response.status_code == 401, wrong
        assert TOKEN not in response.text
    assert len(compared) == 7
    assert eve.http.get("/api/next").status_code == 401
    assert guarded.rater("Anna", TOKEN).next() is not None


def test_a_token_in_the_address_is_worth_nothing_and_not_logged(
    guarded: Serving, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    eve = guarded.rater(sign_in=False)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("httpx").setLevel(logging.CRITICAL)
        logging.getLogger("httpcore").setLevel(logging.CRITICAL)
        assert eve.http.get(f"/?token={TOKEN}").status_code == 200
        assert eve.http.get(f"/api/next?token={TOKEN}").status_code == 401
        assert eve.http.post("/api/session", json={"rater": 5, "token": TOKEN}).status_code == 422
        assert eve.http.post("/api/session", json={"rater": "Eve", "token": TOKEN, "x": TOKEN}).status_code == 422
    out = capfd.readouterr()
    assert TOKEN not in caplog.text + out.out + out.err


def test_the_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(guarded: Serving) -> None:
    response = guarded.rater(sign_in=False).http.post("/api/session", json={"rater": "Anna", "token": TOKEN})
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    value = cookie.split("=", 1)[1].split(";")[0]
    # The store keeps only its hash.
    rows = guarded.store.connection.execute("SELECT digest FROM sessions").fetchall()
    assert value not in [row[0] for row in rows]


def test_the_cookie_of_a_page_that_came_over_tls_stays_there(edits: Path, tmp_path: Path) -> None:
    name = "rate.example.org"
    with serving(edits, tmp_path / "ratings.sqlite", token=TOKEN, names=(name,)) as app:
        eve = app.rater(sign_in=False)
        for base, secure in ((f"https://{name}", True), (f"http://{name}", False), (app.base, False)):
            headers = {"Host": base.split("//")[1], "Origin": base}
            body = {"rater": "Eve", "token": TOKEN}
            for response in (
                eve.http.post("/api/session", json=body, headers=headers),
                eve.http.delete("/api/session", headers=headers),
            ):
                assert response.status_code == 200
                cookie = response.headers["set-cookie"].lower()
                assert ("; secure" in cookie) is secure, base
                assert "httponly" in cookie
                assert "samesite=strict" in cookie


def test_pictures_and_items_need_the_session_of_their_rater(guarded: Serving) -> None:
    anna, berta, eve = guarded.rater("Anna", TOKEN), guarded.rater("Berta", TOKEN), guarded.rater(sign_in=False)
    item = anna.next()
    assert item is not None
    for address in (item["source"], *item["edits"]):
        assert anna.picture(address).status_code == 200
        # What a browser caches of Anna is not shown to the next rater who signs in there.
        assert anna.picture(address).headers["vary"] == "Cookie"
        assert "private" in anna.picture(address).headers["cache-control"]
        assert eve.picture(address).status_code == 401
        # An address belongs to one rater.
        assert berta.picture(address).status_code == 404
    eve.http.cookies.set("hpedit_rate_1", "forged")
    for method, path in (("GET", "/api/next"), ("POST", "/api/answer"), ("POST", "/api/undo"), ("GET", "/api/session")):
        assert eve.http.request(method, path, json={}).status_code in (401, 422)
    assert eve.http.post("/api/undo", json={"client_id": "12345678"}).status_code == 401


def test_no_path_of_a_request_reaches_a_file(app: Serving) -> None:
    anna = app.rater()
    key = app.service.plan.items["e0-0"].first.picture
    wild = (
        "../ratings.sqlite",
        "..%2fratings.sqlite",
        "%2e%2e/ratings.sqlite",
        f"{key}",
        f"{key}.png",
        "%00",
        "C:%5cx",
    )
    for name in wild:
        for root in ("/picture/", "/static/"):
            answer = raw(
                app.base, f"GET {root}{name} HTTP/1.1\r\nHost: {app.base[7:]}\r\nConnection: close\r\n\r\n".encode()
            )
            assert int(answer.split()[1]) in (400, 401, 404), (root, name)
            assert b"SQLite" not in answer
            assert anna.http.get(root + name).status_code in (401, 404)


EVIL = '"><script>alert(1)</script>{{7*7}}\u202e'


def test_nothing_that_people_write_becomes_markup(tmp_path: Path) -> None:
    folder = make_edits(tmp_path / "edits", cases=1, editors=1)
    row = {"edit_id": EVIL, "instruction": EVIL, "source_file": "s0.png", "edited_file": "secret-model-0-0.png"}
    write_table(folder, [row])
    with serving(folder, tmp_path / "r.sqlite") as app:
        anna = app.rater(name=EVIL)
        responses = [anna.http.get("/api/next"), anna.http.get("/api/session"), anna.http.get("/" + "%3Cscript%3E")]
        item = responses[0].json()["item"]
        # The text arrives unchanged, as JSON that no browser renders as a page.
        assert item["instruction"] == EVIL
        responses.append(anna.post_answer(item, "<img src=x>"))
        for response in responses:
            assert response.headers["content-type"] == "application/json"
            assert response.headers["x-content-type-options"] == "nosniff"
        page = anna.http.get("/").text
        assert "<script>alert" not in page
        assert "49" not in page.split("<body")[0]


def test_the_policy_forbids_inline_scripts_on_every_response(app: Serving) -> None:
    anna = app.rater()
    item = anna.next()
    assert item is not None
    paths = ["/", "/healthz", "/api/next", item["source"], "/nothing", "/static/nothing.js"]
    responses = [anna.http.get(path) for path in paths]
    responses += [
        anna.http.post("/api/answer", content=b"x" * (MAX_BODY + 1)),
        httpx.get(app.base, headers={"Host": "x"}),
    ]
    for response in responses:
        policy = response.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "server" not in response.headers


@pytest.mark.parametrize("path", ["/", "/healthz", "/static/rate.js", "/nothing"])
def test_no_frame_may_hold_a_page(app: Serving, path: str) -> None:
    response = app.rater().http.get(path)
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-frame-options"] == "DENY"


def test_the_page_has_no_inline_script_or_style(app: Serving) -> None:
    page = app.rater(sign_in=False).http.get("/").text
    assert " style=" not in page
    assert "<style" not in page
    assert " onclick=" not in page
    assert all("src=" in part.split(">")[0] for part in page.split("<script")[1:])


def test_large_bodies_are_refused(app: Serving) -> None:
    anna = app.rater()
    response = anna.http.post("/api/answer", content=b"x" * (MAX_BODY + 1))
    assert response.status_code == 413
    error_of(response)
    chunked = anna.http.post("/api/answer", content=(b"x" * 1024 for _ in range(65)))
    assert chunked.status_code == 413
    lie = own_headers(app, Content_Length="9" * 30)
    head = "".join(f"{name}: {value}\r\n" for name, value in lie)
    answer = raw(app.base, f"POST /api/answer HTTP/1.1\r\n{head}\r\n".encode())
    assert int(answer.split()[1]) in (400, 413)
    assert anna.next() is not None


def test_long_headers_are_refused(app: Serving) -> None:
    answer = raw(app.base, b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000)
    assert answer == b"" or int(answer.split()[1]) == 400


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: ",
        b"POST /api/answer HTTP/1.1\r\nHost: %(host)s\r\n%(own)sContent-Length: 1000\r\n\r\n{",
    ],
    ids=["nothing", "half a header", "half a body"],
)
def test_slow_requests_are_cut_off(app: Serving, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(security, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(security, "BODY_SECONDS", 0.3)
    host, port = app.base.removeprefix("http://").split(":")
    own = f"Origin: {app.base}\r\nX-HPEdit: 1\r\n".encode()
    began = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=5) as slow:
        slow.sendall(head % {b"host": f"{host}:{port}".encode(), b"own": own} if b"%(" in head else head)
        received = b""
        with_bytes = time.monotonic() + 30
        while time.monotonic() < with_bytes:
            try:
                # One byte at a time does not prolong it.
                slow.sendall(b"x" if head else b"")
                slow.settimeout(0.05)
                chunk = slow.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                break
            if not chunk:
                break
            received += chunk
    assert time.monotonic() - began < 20
    assert received == b"" or b" 408 " in received
    assert Rater(app.base, "Berta").next() is not None


def test_an_idle_connection_may_come_back(app: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "HEADER_SECONDS", 1.0)
    anna = app.rater()
    first = anna.next()
    # The clock is for requests under way; between two of them a browser may rest.
    time.sleep(1.2)
    assert anna.next() == first


def test_a_rater_cannot_read_what_others_answered(app: Serving) -> None:
    anna, eve = app.rater("Anna"), app.rater("Eve")
    item = anna.next()
    assert item is not None
    anna.answer(item, 4, "11111111-aaaa", flags=["unsafe"])
    for path in (
        "/api/answers",
        "/api/answer",
        "/api/export",
        "/api/raters",
        "/docs",
        "/openapi.json",
        "/redoc",
        "/admin",
    ):
        assert eve.http.get(path).status_code in (404, 405), path
    # Another rater's assignments and answers cannot be changed, nor told from unknown ones.
    foreign, missing = eve.post_answer(item, 1), eve.post_answer({"assignment": "0" * 40}, 1)
    assert foreign.status_code == missing.status_code == 404
    assert foreign.text == missing.text
    assert eve.undo("11111111-aaaa").text == eve.undo("22222222-aaaa").text
    mine = eve.next()
    assert mine is not None
    taken = eve.post_answer(mine, 4, "11111111-aaaa")
    assert taken.status_code == 409
    assert "Anna" not in taken.text
    assert [(answer.rater, answer.value) for answer in app.store.answers()] == [("Anna", 4)]


def test_websockets_are_refused(app: Serving) -> None:
    upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "x"),
        ("Sec-WebSocket-Version", "13"),
    ]
    assert status_of(app, "GET", "/api/next", [*own_headers(app), *upgrade]) == 401
