from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.errors import ConfigError
from dpod_search.search import open_storage
from dpod_search.search.store import check_lasting
from dpod_search.search.store import check_url
from dpod_search.search.store import hide_password
from dpod_search.search.store import hide_secrets
from dpod_search.search.store import open_existing


SHOWN = {
    "study.journal": "study.journal",
    "C:/mine/study.journal": "C:/mine/study.journal",
    "sqlite:///me@home/study.db": "sqlite:///me@home/study.db",
    "postgresql+psycopg://me@host:5432/db": "postgresql+psycopg://me@host:5432/db",
    "postgresql+psycopg://me:hidden@host/db": "postgresql+psycopg://me:***@host/db",
    "postgresql://me:hid/den@host/db": "postgresql://me:***@host/db",
    "postgresql://host/db?user=me&password=hidden": ("postgresql://host/db?password=***&user=me"),
    "postgresql://host/db?sslpassword=hid@den": "postgresql://host/db?sslpassword=***",
    "mysql://host/db?passwd=hidden&charset=utf8": "mysql://host/db?charset=utf8&passwd=***",
    "postgresql://me:hid@den@host/db": "postgresql://***@host/db",
    "postgresql://me:hid@den/hid@host/db": "postgresql://***@host/db",
    "postgresql://me:hidden@host:port/db": "postgresql://***@host:port/db",
    "postgresql://host:5432/db?password=hid@den": "postgresql://***@den",
    "postgresql+psycopg:me:hidden@host/db": "postgresql+psycopg:...",
    "postgresql:/me:hidden@host/db": "postgresql:...",
    "nonsense://me:hidden@host": "nonsense://me:***@host",
}


@pytest.mark.parametrize(("url", "shown"), SHOWN.items())
def test_urls_are_shown_without_their_passwords(url, shown):
    assert hide_password(url) == shown
    assert "hid" not in shown


PASSWORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9)


@given(PASSWORDS)
def test_no_password_is_shown_whatever_its_characters(password):
    marked = f"<{password}>"
    url = f"postgresql+psycopg://me:{marked}@host/db"
    assert marked not in hide_password(url)
    for part in filter(None, marked.split("@")):
        assert part not in hide_password(url)
    said = hide_secrets(f"no connection by {url}: no user me with the password {marked}", url)
    assert marked not in said


def test_secrets_are_hidden_however_they_are_written():
    url = "postgresql://me:p%40ss@host/db?sslpassword=a%20b"
    said = hide_secrets("p@ss, p%40ss, a b, a%20b and a+b at host", url)
    assert said == "***, ***, ***, *** and *** at host"
    assert hide_secrets("study.journal is damaged", "study.journal") == "study.journal is damaged"


def test_a_short_password_leaves_the_message_readable():
    url = "postgresql://me:a@host/db"
    assert hide_secrets("at a glance: a", url) == "at *** glance: ***"


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://me:hidden@host:abc/db", "://host/db", "not a scheme://host"]
)
def test_a_url_that_cannot_be_read_is_refused_by_its_spelling(url):
    with pytest.raises(ConfigError, match=r"cannot be read; .* the port a number") as caught:
        check_url(url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("look", [open_storage, open_existing])
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql+psycopg:me:hidden@host/db", "has no // after the colon"),
        ("postgres:/me:hidden@host/db", "has no // after the colon"),
        ("sqlite:study.db", "has no // after the colon"),
        ("sqlite:/study.db", "has no // after the colon"),
        ("redis:hidden", "has no // after the colon"),
        ("postgresql+psycopg://me:hid@den@host/db", "percent-encode"),
        ("postgresql+psycopg://me:hid@den/hid@host/db", "percent-encode"),
        ("postgresql+psycopg://host:5432/db?password=hid@den", "percent-encode"),
        ("postgresql+psycopg://me:hidden@127.0.0.1:1/db", "cannot be opened"),
        ("postgresql+psycopg://me@127.0.0.1:1/db?password=hidden", "cannot be opened"),
        ("postgresql+psycopg://me:hidden@127.0.0.1:port/db", "cannot be read"),
        ("sqlite://study.db?key=hidden", "cannot be opened"),
    ],
)
def test_a_url_that_does_not_work_is_one_line_without_its_password(
    tmp_path, monkeypatch, look, url, why
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=why) as error:
        look(url)
    assert len(str(error.value).splitlines()) == 1
    assert "hid" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+pysqlite://",
        "sqlite:///?timeout=5",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:mine?mode=memory&cache=shared&uri=true",
    ],
)
def test_what_is_in_memory_is_told(url):
    with pytest.raises(ConfigError, match="is in memory"):
        check_lasting(url)
    with pytest.raises(ConfigError, match="is in memory"):
        open_existing(url)


@pytest.mark.parametrize(
    "target", ["sqlite:///study.db", "sqlite:////a/b.db", "study.journal", "postgresql://host/db"]
)
def test_what_is_kept_is_not(target):
    check_lasting(target)
