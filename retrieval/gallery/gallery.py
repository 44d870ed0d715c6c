"""Search an index by a sentence, by a photograph, or by examples of what is wanted and what is not."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioning.captioner import QueryRewriter, load_rewriter
from captioning.style.template import Slots, parse, render
from data.images import open_image
from models.tokenizer import MAX_WORDS, clean_text, tokenize
from models.tsn import TSN
from retrieval.gallery.build import load_model
from retrieval.gallery.conditions import condition, plain_text, quote
from retrieval.gallery.index import MANIFEST, SLOTS, Manifest, connect, read_manifest, reading
from retrieval.gallery.question import best_question
from retrieval.gallery.results import Hit, Results, SearchOptions, agreement
from retrieval.gallery.rows import Rows, vectors_of
from utils.errors import UserError

# Rocchio (1971): weights of the mean of the wanted examples and of the mean of the others, beside the query itself.
LIKE, UNLIKE = 0.75, 0.25
_QUESTION_DEPTH = 50  # results that a question should split
ANSWER_GAIN, _ANSWER_DEPTH = 0.01, 1000  # of a slot that the user named, and rows that it can move
_MATCHED_AT_ONCE = 32


@dataclass(frozen=True)
class _Query:
    """What is compared with the rows: vector [2 E], and what the sentence was read as."""

    vector: NDArray[np.float32]
    rewrite: str | None
    slots: Slots
    notes: list[str] = field(default_factory=list)


class Gallery:
    """An open index. Safe to use from several threads; what another process adds to the index is found at once.

    Args:
        index: folder of the index.
        device: `auto`, `cpu`, `cuda` or `cuda:N`, for the model.

    Raises:
        UserError: there is no index, or the checkpoint that built it has changed.
    """

    def __init__(self, index: Path, *, device: str = "auto") -> None:
        self.index = index
        self._device = device
        self._lock = threading.Lock()
        self._stamp = self._version = -1
        self._open_index()

    @classmethod
    def open(cls, index: str | Path, *, device: str = "auto") -> Gallery:
        """Open an index that `search.py index` has built."""
        return cls(Path(index), device=device)

    def _open_index(self) -> None:
        """Open the index as its manifest describes it now."""
        stamp = (self.index / MANIFEST).stat().st_mtime_ns if (self.index / MANIFEST).is_file() else 0
        manifest: Manifest = read_manifest(self.index)
        manifest.model.check_unchanged()
        with reading(self.index):
            self._table = connect(self.index).open_table(manifest.table)
        self.manifest, self._stamp, self._version = manifest, stamp, -1
        for name in ("model", "rewriter"):
            self.__dict__.pop(name, None)

    def __len__(self) -> int:
        with reading(self.index):
            return int(self._table.count_rows())

    @property
    def root(self) -> Path:
        """The folder of the photographs."""
        return Path(self.manifest.folder)

    @cached_property
    def model(self) -> TSN:
        """The model of the index, in evaluation mode."""
        return load_model(self.manifest.model, self._device)

    @cached_property
    def rewriter(self) -> QueryRewriter:
        """The rewriter of the index."""
        return load_rewriter(self.manifest.captioner, self._device)

    def search(self, sentence: str | None = None, **options: Unpack[SearchOptions]) -> Results:
        """Find the photographs that a sentence, a photograph, or examples describe best.

        Args:
            sentence: in plain English; None to search by `image` or `like` alone.
            options: see `SearchOptions`.

        Raises:
            UserError: nothing is searched for, the condition is no condition on known columns, an example is not in
                the index, or the image cannot be read.
        """
        top, image, answers = options.get("top", 20), options.get("image"), options.get("answers") or {}
        weight, rerank = options.get("weight"), options.get("rerank")
        weight = self.manifest.weight if weight is None else weight
        rerank = self.manifest.rerank if rerank is None else rerank
        like = [str(plain_text(one)) for one in options.get("like", ())]
        unlike = [str(plain_text(one)) for one in options.get("unlike", ())]
        rows = self._current_rows()
        sentence = plain_text(sentence)
        answers = {name: plain_text(value) for name, value in answers.items()}
        if unknown := sorted(answers.keys() - set(SLOTS)):
            raise UserError(f"there is no slot {unknown[0]}: the slots are {', '.join(SLOTS)}")
        query = self._query(sentence, image, answers, weight, has_examples=bool(like))
        vector = query.vector + self._examples(like, LIKE) - self._examples(unlike, UNLIKE)
        chosen = condition(self._table, options.get("where"), options.get("folder"))
        depth = max(top, rerank, _QUESTION_DEPTH)
        given = {name: value for name, value in answers.items() if value}
        with reading(self.index):
            scores, found = rows.best(vector, _ANSWER_DEPTH if given else depth, chosen, self._table)
        if given:
            scores, found = prefer(given, scores, found)
        if rerank and sentence and found.num_rows:
            scores, found = self._rerank(sentence, scores, found, rerank)
        slots = _filled(query.slots)
        hits = [
            self._hit(rank, score, row, slots)
            for rank, (score, row) in enumerate(zip(scores[:top].tolist(), found[:top].to_pylist(), strict=True), 1)
        ]
        question = best_question(found[:_QUESTION_DEPTH], query.slots, answers) if sentence else None
        notes = tuple(query.notes) + (("no photograph meets the condition",) if not found.num_rows else ())
        return Results(sentence, query.rewrite, slots, tuple(hits), question, notes)

    def facets(self) -> dict[str, list[str]]:
        """Return the cameras and folders of the index, each in order."""
        self._current_rows()
        with reading(self.index):
            meta = self._table.search().select(["camera", "folder"]).limit(self._table.count_rows() or 1).to_arrow()
        return {name: sorted(filter(None, meta[name].unique().to_pylist()), key=_natural) for name in meta.schema.names}

    def path_of(self, photograph: str) -> Path | None:
        """Return the file of the photograph with this id; None if the index has no such photograph."""
        if not re.fullmatch(r"[0-9a-f]{16}", photograph):
            return None
        with reading(self.index):
            row = self._table.search().where(f"id = '{photograph}'").select(["path"]).limit(1).to_arrow()
        return self.root / row["path"][0].as_py() if row.num_rows else None

    def _current_rows(self) -> Rows:
        """Return the rows of the index as it is now."""
        with self._lock:
            try:
                stamp = (self.index / MANIFEST).stat().st_mtime_ns
            except OSError:
                stamp = 0
            if stamp != self._stamp:
                self._open_index()
            with reading(self.index):
                version = self._table.version
                if version != self._version:
                    self._rows, self._version = Rows(self._table), version
            return self._rows

    def _query(
        self,
        sentence: str | None,
        image: Path | None,
        answers: dict[str, str | None],
        weight: float,
        *,
        has_examples: bool,
    ) -> _Query:
        if not (sentence and sentence.strip()) and image is None and not has_examples:
            raise UserError("nothing to search for: give a sentence, --image or --like")
        embed = self.model.sizes.embed
        notes: list[str] = []
        vector = np.zeros(2 * embed, np.float32)
        if image is not None:
            with torch.inference_mode():
                pixels = self.model.preprocess(open_image(image))[None].to(self.model.vision_proj.weight.device)
                vector[:embed] += self.model.encode_image(pixels)[1][0].cpu().numpy()
        if not (sentence and sentence.strip()):
            return _Query(vector, None, Slots(), notes)
        rewrite = self._rewrite(sentence, notes)
        slots = parse(rewrite or "")
        if answers:
            slots = replace(slots, **answers)
            rewrite = render(slots) if slots else None
        self._note_unknown(sentence, notes)
        texts = self.model.embed_texts([sentence, rewrite] if rewrite else [sentence])
        vector += query_vector(texts[0], texts[1] if rewrite else None, weight, self.manifest.rewrite_image).numpy()
        return _Query(vector, rewrite, slots, notes)

    def _rewrite(self, sentence: str, notes: list[str]) -> str | None:
        try:
            with closing(self.rewriter.rewrite([sentence])) as stream:
                _, answer = next(stream)
        except UserError as error:  # a server that is down must not keep anybody from searching
            notes.append(f"the sentence was not rewritten: {error}")
            return None
        if answer.text is None:
            notes.append(f"the sentence was not rewritten: it {answer.problem}")
        return answer.text

    def _note_unknown(self, sentence: str, notes: list[str]) -> None:
        words = re.sub(r'[.!"()*#:;~]', " ", sentence.lower()).split()
        if len(words) > MAX_WORDS:
            notes.append(f"only the first {MAX_WORDS} of {len(words)} words are read")
        tokenizer = self.model.tokenizer
        if tokenizer is None:
            return
        tokens = tokenizer.tokenize(clean_text(sentence))
        if tokens and sum(token == tokenizer.unk_token for token in tokens) > len(tokens) / 2:
            notes.append("most words are unknown to the model, which reads English: the order means little")

    def _examples(self, names: Sequence[str], share: float) -> NDArray[np.float32]:
        """Return `share` times the mean vector of examples, scaled as a query is: half for each of its parts."""
        if not names:
            return np.zeros(2 * self.model.sizes.embed, np.float32)
        ids = [name if re.fullmatch(r"[0-9a-f]{16}", name) else None for name in names]
        wanted = [f"id = '{one}'" if one else f"path = {quote(name)}" for one, name in zip(ids, names, strict=True)]
        vectors = []
        for name, example in zip(names, wanted, strict=True):
            with reading(self.index):
                row = self._table.search().where(example).select(["vector"]).limit(1).to_arrow()
            if not row.num_rows:
                raise UserError(f"{name} is not in the index: give the path or the id of a photograph in it")
            vectors.append(vectors_of(row)[0])
        return (share * 0.5 * np.mean(vectors, axis=0)).astype(np.float32)

    @torch.inference_mode()
    def _rerank(
        self, sentence: str, scores: NDArray[np.float32], found: pa.Table, count: int
    ) -> tuple[NDArray[np.float32], pa.Table]:
        """Add the matching logit to the best `count` rows, and sort them; the others stay below them."""
        model, count = self.model, min(count, found.num_rows)
        device = model.vision_proj.weight.device
        pixels, kept = [], []
        for row, path in enumerate(found["path"][:count].to_pylist()):
            try:
                pixels.append(model.preprocess(open_image(self.root / path)))
                kept.append(row)
            except UserError:  # the file has gone: it keeps its similarity, and is marked in the results
                continue
        if not kept or model.tokenizer is None:
            return scores, found
        ids, mask = (one.to(device) for one in tokenize(model.tokenizer, [sentence]))
        parts = []
        for part in torch.stack(pixels).split(_MATCHED_AT_ONCE):
            tokens = model.encode_image(part.to(device))[0]
            parts.append(model.match(tokens, ids.expand(len(part), -1), mask.expand(len(part), -1)).float().cpu())
        logits = torch.cat(parts).numpy()
        matched = scores[kept] + logits
        order = np.argsort(-matched, kind="stable")
        rest = [row for row in range(found.num_rows) if row not in set(kept)]
        return np.concatenate([matched[order], scores[rest]]), found.take([*np.array(kept)[order].tolist(), *rest])

    def _hit(self, rank: int, score: float, row: dict[str, Any], wanted: dict[str, str]) -> Hit:
        seen = {name: row[name] for name in SLOTS if row[name]}
        return Hit(
            rank=rank,
            score=round(score, 4),
            id=row["id"],
            path=row["path"],
            camera=row["camera"],
            time=row["time"],
            caption=row["caption"],
            slots=seen,
            reasons={name: agreement(value, seen.get(name)) for name, value in wanted.items()},
            missing=not (self.root / row["path"]).is_file(),
        )


def query_vector(query: Tensor, rewrite: Tensor | None, weight: float, share: float) -> Tensor:
    """Return the vector [2 E] whose inner product with a row is the fused similarity that `test.py` computes.

    (1 - w) q.p + w ((1 - s) r.c + s r.p) = [(1 - w) q + w s r, w (1 - s) r] . [p, c]

    Args:
        query: q [E], the sentence.
        rewrite: r [E]; None if there is none, which leaves q.p.
        weight: w.
        share: s, of the similarity of rewrite and photograph.
    """
    if rewrite is None:
        return torch.cat([query, torch.zeros_like(query)])
    return torch.cat([(1 - weight) * query + weight * share * rewrite, weight * (1 - share) * rewrite])


def prefer(answers: dict[str, str], scores: NDArray[np.float32], found: pa.Table) -> tuple[Any, pa.Table]:
    """Raise the rows whose captions agree with what the user said, lower those that contradict it, and sort again."""
    gain = np.zeros(len(scores), np.float32)
    for name, value in answers.items():
        seen = np.array([one or "" for one in found[name].to_pylist()])
        gain += ANSWER_GAIN * np.where(seen == "", 0, np.where(seen == value, 1, -1))
    scores = scores + gain
    order = np.argsort(-scores, kind="stable")
    return scores[order], found.take(order)


def _filled(slots: Slots) -> dict[str, str]:
    return {name: value for name in SLOTS if (value := getattr(slots, name))}


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key in which camera 2 precedes camera 10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", text)]
