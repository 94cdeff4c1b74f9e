"""IFBench's tables: values apart by commas or tabs, with named columns and so many rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from munro.rewards.instructions.checkers import instruction

CITY = ("ID", "Country", "City", "Year", "Count")
STOCK = ("ProductID", "Category", "Brand", "Price", "Stock")
GRADES = ("StudentID", "Subject", "Grade", "Semester", "Score")
SPECIAL = re.compile(r"[^\d\w\s]")


@instruction(
    "custom:csv_city",
    f"Write a table as CSV, apart by commas: the columns {', '.join(CITY)}, and seven rows.",
)
def csv_city(text: str) -> bool:
    """The header and seven rows of five fields."""
    rows = _rows(text)
    return len(rows) == 8 and rows[0] == list(CITY) and all(len(row) == 5 for row in rows[1:])


@instruction(
    "custom:csv_special_character",
    f"Write a table as CSV, apart by commas: the columns {', '.join(STOCK)}, and fourteen rows. "
    "Let one field hold a special character, and put that field in double quotes.",
)
def csv_special_character(text: str) -> bool:
    """The header and fourteen rows; of the rows up to a field with one, each has five fields."""
    if not _is_header(text, STOCK, r",[ \t]*"):
        return False
    rows = _rows(text, keeps_quotes=True)
    if len(rows) != 15:
        return False
    for row in rows[1:]:
        if len(row) != 5:
            return False
        if any(_is_special(field) for field in row):
            return True
    return False


@instruction(
    "custom:csv_quotes",
    f"Write a table, apart by tabs: the columns {', '.join(GRADES)}, and three rows, every field "
    "in double quotes.",
)
def csv_quotes(text: str) -> bool:
    """The header and three rows of five fields, every one in quotes, also of the header."""
    if not _is_header(text, GRADES, r"\t *"):
        return False
    rows = _rows(text, keeps_quotes=True, delimiter="\t")
    return len(rows) == 4 and all(
        len(row) == 5 and all(_is_quoted(field.strip()) for field in row) for row in rows
    )


def _rows(text: str, *, keeps_quotes: bool = False, delimiter: str = ",") -> list[list[str]]:
    """The rows; none where this is no table. With `keeps_quotes` a field keeps its own."""
    if keeps_quotes:
        text = text.replace('"', '"""')
    try:
        return list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error:
        return []


def _is_header(text: str, names: Sequence[str], between: str) -> bool:
    pattern = between.join(f'(?:{name}|"{name}")' for name in names)
    return re.fullmatch(pattern, text.partition("\n")[0].strip()) is not None


def _is_quoted(field: str) -> bool:
    return len(field) > 0 and field[0] == field[-1] == '"'


def _is_special(field: str) -> bool:
    """Begins with a quotation mark, and holds another mark before its last one."""
    last = field.rfind('"')
    return field[:1] == '"' and last > 0 and SPECIAL.search(field, 1, last) is not None
