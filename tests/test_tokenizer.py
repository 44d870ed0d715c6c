"""The tokenizer: known ids, all ways to give a vocabulary, and reproducible training of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import BertTokenizer

from models.tokenizer import build_tokenizer, clean_text, enc_token_id, load_tokenizer, tokenize, train_vocabulary
from utils.errors import UserError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "man", "woman", "red", "blue", "##dish", "-"]
CAPTIONS = [
    "The man is wearing a red top with blue trousers.",
    "The woman is wearing a blue coat with black trousers and white shoes.",
    "A person in a reddish jacket; short hair!",
    "The man is carrying a backpack and a red umbrella.",
]


@pytest.fixture
def vocab(tmp_path: Path) -> Path:
    file = tmp_path / "vocab.txt"
    file.write_text("".join(f"{word}\n" for word in WORDS))
    return file


def test_two_different_words_get_two_different_ids(vocab: Path) -> None:
    """The ids are the lines of the file: [CLS] the red man [SEP], and nothing is unknown."""
    ids, mask = tokenize(load_tokenizer(vocab), ["The RED man", "the blue woman"])
    assert ids.tolist() == [[2, 5, 8, 6, 3], [2, 5, 9, 7, 3]]
    assert mask.tolist() == [[1] * 5] * 2


def test_unknown_words_are_cut_into_pieces_or_unknown(vocab: Path) -> None:
    """ "reddish" is red and ##dish; "xyz" is [UNK]."""
    assert tokenize(load_tokenizer(vocab), ["reddish xyz"])[0].tolist() == [[2, 8, 10, 1, 3]]


def test_all_ways_to_give_a_vocabulary_are_equivalent(vocab: Path, tmp_path: Path) -> None:
    """vocab.txt, its folder, and a saved tokenizer give the same ids."""
    one = load_tokenizer(vocab)
    one.save_pretrained(tmp_path / "saved")
    expected = tokenize(one, CAPTIONS)[0].tolist()
    for other in (str(vocab), tmp_path, tmp_path / "saved"):
        loaded = load_tokenizer(other)
        assert tokenize(loaded, CAPTIONS)[0].tolist() == expected
        assert enc_token_id(loaded) == enc_token_id(one)
        assert len(loaded) == len(WORDS) + 2


def test_begin_and_pair_tokens_are_appended_to_the_vocabulary(vocab: Path) -> None:
    """[DEC], then [ENC], as published: 30522 and 30523 with BERT's own 30522 words."""
    tokenizer = load_tokenizer(vocab)
    assert tokenizer.bos_token == "[DEC]"
    assert tokenizer.bos_token_id == len(WORDS)
    assert enc_token_id(tokenizer) == len(WORDS) + 1


def test_texts_are_padded_to_the_longest_or_to_a_length_and_cut(vocab: Path) -> None:
    """Padding is id 0 with mask 0; 73 tokens are the maximum."""
    tokenizer = load_tokenizer(vocab)
    ids, mask = tokenize(tokenizer, ["red", "the red man"])
    assert ids.tolist() == [[2, 8, 3, 0, 0], [2, 5, 8, 6, 3]]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert tokenize(tokenizer, ["red"], pad_to=73)[0].shape == (1, 73)
    long = tokenize(tokenizer, ["reddish " * 70])[0]
    assert long.shape == (1, 73)
    assert long[0, -1] == 3  # a truncated text still ends with [SEP]


def test_text_is_cleaned_as_published() -> None:
    """Lower case; ten punctuation marks become spaces; at most 72 words; commas and hyphens stay."""
    assert clean_text('  A "Red"  T-shirt (new)*: ok#1; x~y. Yes!\n, no ') == "a red t-shirt new ok 1 x y yes , no"
    assert clean_text(" ".join(f"w{number}" for number in range(100))).split()[-1] == "w71"
    assert clean_text(" . ") == ""


