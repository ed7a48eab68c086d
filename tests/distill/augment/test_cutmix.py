"""CutMix: boxes, partners and ratio, the distribution of λ, devices."""

import math

import pytest
import scipy.stats
import torch
from torch import Tensor

from distill.augment.cutmix import cutmix, cutmix_boxes, draw_cutmix, mix, paste, symmetric_beta
from distill.errors import UserError
from tests.distill.augment.batches import BELOW_ONE, generator, images


def constant_images(n: int, h: int, w: int) -> Tensor:
    """Returns images of two channels in which all values of image i are i."""
    return torch.arange(n, dtype=torch.float64)[:, None, None, None].expand(n, 2, h, w).clone()


@pytest.mark.parametrize("size", [(8, 8), (5, 12)])
def test_pixels_come_from_the_image_or_its_partner(size: tuple[int, int]) -> None:
    n, (h, w) = 6, size
    batch, labels = constant_images(n, h, w), torch.arange(n) * 10
    kept = batch.clone()
    boxes = set()
    for seed in range(60):
        mixed, partner_labels, ratio = cutmix(batch, labels, generator(seed))
        partners = partner_labels // 10
        assert sorted(partners.tolist()) == list(range(n))
        moved = partners != torch.arange(n)
        assert moved.any()
        box = (mixed[moved] != batch[moved])[0, 0]
        rows, columns = box.any(dim=1).nonzero().flatten(), box.any(dim=0).nonzero().flatten()
        assert box.sum() == len(rows) * len(columns)  # a full rectangle
        if len(rows):
            assert len(rows) == rows[-1] - rows[0] + 1
            assert len(columns) == columns[-1] - columns[0] + 1
        expected = torch.where(box, batch[partners], batch)
        assert torch.equal(mixed, expected)
        assert ratio.item() == pytest.approx(1 - box.sum().item() / (h * w), abs=1e-15)
        boxes.add(tuple(box.flatten().tolist()))
    assert len(boxes) > 20
    assert torch.equal(batch, kept)


def test_boxes_of_several_batches_are_those_of_each() -> None:
    batch, labels = images(5, 3, 7, 10), torch.arange(5)
    draws = [draw_cutmix(5, generator(seed), beta=1.0) for seed in range(8)]
    sides, centers, partners = (list(part) for part in zip(*draws, strict=True))
    rows, columns, ratios = cutmix_boxes(torch.stack(sides), torch.stack(centers), batch)

    for i, draw in enumerate(draws):
        expected, expected_labels, ratio = mix(batch, labels, *draw)
        found, found_labels = paste(batch, labels, rows[[i]], columns[[i]], partners[i])
        assert torch.equal(found, expected)
        assert torch.equal(found_labels, expected_labels)
        assert ratios[i] == ratio


def test_an_empty_box_leaves_images_and_loss_as_they_are() -> None:
    """Recorded steps without CutMix have one."""
    batch, nowhere = images(5, 3, 7, 10), torch.zeros(3, dtype=torch.float64)
    mixed, _, ratio = mix(batch, torch.arange(5), nowhere[0], nowhere[1:], torch.arange(5).flip(0))

    assert torch.equal(mixed, batch)
    assert ratio == 1


def test_box_by_hand() -> None:
    # The first four numbers of the seed give λ and the centre.
    batch = constant_images(2, 10, 6)
    for seed in range(20):
        u = torch.rand(4, dtype=torch.float64, generator=generator(seed))
        share = float(symmetric_beta(u[0], u[1], 1.0))
        half_height = int(10 * math.sqrt(1 - share)) // 2
        half_width = int(6 * math.sqrt(1 - share)) // 2
        cy, cx = int(u[2] * 10), int(u[3] * 6)
        area = (min(cy + half_height, 10) - max(cy - half_height, 0)) * (
            min(cx + half_width, 6) - max(cx - half_width, 0)
        )
        _, _, ratio = cutmix(batch, torch.arange(2), generator(seed))
        assert ratio.item() == pytest.approx(1 - area / 60, abs=1e-15)


def test_dtypes_gradients_and_determinism() -> None:
    batch, labels = images(4, 3, 8, 8).requires_grad_(), torch.tensor([3, 1, 2, 0])
    before = torch.random.get_rng_state()
    double = cutmix(batch, labels, generator(5))
    single = cutmix(batch.float(), labels, generator(5))
    assert torch.equal(before, torch.random.get_rng_state())
    assert single[0].dtype == single[2].dtype == torch.float32
    assert double[2].dtype == torch.float64
    assert double[1].dtype == torch.int64
    assert torch.equal(single[0], double[0].float())
    assert torch.equal(single[1], double[1])
    assert torch.autograd.gradcheck(lambda x: cutmix(x, labels, generator(5))[0], batch)


@pytest.mark.parametrize("beta", [0.3, 0.5, 1.0, 2.5, 40.0])
def test_symmetric_beta_has_the_beta_distribution(beta: float) -> None:
    numbers = torch.rand(2, 50_000, dtype=torch.float64, generator=generator(17))
    drawn = symmetric_beta(numbers[0], numbers[1], beta).numpy()
    assert scipy.stats.kstest(drawn, scipy.stats.beta(beta, beta).cdf).pvalue > 1e-4


@pytest.mark.parametrize("beta", [1e-3, 1.0, 1e6])
def test_symmetric_beta_stays_in_range_at_the_limits(beta: float) -> None:
    ends = torch.tensor([0.0, 1e-300, 0.25, 0.5, 0.75, BELOW_ONE], dtype=torch.float64)
    drawn = symmetric_beta(ends[:, None], ends, beta)
    assert bool(((drawn >= 0) & (drawn <= 1)).all())
    assert symmetric_beta(ends[0], ends[0], beta) == 1
    assert symmetric_beta(ends[0], ends[3], beta) == 0


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan])
def test_beta_must_be_positive(beta: float) -> None:
    with pytest.raises(UserError, match="CutMix beta must be above 0, got"):
        cutmix(images(2, 1, 4, 4), torch.arange(2), generator(), beta=beta)


def test_cpu_generator_with_images_on_another_device() -> None:
    # Reading a value from a tensor on the meta device is an error.
    batch = torch.empty(4, 3, 8, 8, device="meta")
    labels = torch.empty(4, dtype=torch.int64, device="meta")
    results = cutmix(batch, labels, generator())
    assert [result.device.type for result in results] == ["meta"] * 3
    assert [result.shape for result in results] == [batch.shape, labels.shape, ()]


@pytest.mark.gpu
def test_cpu_generator_gives_equal_images_on_cpu_and_gpu() -> None:
    batch = images(4, 3, 8, 8)
    for seed in range(4):
        expected = cutmix(batch, torch.arange(4), generator(seed))
        results = cutmix(batch.cuda(), torch.arange(4).cuda(), generator(seed))
        for on_gpu, on_cpu in zip(results, expected, strict=True):
            assert on_gpu.device.type == "cuda"
            assert torch.equal(on_gpu.cpu(), on_cpu)


@pytest.mark.gpu
def test_gpu_generator_needs_no_synchronisation() -> None:
    batch, labels = images(4, 3, 8, 8).cuda(), torch.arange(4).cuda()
    source = torch.Generator(device="cuda").manual_seed(0)
    cutmix(batch, labels, source)
    torch.cuda.set_sync_debug_mode("error")
    try:
        cutmix(batch, labels, source)
    finally:
        torch.cuda.set_sync_debug_mode("default")
