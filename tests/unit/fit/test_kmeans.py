import pytest
import torch
from fit_context import context_of, make_context
from small_job import small_job

from factory.errors import JobError
from factory.fit.fitted import find_fitted, fit_key, fit_segmenter
from factory.fit.kmeans import choose_pixels, cluster, nearest
from factory.generate.weights.find import LocalWeights
from factory.segment.segmenter_file import read_segmenter, weight_name
from factory.store.cache import cache_folder

CPU = torch.device("cpu")


def blobs(count=200, spread=0.05):
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 5, 0], [0, 0, 6], [3, 3, 3]])
    ids = torch.arange(count) % len(centres)
    return centres[ids] + torch.randn(count, 3) * spread, ids, centres


@pytest.mark.parametrize("seed", range(4))
def test_well_separated_clusters_are_found(tmp_path, seed):
    vectors, ids, _ = blobs()
    centres, inertia = cluster(context_of(tmp_path, vectors), 5, seed)
    found, _ = nearest(vectors, centres)
    pairs = {(int(a), int(b)) for a, b in zip(ids, found, strict=True)}
    assert len(pairs) == 5
    assert inertia < 3 * 0.05**2 * 1.2


def test_centres_are_the_means_of_their_clusters(tmp_path):
    torch.manual_seed(3)
    vectors = torch.randn(400, 4)
    centres, inertia = cluster(context_of(tmp_path, vectors), 6, 0)
    ids, _ = nearest(vectors, centres)
    means = torch.stack([vectors[ids == i].mean(dim=0) for i in range(6)])
    assert (means - centres).abs().max() < 1e-3
    assert inertia == pytest.approx(float((vectors - means[ids]).square().sum(1).mean()), rel=1e-3)


def test_nearest_is_the_nearest_by_distance_and_the_lead_is_half_the_difference_of_squares():
    torch.manual_seed(4)
    vectors, centres = torch.randn(50, 3), torch.randn(4, 3)
    ids, lead = nearest(vectors, centres)
    squares = torch.cdist(vectors, centres).square().sort(dim=1)
    assert torch.equal(ids, squares.indices[:, 0])
    assert (lead - (squares.values[:, 1] - squares.values[:, 0]) / 2).abs().max() < 1e-4


def test_too_few_distinct_vectors_are_told_with_what_to_do(tmp_path):
    vectors = torch.tensor([[0.0], [1.0], [2.0]]).repeat(10, 1)
    assert cluster(context_of(tmp_path, vectors), 3, 0)[1] == 0
    with pytest.raises(JobError) as caught:
        cluster(context_of(tmp_path, vectors), 4, 0)
    assert str(caught.value) == (
        "dataset.segmenter.num_clusters: found 4, but the fitting pixels hold only 3 distinct "
        "vectors; ask for fewer clusters or fit on more images"
    )


def fit(tmp_path, overrides=None):
    dataset = small_job(tmp_path, overrides).dataset
    told = []
    data = fit_segmenter(
        dataset, LocalWeights(None, ""), device=CPU, on_progress=lambda *now: told.append(now)
    )
    return data, told


def test_the_same_job_gives_the_same_file_and_another_seed_another(tmp_path):
    first, told = fit(tmp_path)
    assert fit(tmp_path)[0] == first
    assert fit(tmp_path, {"dataset.segmenter.fit.seed": 1})[0] != first
    assert told[0][:3] == ("sampling", 0, 8)
    assert told[-1][:3] == ("clusters", 500, 500)


def test_a_fit_is_found_again_by_what_decides_it(tmp_path):
    overrides = {"dataset.segmenter.fit.seed": 77}
    dataset = small_job(tmp_path, overrides).dataset
    assert find_fitted(dataset, "") is None
    data, _ = fit(tmp_path, overrides)
    assert find_fitted(dataset, "") == data
    assert find_fitted(dataset, "other weights") is None
    grown = small_job(tmp_path, overrides | {"dataset.num_samples": 999}).dataset
    assert find_fitted(grown, "") == data


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("dataset.batch_size", 5),
        ("dataset.latents", {"truncation_psi": 0.5}),
        ("dataset.generator.precision", "float16"),
        ("dataset.segmenter.num_clusters", 5),
        ("dataset.segmenter.fit.pixels_per_image", 65),
    ],
)
def test_what_changes_a_fit_changes_its_key(tmp_path, setting, value):
    base = fit_key(small_job(tmp_path).dataset, "w")
    assert fit_key(small_job(tmp_path, {setting: value}).dataset, "w") != base


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("segmenters") == tmp_path / "maskfactory" / "segmenters"


def test_a_cache_that_cannot_be_written_does_not_cost_the_fit(monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert fit(tmp_path)[0]


def test_clusters_are_numbered_by_size_and_the_bias_is_half_the_square(tmp_path):
    data, _ = fit(tmp_path)
    path = tmp_path / "fit"
    path.write_bytes(data)
    tensors, facts = read_segmenter(path)
    spec = small_job(tmp_path).dataset
    context = make_context(tmp_path, spec)
    sampling = choose_pixels(spec.segmenter, context.pool.facts)
    context.sample(sampling, "")
    vectors = torch.cat(context.pool.query("spread", 10**9))
    centres = torch.cat([tensors[weight_name(layer)] for layer in sampling.layers], dim=1)
    assert (tensors["bias"] + centres.square().sum(dim=1) / 2).abs().max() < 1e-5
    ids, margins = nearest(vectors, centres)
    sizes = torch.bincount(ids, minlength=4).tolist()
    assert sizes == sorted(sizes, reverse=True)
    assert facts.margin_scale == pytest.approx(float(margins.median()), rel=1e-3)
    assert facts.fitted_on["num_pixels"] == len(vectors) == 8 * 64
    assert facts.fitted_on["explained"] > 0.8
