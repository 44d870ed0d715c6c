"""The words of `lexicon.yaml`: tables {synonym: canonical word}, and sets of words."""

from __future__ import annotations

from pathlib import Path

from utils.files import read_tables

_TABLES = read_tables(Path(__file__).with_suffix(".yaml"))


def _synonyms(name: str) -> dict[str, str]:
    """Invert {"trousers": ["pants"], ...} to {"trousers": "trousers", ..., "pants": "trousers", ...}."""
    groups: dict[str, list[str]] = _TABLES[name]
    synonyms = {word: canonical for canonical, words in groups.items() for word in words}
    return {canonical: canonical for canonical in groups} | synonyms


def _words(name: str) -> frozenset[str]:
    return frozenset(_TABLES[name])


COLORS = _synonyms("colors")
PATTERNS = _synonyms("patterns")
SHADES = _synonyms("shades")
COLOR_WORDS = frozenset(word for name in (*COLORS, *PATTERNS, "dark", "light") for word in name.split())

UPPERS = _synonyms("uppers")
SLEEVES = _words("sleeves")
LOWERS = _synonyms("lowers")
SINGULAR_LOWER = _words("singular_lowers")
LOWER_NOUNS = SINGULAR_LOWER.union(LOWERS, _words("other_lowers"))
OUTER: list[str] = _TABLES["outer"]
SHOES = _synonyms("shoes")
SHOE_NOUNS = _words("other_shoes").union(SHOES)

GENDERS = _synonyms("genders")
PRONOUNS = _words("pronouns")
AGES = _synonyms("ages")
AGE_NOUNS = _words("age_nouns")
AGE_LIMITS: dict[int, str] = _TABLES["age_limits"]
NUMBERS: dict[str, int] = _TABLES["numbers"]

HAIR_LENGTHS = _synonyms("hair_lengths")
HAIR_SHAPES = _synonyms("hair_shapes")
HAIR_NOUNS = _words("hair_nouns")
HAIR_COLORS = _words("hair_colors")

CARRIED = _synonyms("carried")
PLURAL_CARRIED = _words("plural_carried")
WORN_CARRIED = _words("worn_carried")

RARE = _synonyms("rare")
NOT_TYPOS = _words("not_typos")
