"""`python -m clustering`: labels and a summary of any feature file; and the quality figures."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import silhouette_samples

from clustering.__main__ import main, read_features, read_ids
from clustering.eps import RADII, silhouette_eps
from clustering.jaccard import upper_jaccard
from clustering.pseudo_labels import assign_pseudo_labels
from clustering.quality import label_quality, silhouette
from tests.test_jaccard import blobs, dense_jaccard
from utils.errors import UserError

FEATURES = blobs(120, 12, 0, 0.2).astype(np.float32)
PEOPLE = np.arange(120) % 12


def written(path: Path, content: NDArray, name: str = "features") -> Path:
    """A file in the format that its name ends in."""
    if path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **{name: content, "other": np.zeros(2)})
    else:
        torch.save({name: torch.from_numpy(content), "epoch": 3}, path)
    return path


@pytest.mark.parametrize("ending", ["npy", "npz", "pt"])
def test_any_feature_file_is_clustered(ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Summary on the terminal, labels in a file: those of the library."""
    source = written(tmp_path / f"f.{ending}", FEATURES)
    ids = written(tmp_path / f"i.{ending}", PEOPLE, "ids")
    out = tmp_path / "labels.npy"
    main([str(source), "--k1", "8", "--eps", "0.5", "--ids", str(ids), "--out", str(out)])
    assert np.array_equal(np.load(out), assign_pseudo_labels(FEATURES, k1=8, eps=0.5).labels)
    output = capsys.readouterr().out
    assert "120 x 6 float32 features, eps 0.5000" in output
    for name in ("clusters", "noise", "silhouette", "ari", "nmi", "precision", "recall", "purity"):
        assert f"\n{name} " in output


def test_labels_can_be_text_and_no_other_file_is_left(tmp_path: Path) -> None:
    """One label a line, and the radius is chosen where none is given."""
    source = written(tmp_path / "f.npy", FEATURES)
    main([str(source), "--k1", "8", "--out", str(tmp_path / "labels.txt")])
    labels = [int(line) for line in (tmp_path / "labels.txt").read_text().splitlines()]
    assert labels == assign_pseudo_labels(FEATURES, k1=8, eps="silhouette").labels.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npy", "labels.txt"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.csv", b"1,2", "give a file of numpy or torch"),
        ("f.npy", b"", "cannot read"),
        ("f.npz", b"no archive", "cannot read"),
        ("f.pt", b"nonsense", "cannot read"),
        ("f.pt", None, "is missing"),
        ("f.npy", np.array([object()]), "cannot read"),
        ("f.npz", {"one": np.ones(2), "two": np.ones(2)}, "has no array called features, feats, embeddings"),
        ("f.pt", {"features": "text"}, "holds str, not an array"),
        ("f.npy", np.ones(5), "must be a matrix"),
        ("f.npy", np.ones((5, 2), int), "must be a matrix"),
    ],
)
def test_a_wrong_file_is_one_line(name: str, content: object, message: str, tmp_path: Path) -> None:
    """It names the file or its content."""
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict) and path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **content)
    elif isinstance(content, dict):
        torch.save(content, path)
    elif isinstance(content, np.ndarray):
        np.save(path, content)
    with pytest.raises(UserError, match=message) as caught:
        main([str(path)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--eps", "-1"], r"--eps=-1\.0 .*greater than 0"),
        (["--eps", "large"], "--eps='large' .*'auto' or 'silhouette'"),
        (["--metric", "cosine"], "--metric='cosine' .*'precomputed' or 'rows'"),
        (["--min-samples", "0"], "--min_samples=0"),
        (["--device", "tpu"], "--device tpu: it should be"),
        (["--device", "cuda:99"], "--device cuda:99: there is no such GPU"),
        (["--device", "cuda:99999999999999999999"], "there is no such GPU"),
        (["--out", "labels.csv"], "written as .npy or .txt"),
        (["--ids", "IDS"], "119 ids, .*120 rows"),
    ],
)
def test_a_wrong_option_is_one_line(options: list[str], message: str, tmp_path: Path) -> None:
    """It names the option or the file, before any clustering."""
    ids = written(tmp_path / "ids.npy", PEOPLE[:119])
    source = written(tmp_path / "f.npy", FEATURES)
    with pytest.raises(UserError, match=message):
        main([str(source), *(str(ids) if word == "IDS" else word for word in options)])


UNFIT = {
    "sparse": lambda: torch.eye(4).to_sparse(),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(3, 2), torch.ones(4, 2)]),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(4, 2), 0.1, 0, torch.qint8),
    "meta": lambda: torch.empty(4, 2, device="meta"),
    "expanded": lambda: torch.zeros(1).expand(10**6, 10**6),
    r"shape is \(0, 2\)": lambda: torch.zeros(0, 2),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", UNFIT)