def test_a_trained_vocabulary_knows_the_words_it_was_trained_on(tmp_path: Path) -> None:
    """Special tokens come first, words seen twice are included, and no caption has unknown tokens."""
    train_vocabulary(CAPTIONS, tmp_path / "v.txt")
    words = (tmp_path / "v.txt").read_text().splitlines()
    assert words[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(words) == len(set(words))
    assert {"the", "man", "wearing", "trousers", "red", "blue"} <= set(words)
    ids, _ = tokenize(load_tokenizer(tmp_path / "v.txt"), CAPTIONS)
    assert not (ids == 1).any()


def test_a_trained_vocabulary_is_reproducible(tmp_path: Path) -> None:
    """It depends neither on the order of the texts nor on the hash seed of the process."""
    program = (
        "import sys; from pathlib import Path; from models.tokenizer import train_vocabulary\n"
        "texts = [f'{a} {b} {c}' for a in ('red', 'blue', 'grey', 'green', 'beige') "
        "for b in ('shirt', 'shoes', 'shorts', 'skirt') for c in ('short', 'long', 'striped')]\n"
        "train_vocabulary(texts[::int(sys.argv[2])], Path(sys.argv[1]), size=90)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / f"{seed}.txt"), step],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""},
        )
        for seed, step in (("1", "1"), ("2", "-1"))
    ]
    assert [process.wait() for process in running] == [0, 0]
    assert (tmp_path / "1.txt").read_bytes() == (tmp_path / "2.txt").read_bytes()


def test_a_run_keeps_its_first_vocabulary(vocab: Path, tmp_path: Path) -> None:
    """The copy in the run folder has the same words in the same order, and later texts do not change it."""
    copy = tmp_path / "run" / "vocab.txt"
    one = build_tokenizer(str(vocab), [], copy)
    assert copy.read_text().splitlines() == WORDS
    assert build_tokenizer(None, ["other texts"], copy).get_vocab() == one.get_vocab()
    trained = tmp_path / "trained.txt"
    first = build_tokenizer(None, CAPTIONS, trained)
    assert build_tokenizer(None, ["other texts"], trained).get_vocab() == first.get_vocab()


def test_an_invalid_vocabulary_is_a_one_line_error(tmp_path: Path) -> None:
    """A missing file, an empty folder, a file without BERT's special tokens."""
    (tmp_path / "no.txt").write_text("the\nman\n")
    (tmp_path / "empty").mkdir()
    for vocab, message in (
        (tmp_path / "gone.txt", "gone.txt is missing"),
        (tmp_path / "gone", "gone is missing"),
        (tmp_path / "empty", r"vocab\.txt is missing"),
        (tmp_path / "no.txt", r"lacks \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\]"),
    ):
        with pytest.raises(UserError, match=f"model.vocab: .*{message}") as error:
            load_tokenizer(vocab)
        assert "\n" not in str(error.value)


def test_a_hub_tokenizer_with_only_special_tokens_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers returns one without a network; it is not saved for later runs."""
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "vocab.txt").write_text("".join(f"{word}\n" for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")))
    real = BertTokenizer.from_pretrained
    monkeypatch.setattr(BertTokenizer, "from_pretrained", lambda *_, **__: real(empty))
    with pytest.raises(UserError, match="'bert-base-uncased' has no BERT vocabulary"):
        build_tokenizer("bert-base-uncased", [], tmp_path / "kept.txt")
    assert not (tmp_path / "kept.txt").exists()


def test_a_binary_vocabulary_file_is_an_error(tmp_path: Path) -> None:
    """Not a traceback."""
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match=r"model\.vocab: .*vocab\.txt"):
        load_tokenizer(tmp_path / "vocab.txt")


def test_a_vocabulary_is_split_at_line_feeds_alone(vocab: Path, tmp_path: Path) -> None:
    """A word may be a Unicode separator; the ids of the words after it do not shift. Windows' line ends are read."""
    words = vocab.read_text(encoding="utf-8").split("\n")
    file = tmp_path / "separator.txt"
    file.write_bytes("\n".join([*words[:6], "\u2028", *words[6:]]).encode())
    ids, before = load_tokenizer(file).get_vocab(), load_tokenizer(vocab).get_vocab()
    assert ids[words[6]] == before[words[6]] + 1
    assert len(ids) == len(before) + 1
    file.write_bytes("\r\n".join(words).encode())
    assert load_tokenizer(file).get_vocab() == before
