"""The three losses against reference values computed in plain Python floats, and their invariants."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.losses import hard_negatives, id_loss, image_image_loss, itc_loss, itm_loss, text_text_loss

Rows = list[list[float]]


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def itc_by_hand(image: Rows, text: Rows, labels: list[int]) -> float:
    """The published `global` loss in plain floats: divergence both ways over all entries, plus cross-entropy."""

    def unit(row: list[float]) -> list[float]:
        length = math.hypot(*row)
        return [value / length for value in row]

    def one_way(logits: Rows) -> float:
        divergence = entropy = 0.0
        for row, own in zip(logits, labels, strict=True):
            agree = [float(own == other) for other in labels]
            target = [value / sum(agree) for value in agree]
            for p, y in zip(softmax(row), target, strict=True):
                log_p, log_y = math.log(p), math.log(y + 1e-8)
                divergence += p * (log_p - log_y) + y * (log_y - log_p)
                entropy -= y * log_p
        return divergence / len(labels) ** 2 + entropy / len(labels)

    image, text = [unit(row) for row in image], [unit(row) for row in text]
    cosine = [[50 * sum(a * b for a, b in zip(i, t, strict=True)) for t in text] for i in image]
    return (one_way(cosine) + one_way([list(column) for column in zip(*cosine, strict=True)])) / 2


IMAGE: Rows = [[1.0, 0.2, 0.1], [0.8, 0.4, 0.3], [0.9, 0.1, 0.5]]
TEXT: Rows = [[2.0, 0.5, 0.4], [0.5, 0.2, 0.3], [1.0, 0.3, 0.2]]


@pytest.mark.parametrize("labels", [[0, 1, 2], [4, 4, 7], [1, 1, 1]])
def test_itc_is_the_published_formula(labels: list[int]) -> None:
    """One, two and three images to a label; embeddings of any length are normalized in the loss."""
    found = itc_loss(torch.tensor(IMAGE), torch.tensor(TEXT), torch.tensor(labels))
    assert float(found) == pytest.approx(itc_by_hand(IMAGE, TEXT, labels), rel=1e-5)


def test_itc_of_orthogonal_pairs() -> None:
    """Two pairs, cosines 1 and 0: p = (1, e^-50); the loss of a perfect batch is almost zero."""
    eye = torch.eye(2)
    assert float(itc_loss(eye, eye, torch.tensor([0, 1]))) == pytest.approx(0, abs=1e-6)
    # Reversed, p and y disagree completely. Log-softmax is (-50, 0) for y = (1, 0). A row's entries:
    # 0 (-50 - 0) + 1 (0 + 50) = 50 and 1 (0 - log 1e-8) + 0 = 18.42; their mean over 4 entries of 2 rows, plus CE 50.
    wrong = float(itc_loss(eye, eye.flip(0), torch.tensor([0, 1])))
    assert wrong == pytest.approx((50 - math.log(1e-8)) / 2 + 50, rel=1e-5)


def test_itc_treats_pairs_of_the_same_label_as_positives() -> None:
    """An image of the same cluster is a target, not a negative: what remains is the entropy of two equal targets."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    agreeing = float(itc_loss(rows, rows, torch.tensor([0, 0, 1])))
    assert agreeing == pytest.approx(2 / 3 * math.log(2), rel=1e-5)
    assert agreeing < float(itc_loss(rows, rows, torch.tensor([0, 1, 2]))) / 2


def test_itm_is_cross_entropy_with_the_true_pairs_first() -> None:
    """One pair and its two negatives: -log softmax of class 1, then twice of class 0."""
    rows = [[0.5, 1.5], [2.0, -1.0], [0.3, 0.9]]
    expected = -sum(math.log(softmax(row)[target]) for row, target in zip(rows, (1, 0, 0), strict=True)) / 3
    assert float(itm_loss(torch.tensor(rows))) == pytest.approx(expected, rel=1e-6)
    six = [*rows[:1], [1.0, 0.0], *rows[1:], [0.1, 0.2], [0.0, 3.0]]
    targets = (1, 1, 0, 0, 0, 0)
    expected = -sum(math.log(softmax(row)[target]) for row, target in zip(six, targets, strict=True)) / 6
    assert float(itm_loss(torch.tensor(six))) == pytest.approx(expected, rel=1e-6)


