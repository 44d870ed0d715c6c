"""Run in a process group: embed and match a gallery of one image; see test_matching.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from data.images import open_image
from data.records import ImageRecord
from data.transforms import normalize, test_transform
from models.options import Sizes
from models.tokenizer import enc_token_id, load_tokenizer
from models.tsn import TSN, TSNOptions
from retrieval.embed import embed
from retrieval.matching import Matcher
from retrieval.retrieval_set import RetrievalSet
from tests.pictures import picture
from utils import distributed

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "top")


def main(folder: Path) -> None:
    """Print "same" if the logit is that of a single process."""
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    tokenizer = load_tokenizer(folder / "vocab.txt")
    torch.manual_seed(0)
    sizes = Sizes((32, 16), 16, 64, 2, 64, 2, 96, vocabulary=len(WORDS) + 2, positions=20)
    model = TSN(sizes, enc_token=enc_token_id(tokenizer), options=TSNOptions(dropout=0.0)).eval()
    record = ImageRecord(picture(folder / "1.png"), "1.png", ("a red top",), 1, "test")
    one = np.array([1])
    retrieval = RetrievalSet((record,), (None,), record.captions, (None,), one, one, np.array([0]))
    embeddings = embed(model, tokenizer, retrieval, keep_tokens="full", batch_size=2)
    match = Matcher(model, embeddings, batch_size=2)
    logit = match.run_on_main(lambda: match(torch.tensor([0]), torch.tensor([0])))
    if logit is None:
        return
    # The image belongs to the last process; the main one has it only through the group.
    alone = TSN(sizes, enc_token=enc_token_id(tokenizer), options=TSNOptions(dropout=0.0)).eval()
    alone.load_state_dict(model.state_dict())
    with torch.no_grad():
        tokens, _ = alone.encode_image(normalize(test_transform(sizes.image)(open_image(record.path)))[None])
        expected = alone.match(tokens, embeddings.query_ids, embeddings.query_mask)
    print("same" if torch.allclose(logit, expected, atol=1e-5) else f"{logit} is not {expected}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, distributed.process_group(torch.device("cpu")):
        main(Path(folder))
