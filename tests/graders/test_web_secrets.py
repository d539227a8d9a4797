"""The token, the address, and where neither goes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from greenai_core import ConfigError, ServiceFailed, ServiceRefused, ServiceUntrusted, submit
from greenai_core.testing import GradingServer
from greenai_plugins.graders.web_client import GradingService


def with_token(monkeypatch, token="s3cret-t0ken"):
    monkeypatch.setenv("GREENAI_TOKEN", token)
    return token


def test_a_token_opens_what_needs_one(monkeypatch, patience):
    with GradingServer(token="s3cret-t0ken") as server:
        with pytest.raises(ServiceRefused, match="GREENAI_TOKEN"):
            GradingService(server.url, patience=patience).post_new_device("Board", "GPU", 1)
        with_token(monkeypatch)
        GradingService(server.url, patience=patience).post_new_device("Board", "GPU", 1)
        assert len(server.devices) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("call", ["get", "post"])
def test_nothing_goes_to_another_host(monkeypatch, patience, spool, run, host, call):
    """Neither the token nor the figures: a redirection elsewhere is not followed."""
    with_token(monkeypatch)
    with GradingServer() as stranger:
        elsewhere = stranger.url.replace("127.0.0.1", host) + "/classificationDataC/1/0.12/"
        with GradingServer(elsewhere=elsewhere) as server:
            server.keep_failing("moved")
            service = GradingService(server.url, patience=patience)
            if call == "get":
                outcome = submit(run, service, spool)
                assert "another host" in outcome.problem
                assert [entry.run for entry in spool.waiting()[0]] == [run]
            else:
                with pytest.raises(ServiceFailed, match="another host"):
                    service.post_new_device("Board", "GPU", 1)
        assert not stranger.requests


def test_a_token_is_shown_nowhere(monkeypatch, patience, spool, run, caplog):
    caplog.set_level("DEBUG")
    token = with_token(monkeypatch)
    shown = []
    for fault in ("503", "html", "moved", "reset", ""):
        with GradingServer() as server:
            if fault:
                server.keep_failing(fault)
            service = GradingService(server.url, patience=patience)
            outcome = submit(run, service, spool)
            assert server.requests[0].headers["Authorization"] == f"Bearer {token}"
            shown += [repr(service), repr(vars(service)), repr(outcome), service.dry_run(run)]
    shown += [path.read_text() for path in spool.folder.rglob("*.json")]
    assert token not in caplog.text
    assert token not in repr(shown)


def test_a_token_in_a_file(tmp_path, patience, server):
    file = tmp_path / "token"
    file.write_text("fr0m-file\n")
    file.chmod(0o600)
    GradingService(server.url, token_file=file, patience=patience).get_cpus()
    assert server.requests[-1].headers["Authorization"] == "Bearer fr0m-file"
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        GradingService(server.url, token_file=file)
    with pytest.raises(ConfigError, match="cannot be read"):
        GradingService(server.url, token_file=tmp_path / "none")


def test_a_token_in_the_usual_file(tmp_path, monkeypatch, patience, server):
    file = tmp_path / "config" / "greenai" / "token"
    file.parent.mkdir(parents=True)
    file.touch(0o600)
    file.write_text("usual")
    GradingService(server.url, patience=patience).get_cpus()
    assert server.requests[-1].headers["Authorization"] == "Bearer usual"
    with_token(monkeypatch, "first")
    GradingService(server.url, patience=patience).get_cpus()
    assert server.requests[-1].headers["Authorization"] == "Bearer first"


@pytest.mark.parametrize("token", ["two\r\nX-Evil: 1", "a b", "ä"])
def test_a_token_that_would_be_a_header_of_its_own(monkeypatch, server, token):
    monkeypatch.setenv("GREENAI_TOKEN", token)
    with pytest.raises(ConfigError) as refused:
        GradingService(server.url)
    assert token not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://grades.example",
        "http://192.0.2.7",
        "http://127.0.0.1.example",
        "ftp://127.0.0.1",
        "https://user:password@grades.example",
        "https://grades.example/?token=1",
        "https://",
        "grades.example",
        "https://grades.example:none",
        "https://grades example",
        "https://grades.example/../up",
        "https://grades.example/%2e%2e/",
        "https://grädes.example",
        "https://[::1",
    ],
)
def test_addresses_that_are_refused(url):
    with pytest.raises(ConfigError) as refused:
        GradingService(url)
    assert "password@" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://[::1]:1/", "http://[::1]:1"),
        ("http://localhost", "http://localhost"),
        ("HTTPS://Grades.Example:443/Legacy/v0/", "https://grades.example:443/Legacy/v0"),
        ("https://a.example//", "https://a.example"),
    ],
)
def test_addresses_that_are_taken(url, base, run):
    service = GradingService(url)
    assert service.url == base
    assert service.dry_run(run).startswith(b"GET /")


@pytest.mark.parametrize("call", ["get", "post"])
def test_nothing_of_the_environment_is_sent_or_heeded(
    monkeypatch, tmp_path, patience, server, call
):
    """requests by itself takes passwords, proxies and certificates from there."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\ndefault login me password x\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_bytes(netrc.read_bytes())
    with GradingServer() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.upper(), proxy.url)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none.pem"))
        service = GradingService(server.url, patience=patience)
        if call == "get":
            service.get_cpus()
        else:
            service.post_new_device("Board 7", "GPU", 250)
        assert not proxy.requests
    for received in server.requests:
        own = {"Host", "User-Agent", "Accept", "Accept-Encoding"}
        body = {"Idempotency-Key", "Content-Type", "Content-Length"}
        assert set(received.headers) == own | (body if received.method == "POST" else set())
        assert b"secret" not in received.wire


def test_a_certificate_of_the_environment_is_not_trusted(monkeypatch, patience):
    certificate = Path(__file__).parents[1] / "data" / "loopback.pem"
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(certificate))
    with GradingServer(certificate=certificate) as server, pytest.raises(ServiceUntrusted):
        GradingService(server.url, patience=patience).get_cpus()


def test_no_cookie_and_no_referer_comes_back(patience, server):
    """Not even to the next page of one redirection, and not in the next question either."""
    usual = server.answer

    def answer(received):
        done = usual(received)
        status = 302 if "again" not in received.path else done.status
        more = {"Set-Cookie": "id=1; Path=/", "Location": f"/again{received.path}"}
        if status == 302:
            return type(done)(302, headers=more)
        plain = dataclasses.replace(received, path=received.path.removeprefix("/again"))
        return dataclasses.replace(usual(plain), headers=more)

    server.answer = answer
    service = GradingService(server.url, patience=patience)
    assert [service.get_grade(0.5).letter for _ in range(2)] == ["E", "E"]
    assert len(server.requests) == 4
    for received in server.requests:
        assert not {"Cookie", "Referer", "Authorization"} & set(received.headers)
