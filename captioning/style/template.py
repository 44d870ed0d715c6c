"""The published template: fill its slots, and parse a filled text back into slots."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from captioning.lexicon import AGE_NOUNS, COLOR_WORDS, LOWER_NOUNS, SHOE_NOUNS, SINGULAR_LOWER

NEUTRAL = "person"

TEMPLATE = (
    "The {gender} is wearing a {upper_color} {upper_garment} with {lower_color} {lower_garment} and "
    "{shoe_color} {shoes}. The {gender} has {hairstyle} {hair_color} hair and appears to be {age_group}. "
    "The {gender} is carrying {belongings}."
)

# Stand in for a garment of which only the color is known; `parse` reads them as "no garment".
_NO_GARMENT = {"upper": "upper clothing", "lower": "lower clothing", "shoes": "footwear"}

_PREDICATE = re.compile(r"(?:(?:the|this) (.+?)|he|she|they) (is wearing|is carrying|has|appears to be) (.+)", re.I)


@dataclass(frozen=True)
class Slots:
    """Values of the template's slots; None if unknown.

    Colors consist of words of `lexicon.COLOR_WORDS` ("dark blue", "black and white striped"). Garments and ages have
    neither color nor article ("short-sleeved top", "teenager"); belongings include theirs ("a bag and a hat").
    """

    gender: str | None = None
    upper_color: str | None = None
    upper_garment: str | None = None
    lower_color: str | None = None
    lower_garment: str | None = None
    shoe_color: str | None = None
    shoes: str | None = None
    hairstyle: str | None = None
    hair_color: str | None = None
    age_group: str | None = None
    belongings: str | None = None

    def __bool__(self) -> bool:
        """Whether any slot is filled."""
        return any(getattr(self, field.name) for field in fields(self))


def render(slots: Slots) -> str:
    """Fill the template, without the phrases of slots that are None and without sentences that have none left."""
    subject = slots.gender or NEUTRAL
    predicates = [_wearing(slots), _appearance(slots), f"is carrying {slots.belongings}" if slots.belongings else ""]
    sentences = [f"The {subject} {predicate}." for predicate in predicates if predicate]
    return " ".join(sentences) or f"{with_article(subject).capitalize()}."


def parse(text: str) -> Slots:
    """Parse a text of the template into slots, so that `parse(render(slots)) == slots`.

    Accepts any string: sentences that do not follow the template are ignored.
    """
    found: dict[str, str | None] = {}
    for sentence in re.split(r"(?<=[.!?])\s+", " ".join(text.split())):
        sentence = sentence.rstrip(".!? ")
        if match := _PREDICATE.fullmatch(sentence):
            subject, verb, rest = match[1] or "", match[2].lower(), match[3]
        elif match := re.fullmatch(r"an? ([\w-]+(?: [\w-]+)?)", sentence, re.I):
            subject, verb, rest = match[1], "", ""
        else:
            continue
        if subject and subject.lower() != NEUTRAL:
            found.setdefault("gender", subject)
        if verb == "is wearing":
            found |= _parse_wearing(rest)
        elif verb == "is carrying":
            found["belongings"] = rest
        elif verb == "has":
            found |= _parse_hair(rest)
        elif verb == "appears to be":
            found["age_group"] = _bare(rest)
    return Slots(**found)


def _wearing(slots: Slots) -> str:
    upper = _item(slots.upper_color, slots.upper_garment, _NO_GARMENT["upper"])
    lower = _item(slots.lower_color, slots.lower_garment, _NO_GARMENT["lower"])
    shoes = _item(slots.shoe_color, slots.shoes, _NO_GARMENT["shoes"])
    if slots.upper_garment:
        upper = with_article(upper)
    if slots.lower_garment and _head(slots.lower_garment) in SINGULAR_LOWER:
        lower = with_article(lower)
    below = " and ".join(filter(None, (lower, shoes)))
    clothes = " with ".join(filter(None, (upper, below)))
    return clothes and f"is wearing {clothes}"


def _appearance(slots: Slots) -> str:
    phrases = []
    if slots.hairstyle or slots.hair_color:
        phrases.append(f"has {_item(slots.hairstyle, slots.hair_color, '')} hair".replace("  ", " "))
    if slots.age_group:
        age = slots.age_group
        # "appears to be adult", as in the released captions, but "a teenager" and "a young adult"
        noun = _head(age) in AGE_NOUNS or (_head(age) == "adult" and age.lower() != "adult")
        phrases.append(f"appears to be {with_article(age) if noun else age}")
    return " and ".join(phrases)


def _parse_wearing(text: str) -> dict[str, str | None]:
    splits = [(text[: match.start()], text[match.end() :]) for match in re.finditer(" with ", text, re.I)]
    known = [split for split in splits if _kind(_below(split[1])[0]) != "upper"]
    if splits:
        upper, below = known[0] if known else splits[-1]
        lower, shoes = _below(below)
        if not shoes and _kind(lower) == "shoes":
            lower, shoes = "", lower
    else:
        first, shoes = _below(text)
        kind = _kind(first)
        upper, lower = (first, "") if kind == "upper" else ("", first)
        if kind == "shoes":
            lower, shoes = "", first
    found: dict[str, str | None] = {}
    found["upper_color"], found["upper_garment"] = _split_item(upper)
    found["lower_color"], found["lower_garment"] = _split_item(lower)
    found["shoe_color"], found["shoes"] = _split_item(shoes)
    return found


def _parse_hair(text: str) -> dict[str, str | None]:
    hair, _, age = text.partition(" and appears to be ")
    found: dict[str, str | None] = {"age_group": _bare(age)} if age else {}
    if _head(hair) == "hair":
        words = hair.split()[:-1]
        start = len(words)
        while start and (words[start - 1].lower() in COLOR_WORDS or _is_color_and(words, start - 1)):
            start -= 1
        found["hairstyle"] = " ".join(words[:start]) or None
        found["hair_color"] = " ".join(words[start:]) or None
    return found


def _below(text: str) -> tuple[str, str]:
    """Split "black and white shorts and red shoes" at the "and" that joins garments, not colors."""
    for match in reversed([*re.finditer(" and ", text, re.I)]):
        if _head(text[: match.start()]) not in COLOR_WORDS:
            return text[: match.start()], text[match.end() :]
    return text, ""


def _kind(item: str) -> str:
    noun = _head(item)
    if noun in SHOE_NOUNS or item.endswith(_NO_GARMENT["shoes"]):
        return "shoes"
    return "lower" if noun in LOWER_NOUNS or item.endswith(_NO_GARMENT["lower"]) else "upper"


def _split_item(item: str) -> tuple[str | None, str | None]:
    words = _bare(item).split()
    end = 0
    while end < len(words) and (words[end].lower() in COLOR_WORDS or _is_color_and(words, end)):
        end += 1
    garment = " ".join(words[end:])
    return " ".join(words[:end]) or None, None if garment in _NO_GARMENT.values() else garment or None


def _is_color_and(words: list[str], index: int) -> bool:
    """Whether the word at `index` is the "and" between two colors."""
    if words[index].lower() != "and" or not 0 < index < len(words) - 1:
        return False
    return words[index - 1].lower() in COLOR_WORDS and words[index + 1].lower() in COLOR_WORDS


def _item(first: str | None, second: str | None, default: str) -> str:
    return f"{first} {second or default}" if first else second or ""


def _head(text: str) -> str:
    return text.lower().split()[-1] if text.split() else ""


def _bare(text: str) -> str:
    return re.sub(r"^an?\s+", "", text, flags=re.I)


def with_article(text: str) -> str:
    """Put "a" or "an" before a noun phrase."""
    # by sound: "a used coat", "a one-piece", "an orange top"
    vowel = re.match(r"[aeiou]", text, re.I) and not re.match(r"uni|use|eu|one\b", text, re.I)
    return f"{'an' if vowel else 'a'} {text}"
