"""Synonyms of garments, colors and belongings, each with its canonical word in the caption template.

The text encoder is trained on captions only, so rewritten queries must use the words of captions. Things that the
palette captioner cannot distinguish share its word: jeans and slacks are "trousers" (jeans are also blue), a T-shirt is
a "short-sleeved top", a blouse a "top". What looks different from afar (jacket, coat, skirt, boots, backpack) has its
own word.
"""

from __future__ import annotations


def _invert(groups: dict[str, str]) -> dict[str, str]:
    """Invert {"trousers": "pants, jeans"} to {"trousers": "trousers", "pants": "trousers", "jeans": "trousers"}."""
    synonyms = {word.strip(): canonical for canonical, words in groups.items() for word in words.split(",") if word}
    return {canonical: canonical for canonical in groups} | synonyms


def _words(text: str) -> list[str]:
    return text.split()


COLORS = _invert(
    {
        "black": "jet-black",
        "white": "off-white, ivory, whitish",
        "gray": "grey, silver, greyish, grayish, ash",
        "dark gray": "charcoal",
        "red": "scarlet, crimson, reddish, auburn, ginger",
        "dark red": "maroon, burgundy, wine",
        "orange": "peach, coral, salmon",
        "yellow": "gold, golden, mustard, yellowish",
        "green": "lime, mint, greenish, teal, olive",
        "blue": "azure, bluish, denim, cobalt, royal-blue, jean",
        "dark blue": "navy, navy-blue, indigo",
        "light blue": "turquoise, cyan, aqua, sky-blue, baby-blue",
        "purple": "violet, lilac, lavender, mauve, plum",
        "pink": "magenta, fuchsia, rose, rosy",
        "brown": "chocolate, brownish, brunette, bronze",
        "beige": "khaki, tan, cream, camel, sand, nude",
        "blonde": "blond",
    }
)
PATTERNS = _invert(
    {
        "striped": "stripes, stripe, stripy, pinstriped",
        "checked": "plaid, checkered, chequered, checkers, tartan, flannel, gingham",
        "floral": "flowered, flowery",
        "patterned": "multicolored, multicoloured, multi-colored, multi-coloured, multicolor, colorful, colourful, "
        "print, printed, camouflage, camo, dotted, dots, spotted, spots, polka-dot, tie-dye, tie-dyed",
    }
)
SHADES = _invert({"dark": "deep", "light": "pale, lightish"})
COLOR_WORDS = frozenset(word for name in (*COLORS, *PATTERNS, "dark", "light") for word in name.split())

SLEEVES = _invert({"short-sleeved": "", "long-sleeved": "", "sleeveless": ""})
UPPERS = _invert(
    {
        "top": "shirt, blouse, tunic, button-up, button-down, jersey, undershirt, turtleneck",
        "short-sleeved top": "t-shirt, tee, polo, tshirt, tee-shirt",
        "sleeveless top": "tank, tank-top, camisole, singlet",
        "sweater": "sweatshirt, pullover, jumper, cardigan, fleece",
        "hoodie": "",
        "jacket": "blazer, windbreaker, parka, anorak",
        "coat": "overcoat, raincoat, trenchcoat, robe",
        "vest": "waistcoat",
        "suit": "tuxedo",
    }
)
LOWERS = _invert(
    {
        "trousers": "pants, pant, trouser, jeans, slacks, leggings, chinos, sweatpants, joggers, tights, capris, "
        "capri, khakis, bottoms, corduroys, culottes",
        "shorts": "short-pants, bermudas",
        "skirt": "miniskirt",
        "dress": "gown, sundress, frock",
    }
)
# Worn over other garments and therefore visible: a jacket over a shirt, a skirt over tights. Outermost first.
OUTER = ("coat", "jacket", "suit", "hoodie", "vest", "sweater", "dress", "skirt", "shorts")
SINGULAR_LOWER = frozenset({"skirt", "miniskirt", "dress", "gown", "sundress", "frock", "kilt", "sarong"})
SHOES = _invert(
    {
        "shoes": "shoe, sneakers, sneaker, trainers, loafers, flats, footwear, oxfords, converse, tennies",
        "boots": "boot",
        "sandals": "sandal, flip-flops, slippers, thongs, slides",
        "heels": "pumps, stilettos, high-heels",
    }
)
LOWER_NOUNS = frozenset(LOWERS) | SINGULAR_LOWER | {"overalls", "breeches"}
SHOE_NOUNS = frozenset(SHOES) | {"clogs", "moccasins", "crocs"}

