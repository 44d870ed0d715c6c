"""What a captioner never tells but people do: said at random, so that a text encoder learns not to listen to it.

The palette captioner cannot see who is a woman, nor how long hair is; queries tell both. To an encoder that has read
its captions alone, "woman" would be a word with a random meaning, and draw every query with it somewhere else. Said
beside captions at random, such words are learnt to tell nothing of the picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np

from captioning import lexicon
from captioning.style import Slots, parse, with_article

Random = np.random.Generator

_RARE = 0.02  # a slot that fewer captions fill is not told
_SAID = 0.5  # how often an untold detail is said
_GARMENTS = {"upper_garment": lexicon.UPPERS, "lower_garment": lexicon.LOWERS, "shoes": lexicon.SHOES}
_COLOUR_OF = {"upper_garment": "upper_color", "lower_garment": "lower_color", "shoes": "shoe_color"}
_COLOURS = tuple(dict.fromkeys(lexicon.COLOURS.values()))
_HAIR_COLOURS = ("black", "brown", "blonde", "gray", "red")


@dataclass(frozen=True)
class Untold:
    """What no caption of a data set tells.

    Attributes:
        slots: names of `Slots` that stay empty.
        nouns: for each garment slot whose captions tell one kind at most, the kinds that they do not tell.
    """

    slots: tuple[str, ...]
    nouns: dict[str, tuple[str, ...]]

    def __bool__(self) -> bool:
        """Whether anything is untold."""
        return bool(self.slots or self.nouns)


def find_untold(captions: Iterable[str]) -> Untold:
    """What these captions never tell of anybody; nothing, if they are not in the style template."""
    told = [slots for slots in map(parse, captions) if slots]
    if not told:
        return Untold((), {})
    names = [field.name for field in fields(Slots)]
    filled = {name: [value for slots in told if (value := getattr(slots, name))] for name in names}
    slots = tuple(name for name in names if name not in _GARMENTS and len(filled[name]) < _RARE * len(told))
    nouns = {}
    for name, table in _GARMENTS.items():
        kinds = {value.split()[-1] for value in filled[name]}
        if len(kinds) <= 1:
            every = dict.fromkeys(canonical.split()[-1] for canonical in table.values())
            nouns[name] = tuple(noun for noun in every if noun not in kinds)
    return Untold(slots, nouns)


def say_untold(slots: Slots, untold: Untold, random: Random) -> Slots:
    """Fill some of what is untold with anything; what the caption tells stays."""
    said: dict[str, str] = {}
    for name in untold.slots:
        if getattr(slots, name) is None and random.random() < _SAID:
            said[name] = _anything(name, random)
    for name, nouns in untold.nouns.items():
        garment, colour = getattr(slots, name), getattr(slots, _COLOUR_OF[name])
        # "short-sleeved top" says more than the kind, which another kind would belie
        if (garment is None or " " not in garment) and (garment or colour) and random.random() < _SAID:
            said[name] = str(random.choice(nouns))
    return replace(slots, **said)


def _anything(name: str, random: Random) -> str:
    if name == "gender":
        return str(random.choice(("male", "female")))
    if name == "hairstyle":
        return str(random.choice(tuple(dict.fromkeys(lexicon.HAIR_LENGTHS.values()))))
    if name == "hair_color":
        return str(random.choice(_HAIR_COLOURS))
    if name == "age_group":
        return str(random.choice(tuple(dict.fromkeys(lexicon.AGES.values()))))
    if name == "belongings":
        thing = str(random.choice(tuple(dict.fromkeys(lexicon.CARRIED.values()))))
        thing = f"{random.choice(_COLOURS)} {thing}" if random.random() < _SAID else thing
        return thing if thing.split()[-1] in lexicon.PLURAL_CARRIED else with_article(thing)
    return str(random.choice(_COLOURS))
