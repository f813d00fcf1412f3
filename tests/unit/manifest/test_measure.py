import numpy as np
import pytest

from factory.data import Sample
from factory.identity import counter_rng
from factory.manifest.measure import NUM_CELLS, difference_hashes, latent_cells, measure_samples

RNG = counter_rng("pixels", 5, 0)


def a_sample(image, mask=None, cell=-1):
    if mask is None:
        mask = np.zeros(image.shape[:2], np.uint8)
    return Sample(0, image, mask, -1, 0.5, (1,), latent_cell=cell)


def noise(side=64):
    return RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)


def smooth(side=64):
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    return np.stack([np.tile(ramp, (side, 1))] * 3, axis=-1)


@pytest.mark.parametrize("side", [32, 64, 200])
def test_noise_is_sharper_than_a_ramp_and_a_flat_image_is_not_sharp_at_all(side):
    flat = np.full((side, side, 3), 77, np.uint8)
    values = [
        m.sharpness
        for m in measure_samples([a_sample(i) for i in (flat, smooth(side), noise(side))])
    ]
    assert values[0] == 0
    assert values[0] < values[1] < 100
    assert values[2] > 1000


def test_the_laplacian_s_variance_is_that_of_the_formula():
    image = noise(24)
    wide = image.astype(int)
    gray = (77 * wide[..., 0] + 150 * wide[..., 1] + 29 * wide[..., 2]) // 256
    c = gray[1:-1, 1:-1]
    lap = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * c
    assert measure_samples([a_sample(image)])[0].sharpness == pytest.approx(lap.var(), abs=1e-3)


@pytest.mark.parametrize("turned", [False, True])
def test_rows_of_a_large_image_are_taken_from_all_of_it(turned):
    image = noise(300)
    image[:150] = 77  # half of it is flat: the variance over all rows is half of the noise's
    if turned:
        image = image[::-1]
    half = measure_samples([a_sample(image)])[0].sharpness
    whole = measure_samples([a_sample(noise(300))])[0].sharpness
    assert half / whole == pytest.approx(0.5, abs=0.05)


def test_a_speckled_mask_has_more_border_than_a_whole_one():
    whole = np.zeros((64, 64), np.uint8)
    whole[:32] = 1
    speckled = RNG.integers(0, 2, (64, 64), dtype=np.uint8)
    found = [m.border for m in measure_samples([a_sample(smooth(), m) for m in (whole, speckled)])]
    assert found[0] == pytest.approx(64 / (2 * 63 * 64), abs=1e-6)
    assert 0.45 < found[1] < 0.55


def test_look_alikes_share_most_bits_and_strangers_do_not():
    def bits(image):
        return int(measure_samples([a_sample(image)])[0].dhash, 16)

    coarse = np.kron(noise(16), np.ones((4, 4, 1), np.uint8))
    brighter = (coarse * 0.9 + 20).astype(np.uint8)
    assert (bits(coarse) ^ bits(brighter)).bit_count() <= 4
    assert (bits(coarse) ^ bits(noise())).bit_count() > 12


def test_images_of_any_size_hash_alike():
    small = np.kron(noise(8), np.ones((9, 9, 1), np.uint8))
    large = np.kron(small, np.ones((3, 3, 1), np.uint8))
    a, b = (measure_samples([a_sample(image)])[0].dhash for image in (small, large))
    assert a == b


def test_images_too_small_to_hash_are_no_error():
    tiny = measure_samples([a_sample(noise(4))])[0]
    assert tiny.dhash == "0" * 16
    assert measure_samples([a_sample(noise(1))])[0].sharpness == 0
    assert difference_hashes(np.zeros((2, 3, 3), np.int16)).tolist() == [0, 0]


def test_neighbours_in_a_batch_change_no_measure():
    samples = [a_sample(noise(), RNG.integers(0, 4, (64, 64), dtype=np.uint8), i) for i in range(5)]
    assert measure_samples(samples) == [measure_samples([sample])[0] for sample in samples]
    assert [m.latent_cell for m in measure_samples(samples)] == list(range(5))
    assert measure_samples([]) == []


def test_cells_are_visited_evenly_by_fair_latents_and_do_not_depend_on_the_batch():
    z = RNG.standard_normal((20_000, 64)).astype(np.float32)
    cells = latent_cells(z)
    counts = np.bincount(cells, minlength=NUM_CELLS)
    assert len(counts) == NUM_CELLS
    assert counts.min() > 40  # 78 each, a deviation of 9
    assert counts.max() < 120
    assert latent_cells(z[7:8])[0] == cells[7]
    assert latent_cells(-z[:50]).tolist() == [NUM_CELLS - 1 - cell for cell in cells[:50]]
