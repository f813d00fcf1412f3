from small_job import small_job

from factory.run.fit_warnings import LONG_FIT_S, find_fit_warnings


def test_a_long_fit_is_told_with_what_makes_it_shorter(tmp_path):
    spec = small_job(tmp_path)
    assert find_fit_warnings(spec, LONG_FIT_S - 1) == []
    (told,) = find_fit_warnings(spec, 7200.0)
    assert told.startswith(
        "the fit alone takes about 120 minutes here: fewer images make it shorter"
    )
    assert "(dataset.segmenter.fit.num_images: 8)" in told
    assert "`factory fit JOB`" in told


def test_a_method_without_images_to_fit_on_is_not_told_to_take_fewer(tmp_path):
    spec = small_job(tmp_path, {"dataset.segmenter": {"kind": "direction"}})
    (told,) = find_fit_warnings(spec, 7200.0)
    assert "images" not in told
    (unknown,) = find_fit_warnings(spec, None)
    assert (
        unknown
        == "time left is without the fit: segmenter 'direction' does not say what its fit takes"
    )
