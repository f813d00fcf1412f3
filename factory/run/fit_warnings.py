"""What a plan says of a fit that is long, or whose time is unknown."""

from factory.spec import FitSpec, JobSpec

LONG_FIT_S = 1800.0
"""A fit that takes longer is worth a thought before it begins."""


def find_fit_warnings(spec: JobSpec, fit_s: float | None) -> list[str]:
    """One line if the fit takes `fit_s` seconds and that is long, or if it is None: unknown."""
    method = spec.dataset.segmenter
    if fit_s is None:
        told = f"segmenter {method.kind!r} does not say what its fit takes"
        return [f"time left is without the fit: {told}"]
    if fit_s < LONG_FIT_S:
        return []
    data = getattr(method, "fit", None)
    fewer = (
        f"fewer images make it shorter (dataset.segmenter.fit.num_images: {data.num_images:,}); "
        if isinstance(data, FitSpec)
        else ""
    )
    return [
        f"the fit alone takes about {fit_s / 60:,.0f} minutes here: {fewer}it can be stopped and "
        "resumed, and is made once: `factory fit JOB`"
    ]