GENDERS = _invert(
    {
        "male": "man, boy, guy, gentleman, gentlemen, men, dude, fellow, lad, bloke, chap, gent, father, dad, "
        "grandfather, grandpa, schoolboy, businessman, he, him, his",
        "female": "woman, girl, lady, women, ladies, gal, mother, mum, mom, grandmother, grandma, schoolgirl, "
        "businesswoman, she, her, hers",
    }
)
PRONOUNS = frozenset({"he", "him", "his", "she", "her", "hers"})
AGES = _invert(
    {
        "child": "kid, toddler, baby, infant, little",
        "teenager": "teen, teenage, adolescent, teens",
        "young": "youth, youthful, twenties, 20s",
        "adult": "grown, grown-up, thirties, 30s, forties, 40s",
        "middle-aged": "fifties, 50s",
        "old": "elderly, senior, aged, sixties, 60s, seventies, 70s, older",
    }
)
# (limit, age group): years below the first limit that exceeds them, in agreement with "thirties" above
AGE_LIMITS = ((13, "child"), (20, "teenager"), (30, "young"), (50, "adult"), (60, "middle-aged"), (130, "old"))
_NUMBER_WORDS = _words(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty"
)
NUMBERS = dict(zip(_NUMBER_WORDS, (*range(1, 21), *range(30, 81, 10)), strict=True))
AGE_NOUNS = frozenset(_words("child kid teenager teen adolescent toddler baby youth senior student"))

HAIR_LENGTHS = _invert(
    {"short": "cropped, crew-cut, buzzed", "long": "waist-length", "medium-length": "shoulder-length, medium"}
)
HAIR_SHAPES = _invert(
    {
        "curly": "curled, curls, afro",
        "wavy": "",
        "straight": "",
        "braided": "braid, braids, plait, plaits, plaited, pigtails, dreadlocks, cornrows",
        "tied": "ponytail, bun, pulled, updo, tied-up",
        "shaved": "bald, balding",
        "spiky": "spiked",
    }
)
HAIR_NOUNS = frozenset(
    _words(
        "hair haired hairs hairstyle haircut "
        "ponytail bun bald balding pigtails braids dreadlocks afro crew-cut plait plaits cornrows"
    )
)
HAIR_COLORS = frozenset({"blonde", "blond", "brunette"})  # of a person as a whole: "a blonde woman"

CARRIED = _invert(
    {
        "backpack": "rucksack, knapsack, bookbag, school-bag, schoolbag, back-pack, packback",
        "handbag": "purse, clutch, hand-bag, pocketbook",
        "shoulder bag": "shoulder-bag, messenger-bag, crossbody, cross-body, satchel, sling-bag",
        "bag": "bags, plastic-bag, shopping-bag, paper-bag, tote, sack",
        "briefcase": "portfolio",
        "suitcase": "luggage, trolley",
        "umbrella": "parasol",
        "phone": "cellphone, smartphone, telephone, cell, mobile, iphone",
        "hat": "cap, beanie, visor",
        "glasses": "sunglasses, eyeglasses, spectacles",
        "headphones": "earphones, earbuds",
        "scarf": "",
        "book": "books, notebook, magazine, folder",
        "papers": "paper, documents",
        "bottle": "",
        "cup": "mug",
        "box": "package",
        "laptop": "tablet",
        "bicycle": "bike",
        "stroller": "pushchair, pram",
    }
)
PLURAL_CARRIED = frozenset({"glasses", "headphones", "papers"})
WORN_CARRIED = frozenset({"hat", "glasses", "headphones", "scarf"})  # "no hat" does not mean empty hands

# Synonyms that are read in queries but not used in paraphrases: those are sampled from the tables above, so that a
# synonym added there would change the training captions.
RARE = _invert(
    {
        "vest": "gilet, bodywarmer",
        "jacket": "bomber, puffer, windcheater, cagoule",
        "trousers": "trackies, cargos, jeggings",
        "skirt": "skort, kilt, sarong",
        "shoes": "brogues, plimsolls, moccasins, clogs, cleats",
        "boots": "wellies, wellingtons, booties",
        "sandals": "sliders, crocs, espadrilles",
        "beige": "fawn, taupe, ecru",
        "purple": "aubergine",
        "green": "emerald",
        "bag": "holdall",
        "umbrella": "brolly",
        "hat": "beret, fedora, bonnet, sunhat",
        "scarf": "pashmina",
        "glasses": "specs, goggles",
        "headphones": "headset, airpods",
        "stroller": "buggy",
        "bicycle": "pushbike",
    }
)
# English words that differ from a word above by one typo.
NOT_TYPOS = frozenset(
    _words(
        "things battle sides pool shots boost tennis shirts sorts salon strips stripped sacks blush vets giggles "
        "sweeter seater sliver solver chucked tongs chins glosses gasses slicks"
    )
)
