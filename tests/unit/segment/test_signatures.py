import torch

from factory.segment.style_mixing.signatures import nearest_prototypes, signatures


def test_a_cluster_is_the_mean_of_its_pixels_features_layer_by_layer():
    ids = torch.tensor([[0, 0], [1, 1]])
    fine = torch.tensor([[[1.0, 3.0], [10.0, 20.0]], [[0.0, 2.0], [4.0, 4.0]]])
    coarse = torch.tensor([[[7.0]]])
    found = signatures(ids, 2, {"fine": fine, "coarse": coarse})
    assert found.tolist() == [[2.0, 1.0, 7.0], [15.0, 4.0, 7.0]]


def test_a_coarse_feature_counts_by_the_share_that_the_cluster_covers():
    ids = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1]])
    maps = torch.tensor([[[8.0, 2.0]]])
    found = signatures(ids, 2, {"coarse": maps})
    torch.testing.assert_close(found, torch.tensor([[8.0], [(8.0 * 0.5 + 2.0) / 1.5]]))


def test_features_finer_than_the_mask_are_averaged_under_each_pixel():
    ids = torch.tensor([[0, 1]])
    maps = torch.tensor([[[1.0, 3.0, 5.0, 7.0]]])
    assert signatures(ids, 2, {"fine": maps}).tolist() == [[2.0], [6.0]]


def test_a_cluster_without_pixels_has_zeros():
    assert signatures(torch.zeros(2, 2, dtype=torch.int64), 3, {"a": torch.ones(1, 2, 2)})[
        1:
    ].tolist() == [[0.0], [0.0]]


def test_the_nearest_prototype_is_that_of_least_distance_and_of_equals_the_first():
    torch.manual_seed(0)
    found, prototypes = torch.randn(50, 4), torch.randn(7, 4) * 3
    expected = torch.cdist(found.double(), prototypes.double()).argmin(dim=1)
    assert nearest_prototypes(found, prototypes).tolist() == expected.tolist()
    same = torch.ones(2, 4)
    assert nearest_prototypes(torch.ones(1, 4), same).tolist() == [0]
