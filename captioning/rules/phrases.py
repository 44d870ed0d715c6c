"""Parse free English: normalized words, and the lexicon's nouns with the words that describe each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from captioning import lexicon
from utils.files import read_tables

_TABLES = read_tables(Path(__file__).with_suffix(".yaml"))
_SPELLINGS = [
    (re.compile(pattern.replace("COLOR", "|".join(lexicon.COLORS))), word) for pattern, word in _TABLES["spellings"]
]
_KINDS = {
    "upper": lexicon.UPPERS,
    "lower": lexicon.LOWERS,
    "shoes": lexicon.SHOES,
    "hair": lexicon.HAIR_NOUNS,
    "carried": lexicon.CARRIED,
}
_KIND_OF = {noun: kind for kind, nouns in _KINDS.items() for noun in nouns}

_BREAKS = frozenset(_TABLES["breaks"])
_STOPS = _BREAKS.union(_TABLES["stops"])
_IS = frozenset(_TABLES["is"])
_LINKS = _IS.union(_TABLES["links"])
_NOT = frozenset(_TABLES["not"])
_BETWEEN_NOT_AND_NOUN = frozenset(_TABLES["between_not_and_noun"])
_PEOPLE = (lexicon.GENDERS.keys() - lexicon.PRONOUNS).union(_TABLES["people"])
_COMPANY = frozenset(_TABLES["company"])
_COMPANY_PAIRS = frozenset(_TABLES["company_pairs"])
_VERBS = frozenset(_TABLES["verbs"])
_RESUMING = _VERBS.union(_TABLES["resuming"])


def _typos() -> dict[str, str]:
    """Return {typo: word}: two letters swapped; in long words also a letter missing, doubled, or a wrong vowel."""
    tables = (lexicon.COLORS, lexicon.PATTERNS, *_KINDS.values(), lexicon.RARE)
    known = {word for table in tables for word in table}
    corrections: dict[str, str] = {}
    for word in sorted(known):
        places = range(len(word) - 1) if word.isalpha() and len(word) > 3 else ()
        typos = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in places}
        for i in places[1:] if len(word) > 5 else ():
            typos |= {word[:i] + other + word[i + 1 :] for other in ("", word[i] * 2)}
            typos |= {word[:i] + other + word[i + 1 :] for other in "aeiou" if word[i] in "aeiou"}
        corrections |= dict.fromkeys(typos - known - lexicon.NOT_TYPOS, word)
    return corrections


_CORRECTIONS = lexicon.RARE | _typos()


@dataclass(frozen=True)
class Mention:
    """A noun of the lexicon in a sentence, and what describes it."""

    kind: str  # upper, lower, shoes, hair, carried
    noun: str  # as written
    before: list[str]  # its adjectives, in order
    after: list[str]  # the words up to the next noun phrase or the end of the sentence
    negated: bool  # the sentence says that it is absent

    @property
    def color(self) -> str | None:
        """Canonical color: "dark blue", "black and white striped"; None if the sentence names none."""
        colors, pattern = self._colors_after()
        before = self.before if canonical_color(self.before) else colors
        return canonical_color([*before, *pattern])

    def _colors_after(self) -> tuple[list[str], list[str]]:
        """Return the colors of "is black and white" or "in navy", and the pattern of "with black stripes"."""
        colors: list[str] = []
        for i, word in enumerate(self.after):
            if word == "with":  # a shirt with black stripes is striped, but one with a red logo is not red
                patterns = lexicon.PATTERNS.keys() - {"stripe"}  # and one with a single stripe is not striped
                return colors, [other for other in self.after[i:] if other in patterns][:1]
            if is_color(word):
                colors.append(word)
            # hair "is tied in a bun and black"; between a garment and its color there are only linking words
            elif word not in _LINKS and self.kind != "hair" and (colors or not self._color_follows(i)):
                break
        return colors, []

    def _color_follows(self, i: int) -> bool:
        """Return whether a color may follow word `i`: "are neon yellow", "is a light blue", "are worn, black and"."""
        word, following = self.after[i], self.after[i + 1 : i + 3]
        if not following or not _IS & set(self.after[:i]):
            return False
        if word == ",":
            return is_color(following[0]) and (len(following) == 1 or following[1] in _BREAKS | {"and"})
        return word in {"a", "an"} or (word not in _STOPS and (is_color(following[0]) or following[0] == ","))


def tokenize(query: str) -> list[str]:
    """Return a query's words in lower case, full stops and commas; compounds are one word, typos are corrected."""
    text = " ".join(query.lower().split()).replace("’", "'")
    for pattern, word in _SPELLINGS:
        text = pattern.sub(word, text)
    words = re.findall(r"[a-z0-9]+(?:[-'][a-z0-9]+)*|[.,]", text)
    return [_CORRECTIONS.get(word, word) for word in words]


def drop_other_people(words: list[str]) -> list[str]:
    """Drop what describes another person: "next to a woman in a red dress", "the other man wears blue"."""
    kept: list[str] = []
    i = 0
    while i < len(words):
        if (start := _other_person(words, i)) and not _PEOPLE.isdisjoint(kept):
            i = _end_of_other_person(words, start, finite=words[i] != "other")
        else:
            kept.append(words[i])
            i += 1
    return kept


