"""An exported model is a self-contained folder that computes the same as its checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnxruntime
import pytest
import torch

from models.export import export_model, load_exported, main
from models.options import Sizes
from models.tokenizer import load_tokenizer, tokenize
from models.tsn import TSN
from tests.fixtures import FOLDER, write_published_checkpoint
from utils.errors import UserError

VOCAB = FOLDER / "vocab.txt"


def test_a_released_checkpoint_round_trips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the moved folder alone; padding is attended to, as in the release."""
    file = write_published_checkpoint(tmp_path / "checkpoint_best.pth")
    main([str(file), str(tmp_path / "out"), "--vocab", str(VOCAB)])
    assert str(tmp_path / "out") in capsys.readouterr().out
    file.unlink()
    moved = Path(shutil.move(tmp_path / "out", tmp_path / "moved"))
    assert {path.name for path in moved.iterdir()} == {"model.safetensors", "config.json", "vocab.txt"}
    model, tokenizer = load_exported(moved)
    assert model.fuse_padding
    released = TSN.from_checkpoint(write_published_checkpoint(tmp_path / "again.pth"), load_tokenizer(VOCAB))
    ids, mask = tokenize(tokenizer, ["a man in a red top"])
    with torch.inference_mode():
        assert torch.equal(model.eval().encode_text(ids, mask)[1], released.eval().encode_text(ids, mask)[1])


def test_our_own_checkpoint_keeps_its_sizes_and_settings(tmp_path: Path) -> None:
    """The size of images that are not square, and how the fusion treats padding."""
    tokenizer = load_tokenizer(VOCAB)
    sizes = Sizes((64, 32), 16, 64, 1, 64, 1, 96, vocabulary=len(tokenizer), positions=80)
    model = TSN(sizes, enc_token=228, classes=5)
    content = {"model": model.state_dict(), "sizes": sizes.to_dict(), "config": {"model": {"fuse_padding": False}}}
    torch.save(content, tmp_path / "best.pth")
    shutil.copy(VOCAB, tmp_path / "vocab.txt")
    main([str(tmp_path), str(tmp_path / "out")])
    again, _ = load_exported(tmp_path / "out")
    assert again.sizes == sizes
    assert not again.fuse_padding
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_initial_weights_are_exported_in_half_precision_without_a_classifier(tmp_path: Path) -> None:
    """Within half a unit in the last place of float16."""
    tokenizer = load_tokenizer(VOCAB)
    sizes = Sizes((64, 32), 16, 64, 1, 64, 1, 96, vocabulary=len(tokenizer), positions=80)
    model = TSN(sizes, enc_token=228, classes=5)
    torch.save({"model": model.state_dict(), "sizes": sizes.to_dict()}, tmp_path / "best.pth")
    shutil.copy(VOCAB, tmp_path / "vocab.txt")
    main([str(tmp_path), str(tmp_path / "out"), "--half"])
    again, _ = load_exported(tmp_path / "out")
    assert len(again.classifier.weight) == 0
    for name, value in model.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.allclose(value, again.state_dict()[name], rtol=2**-11, atol=2**-25)


def test_missing_and_broken_files_are_errors_that_name_them(tmp_path: Path) -> None:
    """Nothing is written then."""
    file = write_published_checkpoint(tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"vocab\.txt is missing: .*--vocab"):
        main([str(file), str(tmp_path / "out")])
    with pytest.raises(UserError, match=r"none\.pth is missing"):
        export_model(tmp_path / "none.pth", VOCAB, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export_model(file, VOCAB, tmp_path / "out")
    weights = tmp_path / "out" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        load_exported(tmp_path / "out")


def test_another_model_is_not_overwritten(tmp_path: Path) -> None:
    """Only an earlier export is."""
    file = write_published_checkpoint(tmp_path / "c.pth")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "vocab.txt"):
        (other / name).write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(UserError, match=r"other.*another model"):
        export_model(file, VOCAB, other)
    assert (other / "vocab.txt").read_text() == '{"architectures": ["BertModel"]}'
    export_model(file, VOCAB, tmp_path / "out")
    export_model(file, VOCAB, tmp_path / "out")


def test_onnx_computes_the_same(tmp_path: Path) -> None:
    """Both encoders in onnxruntime, for other numbers of images and texts, and other lengths, than were traced."""
    tokenizer = load_tokenizer(VOCAB)
    sizes = Sizes((32, 16), 8, 64, 1, 64, 1, 96, vocabulary=len(tokenizer), positions=80, stem="convolutions")
    model = TSN(sizes, enc_token=228).eval()
    torch.save({"model": model.state_dict(), "sizes": sizes.to_dict()}, tmp_path / "best.pth")
    shutil.copy(VOCAB, tmp_path / "vocab.txt")
    main([str(tmp_path), str(tmp_path / "out"), "--onnx"])
    images = onnxruntime.InferenceSession(tmp_path / "out" / "image_encoder.onnx")
    texts = onnxruntime.InferenceSession(tmp_path / "out" / "text_encoder.onnx")
    for count in (1, 3):
        pixels = torch.rand(count, 3, 32, 16)
        ids, mask = tokenize(tokenizer, ["a man in a red top", "a", "a woman with a bag and a long blue coat"][:count])
        with torch.inference_mode():
            wanted = model.encode_image(pixels)[1], model.encode_text(ids, mask)[1]
        found = (
            images.run(None, {"pixels": pixels.numpy()})[0],
            texts.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0],
        )
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(torch.from_numpy(one), other, atol=1e-5, rtol=1e-4)


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    """Here it lies in a file; a read-only one is the same kind of error."""
    file = write_published_checkpoint(tmp_path / "checkpoint_best.pth")
    with pytest.raises(UserError, match=r"cannot write .*checkpoint_best\.pth/out"):
        main([str(file), str(file / "out"), "--vocab", str(VOCAB)])
