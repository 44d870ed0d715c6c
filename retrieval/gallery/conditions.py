"""SQL conditions on the rows of an index: what a user may write, and what a pattern of folders becomes."""

from __future__ import annotations

import re
from typing import Any

from utils.errors import UserError

_STATEMENT = re.compile(r";|--|/\*|\b(?:insert|update|delete|drop|alter|create|copy|attach)\b", re.IGNORECASE)
_CALL, _FUNCTIONS = re.compile(r"(\w+)\s*\("), {"in", "and", "or", "not", "like", "between", "lower", "upper", "cast"}
_QUOTED = re.compile(r"'(?:[^']|'')*'")
_LONGEST = 10_000  # letters


def condition(table: Any, where: str | None, folder: str | None) -> str | None:
    """Return one SQL condition, or None.

    Args:
        table: of LanceDB, whose columns may be named.
        where: condition on the columns, such as "camera = '3' and time > '2026-05-01'".
        folder: pattern of the paths, such as "2026-05/*".

    Raises:
        UserError: it is not a condition, or names an unknown column.
    """
    parts = []
    if where:
        where = str(plain_text(where))
        _check(table, where)
        parts.append(f"({where})")
    if folder:
        folder = str(plain_text(folder))
        if len(folder) > _LONGEST:
            raise UserError("--folder: the pattern is too long")
        pattern = re.escape(folder).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        parts.append(f"regexp_like(path, {quote(f'^{pattern}(/|$)')})")
    return " AND ".join(parts) or None


def _check(table: Any, where: str) -> None:
    """Refuse what is no condition, or calls functions that may take long or read files."""
    plain = _QUOTED.sub("''", where)
    called = {name.lower() for name in _CALL.findall(plain)} - _FUNCTIONS
    if _STATEMENT.search(plain) or called or len(where) > _LONGEST:
        raise UserError(f"--where {where[:200]}: only a condition is possible, such as camera = '3'")
    try:
        table.search().where(f"({where})").select(["id"]).limit(1).to_arrow()
    except (ValueError, RuntimeError, OSError) as error:
        known = ", ".join(name for name in table.schema.names if name != "vector")
        reason = re.sub(r"^.*?(?:error: )+", "", " ".join(str(error).split()), flags=re.IGNORECASE)
        reason = reason.partition(". Valid fields")[0][:200]
        raise UserError(f"--where {where}: {reason} (the columns are {known})") from None


def quote(text: str) -> str:
    """Return a text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def plain_text(text: str | None) -> str | None:
    """Return a text without halves of surrogate pairs, which are no text, and without NUL, which ends one in SQL."""
    return text and text.encode(errors="replace").decode().replace("\0", " ")