def find_mentions(words: list[str]) -> list[Mention]:
    """Return every noun of the lexicon in `words`, in order, with the words that describe it."""
    # in "jean jacket" and "suit jacket" the first noun is an adjective of the second
    nouns = [i for i, word in enumerate(words) if word in _KIND_OF and not _is_adjective(words, i)]
    starts = [_phrase_start(words, i, previous) for i, previous in zip(nouns, [-1, *nouns], strict=False)]
    found: list[Mention] = []
    for start, i, end in zip(starts, nouns, [*starts[1:], len(words)], strict=False):
        stop = next((j for j in range(i, end) if words[j] == "."), end)
        negated = _negated(words, start) or (words[start - 1] in {"or", "nor"} and bool(found) and found[-1].negated)
        negated |= words[i + 1 : stop][:2] in (["is", "none"], ["is", "no"], ["none"])  # "Bag: none."
        found.append(Mention(_KIND_OF[words[i]], words[i], words[start:i], words[i + 1 : stop], negated))
    return found


def canonical_color(words: list[str]) -> str | None:
    """Return the canonical color of some words: ["dark", "grey", "and", "navy"] -> "dark gray and dark blue"."""
    colors: list[str] = []
    shade = ""
    fabric = {"denim", "jean"} if sum(word in lexicon.COLORS for word in words) > 1 else set()
    for word in words:
        if word in lexicon.SHADES:
            shade = lexicon.SHADES[word]
        elif word in lexicon.COLORS and word not in fabric:
            color = lexicon.COLORS[word]
            colors.append(f"{shade} {color}" if shade and not color.startswith(("dark", "light")) else color)
            shade = ""
    patterns = [lexicon.PATTERNS[word] for word in words if word in lexicon.PATTERNS]
    named = " and ".join(dict.fromkeys(colors)) or shade
    return " ".join(filter(None, (named, *dict.fromkeys(patterns)))) or None


def is_color(word: str) -> bool:
    """Return whether a word names a color, a shade or a pattern."""
    return word in lexicon.COLORS or word in lexicon.PATTERNS or word in lexicon.SHADES


def _other_person(words: list[str], i: int) -> int:
    """Return the index after "with a woman" or "the other man" if such words start at `i`, otherwise 0."""
    if words[i] == "other":
        return i + 2 if words[i - 1] == "the" and words[i + 1 : i + 2] and words[i + 1] in _PEOPLE | {"one"} else 0
    if words[i] not in _COMPANY and "-".join(words[i - 1 : i + 1]) not in _COMPANY_PAIRS:
        return 0
    articles = {"a", "an", "another", "his", "her"} | ({"the"} if words[i] != "with" else set())
    if i + 1 >= len(words) or words[i + 1] not in articles:
        return 0
    for j in range(i + 2, len(words)):
        if words[j] in _STOPS or words[j] in _KIND_OF:
            return 0
        following = words[j + 1] if j + 1 < len(words) else "."
        if words[j] in _PEOPLE and (following in _STOPS or following.endswith("ing")):  # not "with a man jacket"
            return j + 1
    return 0


def _end_of_other_person(words: list[str], start: int, *, finite: bool) -> int:
    """Return where the description returns to the first person.

    That is at a full stop, at "he ...", at a finite verb, or at a comma before which no garment is mentioned.

    Args:
        words: the sentence.
        start: index after the words that introduce the other person.
        finite: whether a finite verb belongs to the first person.
    """
    for j in range(start, len(words)):
        passed = words[start:j]
        if words[j] == ".":
            return j
        if finite and words[j] in _VERBS and not {"who", "that", "which"} & set(passed):
            return j
        if words[j - 1] == "," and (words[j] in _RESUMING or (finite and not any(word in _KIND_OF for word in passed))):
            return j
    return len(words)


def _phrase_start(words: list[str], noun: int, previous: int) -> int:
    """Return where the noun phrase of the noun at index `noun` starts, after the noun at index `previous`."""
    start = noun
    while start - 1 > previous and (words[start - 1] not in _STOPS or _joins_adjectives(words, start - 1)):
        start -= 1
    return start


def _joins_adjectives(words: list[str], i: int) -> bool:
    """Return whether the "and" or comma at `i` joins adjectives of one noun: "black and white", "long, straight"."""
    if words[i] not in {"and", ","} or not 0 < i < len(words) - 1:
        return False
    left, right = words[i - 1], words[i + 1]
    if left == ",":
        return words[i] == "and" and _joins_adjectives(words, i - 1)
    if words[i] == "," and right == "and":
        right = words[i + 2] if i + 2 < len(words) else right
    shapes = lexicon.HAIR_LENGTHS.keys() | lexicon.HAIR_SHAPES.keys()
    if left in shapes:
        return right in shapes or (is_color(right) and words[i] == ",")
    in_list = words[i] == "and" or "and" in words[i + 1 : i + 3]  # "red, white and blue"
    return is_color(left) and is_color(right) and in_list


def _is_adjective(words: list[str], i: int) -> bool:
    following = words[i + 1] if i + 1 < len(words) else ""
    same_kind = _KIND_OF.get(following) == _KIND_OF[words[i]]
    return same_kind or (following in _KIND_OF and words[i] in {"jeans", "suit", "paper"})


def _negated(words: list[str], start: int) -> bool:
    """Return whether "no", "without a" or "not carrying any" directly precedes the noun phrase."""
    for word in reversed(words[max(0, start - 4) : start]):
        if word in _NOT:
            return True
        if word not in _BETWEEN_NOT_AND_NOUN:
            return False
    return False