def test_id_is_a_weighted_sum_of_fused_and_text_cross_entropies() -> None:
    """With weights 0.8 and 0.2."""
    fused, text, labels = [[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]], [[0.0, 0.0, 3.0], [1.0, 1.0, 0.5]], [0, 2]

    def entropy(rows: Rows) -> float:
        return -sum(math.log(softmax(row)[label]) for row, label in zip(rows, labels, strict=True)) / 2

    found = id_loss(torch.tensor(fused), torch.tensor(text), torch.tensor(labels))
    assert float(found) == pytest.approx(0.8 * entropy(fused) + 0.2 * entropy(text), rel=1e-6)


def negatives_by_hand(image: Tensor, text: Tensor, labels: list[int]) -> tuple[list[int], list[int]]:
    """For each text the image, and for each image the text, of another label and highest softmax."""
    products = ((image.double() @ text.double().T) / 0.07).tolist()
    for_texts, for_images = [], []
    for number, label in enumerate(labels):
        image_row = softmax(products[number])
        text_row = softmax([row[number] for row in products])
        others = [other for other, another in enumerate(labels) if another != label]
        for_images.append(max(others, key=image_row.__getitem__))
        for_texts.append(max(others, key=text_row.__getitem__))
    return for_texts, for_images


@pytest.mark.parametrize("seed", range(5))
def test_hard_negatives_are_the_most_similar_of_another_label(seed: int) -> None:
    """Never of the same label, and by products of projections that are not normalized."""
    torch.manual_seed(seed)
    image, text = 0.1 * torch.randn(12, 8), 0.1 * torch.randn(12, 8) * torch.arange(1, 13)[:, None] / 6
    labels = torch.randint(0, 4, (12,))
    image_index, text_index = hard_negatives(image, text, labels)
    assert (labels[image_index] != labels).all()
    assert (labels[text_index] != labels).all()
    assert (image_index.tolist(), text_index.tolist()) == negatives_by_hand(image, text, labels.tolist())


def test_projections_are_not_normalized_for_hard_negatives() -> None:
    """Text 2 has a smaller cosine with image 0 than text 1, but is longer."""
    image = torch.tensor([[0.1, 0.0], [0.0, 0.1], [0.0, 0.1]])
    text = torch.tensor([[0.1, 0.0], [0.1, 0.0], [0.3, 0.3]])
    assert hard_negatives(image, text, torch.tensor([0, 1, 2]))[1][0] == 2


def test_vanishing_probabilities_never_choose_a_negative_of_the_same_label() -> None:
    """Long projections drive the softmax of all other labels to exactly zero."""
    image = 20 * torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1, 1])
    for index in hard_negatives(image, image, labels):
        assert (labels[index] != labels).all()


def test_a_batch_of_one_label_falls_back_on_the_first() -> None:
    """There is no negative; index 0 is used, as published."""
    found = hard_negatives(torch.randn(3, 4), torch.randn(3, 4), torch.zeros(3, dtype=torch.int64))
    assert [index.tolist() for index in found] == [[0, 0, 0], [0, 0, 0]]


def test_hard_negatives_carry_no_gradient() -> None:
    """The choice is not differentiated."""
    image = torch.randn(4, 3, requires_grad=True)
    assert not any(index.requires_grad for index in hard_negatives(image, image, torch.arange(4)))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_losses_are_computed_in_single_precision(kind: torch.dtype) -> None:
    """Half-precision inputs give the same float32 result as their float32 values."""
    torch.manual_seed(0)
    image, text, labels = torch.randn(6, 8).to(kind), torch.randn(6, 8).to(kind), torch.tensor([0, 0, 1, 2, 2, 3])
    for loss in (itc_loss, id_loss):
        found = loss(image, text, labels)
        assert found.dtype == torch.float32
        assert torch.equal(found, loss(image.float(), text.float(), labels))
    assert torch.equal(itm_loss(image[:, :2]), itm_loss(image[:, :2].float()))
    assert itm_loss(image[:, :2]).dtype == torch.float32


def test_losses_have_finite_gradients() -> None:
    """Even with saturated logits, as at the end of training."""
    image = (F.one_hot(torch.arange(4), 8).float() * 3).requires_grad_()
    text = F.one_hot(torch.arange(4).flip(0), 8).float().requires_grad_()
    (itc_loss(image, text, torch.arange(4)) + id_loss(image * 50, text * 50, torch.arange(4))).backward()
    for value in (image, text):
        assert value.grad is not None
        assert value.grad.isfinite().all()