def test_tensors_without_a_value_for_each_element_are_refused(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line that says what was found, and no warning beside it."""
    torch.save(UNFIT[kind](), tmp_path / "f.pth")
    capfd.readouterr()
    with pytest.raises(UserError, match=rf"f\.pth.*{kind}") as caught:
        main([str(tmp_path / "f.pth")])
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_floats_that_numpy_does_not_have_are_read(tmp_path: Path) -> None:
    """8 bits, and lazily negated values."""
    values = torch.from_numpy(FEATURES)
    for tensor in (values.to(torch.float8_e4m3fn), torch._neg_view(values)):
        torch.save(tensor, tmp_path / "f.pt")
        assert np.allclose(read_features(tmp_path / "f.pt"), tensor.float().resolve_neg().numpy())


@pytest.mark.parametrize("shape", [(10**9, 10**7), (10**30, 8), (2**40, 2**40)])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_a_header_that_claims_more_than_there_is(shape: tuple[int, int], ending: str, tmp_path: Path) -> None:
    """More than any memory holds, and more than an index counts."""
    header = str({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)
    path = tmp_path / f"f.{ending}"
    if ending == "npy":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("features.npy", content)
    with pytest.raises(UserError, match=rf"f\.{ending}"):
        read_features(path)


def test_names_are_ids_too(tmp_path: Path) -> None:
    """Persons may be numbers or words; half-precision tensors are features."""
    assert read_ids(written(tmp_path / "i.npy", np.array(["b", "a", "b"]))).tolist() == [1, 0, 1]
    with pytest.raises(UserError, match="ids must be a list of whole numbers or names"):
        read_ids(written(tmp_path / "w.npy", np.ones(3)))
    torch.save(torch.ones(3, 2, dtype=torch.bfloat16), tmp_path / "f.pt")
    assert read_features(tmp_path / "f.pt").dtype == np.float32


def test_silhouette_is_scikit_learns_of_what_is_clustered() -> None:
    """Over all images, and close to it over a sample; noise is left out, and so is a single cluster."""
    labels = np.where(np.arange(120) % 7 == 0, -1, PEOPLE)
    labels[1] = 50
    inside = labels >= 0
    expected = silhouette_samples(FEATURES[inside], labels[inside]).mean()
    assert silhouette(FEATURES, labels) == pytest.approx(expected, abs=1e-5)
    assert silhouette(FEATURES, labels, sample=60) == pytest.approx(expected, abs=0.1)
    assert np.isnan(silhouette(FEATURES, np.zeros(120, int)))


def test_pairs_and_purity_by_hand() -> None:
    """Clusters aab and b, noise a: the pairs aa, ab, ab share a cluster, three pairs aa and one bb a person."""
    quality = label_quality(np.array([0, 0, 0, 1, -1]), np.array([7, 7, 8, 8, 7]))
    assert quality["precision"] == pytest.approx(1 / 3)
    assert quality["recall"] == pytest.approx(1 / 4)
    assert quality["f"] == pytest.approx(2 / 7)
    assert quality["purity"] == pytest.approx(4 / 5)


def test_agreement_with_the_round_before() -> None:
    """1 for the same clusters under other numbers, less for others; noise is never grouped with noise."""
    labels = np.array([0, 0, 1, 1, -1, -1])
    assert label_quality(labels, previous=np.array([5, 5, 2, 2, -1, -1]))["ari_before"] == 1
    assert label_quality(labels, previous=np.array([5, 5, 2, 2, 3, 3]))["ari_before"] < 1
    assert "ari_before" not in label_quality(labels)


def test_the_chosen_radius_has_the_highest_silhouette_over_all_distances() -> None:
    """By scikit-learn over the dense matrix, noise and single images as 0."""
    features = blobs(90, 9, 4, 0.4)
    dense = dense_jaccard(features, 8, 3)
    scores = []
    for eps in RADII:
        labels = assign_pseudo_labels(features, k1=8, k2=3, eps=eps).labels
        inside = labels >= 0
        several = len(set(labels[inside].tolist())) > 1
        of_clustered = silhouette_samples(dense[np.ix_(inside, inside)], labels[inside], metric="precomputed")
        scores.append(of_clustered.sum() / 90 if several else 0.0)
    found = assign_pseudo_labels(features, k1=8, k2=3, eps="silhouette")
    assert found.eps == next(eps for eps, score in zip(RADII, scores, strict=True) if score >= 0.95 * max(scores))
    assert found.eps < RADII[int(np.argmax(scores))]
    assert len(set(scores)) > 3


def test_a_radius_is_chosen_for_no_point_and_for_one() -> None:
    """No point and one point have no clusters to choose by."""

    def noise(count: int, eps: float) -> NDArray[np.int64]:
        return np.full(count, -1)

    for count in (0, 1):
        pairs = upper_jaccard(FEATURES[:count], k1=8, k2=3)
        eps, labels = silhouette_eps(pairs, partial(noise, count))
        assert eps == RADII[0]
        assert len(labels) == count
