"""URLs of storages: which can be used, and how they are shown without their passwords."""

from __future__ import annotations

import re
from urllib.parse import quote
from urllib.parse import quote_plus

import sqlalchemy
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from dpod_search.errors import ConfigError


_HIDDEN = "***"
_SHORT = 3  # characters of a password that other words hold too
_SCHEMES = "sqlite|postgres|postgresql|mysql|mariadb|oracle|mssql|cockroachdb|rediss?|grpc"
_NO_SLASHES = re.compile(rf"({_SCHEMES})(\+\w+)?:(?!//)", re.IGNORECASE)
_SECRET_KEY = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)
_SECRET_QUERY = re.compile(rf"\?(.*&)?\w*({_SECRET_KEY.pattern})\w*=", re.IGNORECASE)


def is_url(target: str) -> bool:
    """Say whether a storage is named by a URL, and not by the path of a journal."""
    return "://" in target


def check_url(target: str) -> None:
    """Check the spelling of a storage before a folder is made of it, or a driver repeats it.

    Args:
        target: A URL of Optuna's, or the path of a journal, which may be anything else.

    Raises:
        ConfigError: If it is meant as a URL and lacks its slashes, or its password breaks it.
    """
    if _NO_SLASHES.match(target):
        raise ConfigError(
            f"storage {hide_password(target)} has no // after the colon; write "
            "sqlite:///study.db or postgresql+psycopg://user@host/database, and a file's name "
            "that begins so with ./ before it"
        )
    url = _parse(target)
    if url is not None and _is_misread(url):
        raise ConfigError(
            f"storage {hide_password(target)} cannot be read; percent-encode the special "
            "characters of its password (%40 for @, %2F for /, %3F for ?)"
        )
    if url is None and is_url(target):
        raise ConfigError(
            f"storage {hide_password(target)} cannot be read; write sqlite:///study.db or "
            "postgresql+psycopg://user@host:port/database, the port a number"
        )


def check_lasting(target: str) -> None:
    """Check that a study is still there when its storage is opened the next time.

    Raises:
        ConfigError: If the storage is a database in memory.
    """
    if is_in_memory(target):
        raise ConfigError(
            f"storage {target} is in memory, where the study is lost when the process ends; "
            "name a file, for instance sqlite:///study.db"
        )


def is_in_memory(target: str) -> bool:
    """Say whether a storage is an SQLite database without a file."""
    url = _parse(target)
    if url is None or url.get_backend_name() != "sqlite" or url.host:
        return False
    name = url.database or ":memory:"
    return name == ":memory:" or (
        name.startswith("file:") and (":memory:" in name or url.query.get("mode") == "memory")
    )


def hide_password(target: str) -> str:
    """Return a storage's URL as it may be shown; a path is returned as it is."""
    if _NO_SLASHES.match(target):
        return f"{target.partition(':')[0]}:..."
    if not is_url(target):
        return target
    url = _parse(target)
    if url is None or _is_misread(url):
        # No part can be told from the password, but for what is behind the last @.
        scheme, _, rest = target.partition("://")
        place = rest.rpartition("@")[2].partition("?")[0] if "@" in rest else "..."
        return f"{scheme}://{_HIDDEN}@{place}" if "@" in rest else f"{scheme}://{place}"
    secret = {key: _HIDDEN for key in url.query if _SECRET_KEY.search(key)}
    if url.password is None and not secret:
        return target
    shown = url.update_query_dict(secret)
    return shown.render_as_string(hide_password=True).replace(quote_plus(_HIDDEN), _HIDDEN)


def leave_out_secrets(target: str) -> str:
    """Return a storage's URL without its password, which its driver will look for elsewhere."""
    url = _parse(target)
    if url is None:
        return target
    secret = [key for key in url.query if _SECRET_KEY.search(key)]
    bare = sqlalchemy.URL.create(
        url.drivername,
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query=url.difference_update_query(secret).query,
    )
    return bare.render_as_string(hide_password=False)


def hide_secrets(text: str, target: str) -> str:
    """Return a text, a driver's complaint for instance, without the secrets of a storage's URL.

    Args:
        text: The text.
        target: The storage; a path has no secrets.
    """
    if not is_url(target) and not _NO_SLASHES.match(target):
        return text
    text = text.replace(target, hide_password(target))
    for secret in _find_secrets(target):
        # A short one is hidden as a word alone, or little would be left of the message.
        form = re.escape(secret) if len(secret) > _SHORT else rf"(?<!\w){re.escape(secret)}(?!\w)"
        text = re.sub(form, _HIDDEN, text)
    return text


def describe_complaint(error: BaseException, target: str) -> str:
    """Return in one line what a database said, without the secrets of the storage's URL."""
    words = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return hide_secrets(words, target).splitlines()[0]


def _parse(target: str) -> sqlalchemy.URL | None:
    try:
        return make_url(target) if is_url(target) else None
    except (ArgumentError, ValueError):  # the latter of a port that is no number
        return None


def _is_misread(url: sqlalchemy.URL) -> bool:
    """Say whether a password with special characters has spilt into what is around it."""
    if url.get_backend_name() == "sqlite":
        return False  # it has no password, and its file may be called anything
    spilt = f"{url.host or ''}{url.database or ''}"
    return "@" in spilt or bool(_SECRET_QUERY.search(str(url.password or "")))


def _find_secrets(target: str) -> list[str]:
    url = _parse(target)
    if url is None or _is_misread(url):
        # All that may be the password: from the first colon to the last @.
        found = [target.partition("://")[2].rpartition("@")[0].partition(":")[2]]
    else:
        values = [v for k, v in url.query.items() if _SECRET_KEY.search(k)]
        listed = [[value] if isinstance(value, str) else list(value) for value in values]
        found = [str(url.password or ""), *(value for some in listed for value in some)]
    every = {
        form for secret in found for form in (secret, quote(secret, safe=""), quote_plus(secret))
    }
    return sorted((secret for secret in every if secret), key=len, reverse=True)