def test_sampled_negatives_are_of_another_label_and_follow_the_softmax() -> None:
    """Cosines of 1 and 0 at temperature 0.07 are drawn exp(1 / 0.07) to 1, however long the projections are."""
    image = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    text = 90 * image
    labels = torch.tensor([0, 0, 1, 2])
    torch.manual_seed(0)
    drawn = [hard_negatives(image, text, labels, choice="sampled") for _ in range(300)]
    for image_index, text_index in drawn:
        assert (labels[image_index] != labels).all()
        assert (labels[text_index] != labels).all()
    of_third = torch.stack([text_index[2] for _, text_index in drawn])
    assert (of_third == 3).float().mean() > 0.99  # cosines 0.8 and 0
    of_last = torch.stack([text_index[3] for _, text_index in drawn])
    expected = math.exp(0.8 / 0.07) / (math.exp(0.8 / 0.07) + 2 * math.exp(0.6 / 0.07))
    assert (of_last == 2).float().mean().item() == pytest.approx(expected, abs=0.05)


def test_sampled_negatives_of_one_label_fall_back_on_the_first() -> None:
    """Like the hardest negatives."""
    same = hard_negatives(torch.ones(3, 2), torch.ones(3, 2), torch.zeros(3, dtype=torch.int64), choice="sampled")
    assert [index.tolist() for index in same] == [[0, 0, 0], [0, 0, 0]]


def contrast_by_hand(first: Rows, second: Rows, positives: list[list[int]], others: list[list[int]]) -> list[float]:
    """For each row with positives: log of the sum of exp(20 cos) over `others`, minus the mean 20 cos of positives."""

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    return [
        math.log(sum(math.exp(20 * cosine(row, second[j])) for j in others[i]))
        - sum(20 * cosine(row, second[j]) for j in positives[i]) / len(positives[i])
        for i, row in enumerate(first)
        if positives[i]
    ]


VIEWS: Rows = [[1.0, 0.2, 0.1], [0.8, 0.4, 0.3], [0.9, 0.1, 0.5], [0.2, 0.9, 0.4]]


def test_image_image_contrasts_each_image_with_all_others_of_the_batch() -> None:
    """Images 0, 1 and 3 show one person; image 2 has no other of its person, and only serves as a negative."""
    others = [[j for j in range(4) if j != i] for i in range(4)]
    expected = contrast_by_hand(VIEWS, VIEWS, [[1, 3], [0, 3], [], [0, 1]], others)
    found = image_image_loss(torch.tensor(VIEWS), torch.tensor([5, 5, 2, 5]))
    assert float(found) == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_image_image_without_two_images_of_a_person_is_zero() -> None:
    """With a gradient of zero, not of NaN."""
    images = torch.tensor(VIEWS, requires_grad=True)
    loss = image_image_loss(images, torch.arange(4))
    loss.backward()
    assert float(loss.detach()) == 0
    assert images.grad is not None
    assert not images.grad.any()


def test_text_text_treats_wordings_of_equal_captions_as_positives() -> None:
    """Captions 1 and 2 are equal; both directions count alike."""
    second = [row[::-1] for row in VIEWS]
    positives, everything = [[0], [1, 2], [1, 2], [3]], [[0, 1, 2, 3]] * 4
    forth = contrast_by_hand(VIEWS, second, positives, everything)
    back = contrast_by_hand(second, VIEWS, positives, everything)
    found = text_text_loss(torch.tensor(VIEWS), torch.tensor(second), torch.tensor([3, 8, 8, 1]))
    assert float(found) == pytest.approx((sum(forth) + sum(back)) / 8, rel=1e-5)


def test_gradients_of_the_contrastive_losses() -> None:
    """Against finite differences."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(5, 4, generator=generator, requires_grad=True)
    second = torch.randn(5, 4, generator=generator)
    labels = torch.tensor([0, 1, 0, 1, 2])
    for loss in (lambda x: image_image_loss(x, labels), lambda x: text_text_loss(x, second, labels)):
        (gradient,) = torch.autograd.grad(loss(rows), rows)
        for i, j in ((0, 0), (3, 2), (4, 1)):
            step = torch.zeros_like(rows)
            step[i, j] = 1e-2
            with torch.no_grad():
                slope = (loss(rows + step) - loss(rows - step)) / 2e-2
            assert float(gradient[i, j]) == pytest.approx(float(slope), abs=2e-2, rel=2e-2)
