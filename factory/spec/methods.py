"""The table of segmenting methods: everything that the package knows of a method by its name.

A method is one entry here, its settings (`spec/`), its segmenter (`segment/`) and, if it is fitted, its
fitter (`fit/`). Whatever else needs to know something of methods reads this table. Targets are
`module:attribute` and are imported when they are asked for, so that planning loads neither torch nor
Ray. A plugin offers an entry of its own; see "How to add a method" in `factory/ARCHITECTURE.md`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One segmenting method. Names of settings are those of its settings class."""

    segmenter: str
    """What makes the masks; called as `segment.base.load_segmenter` says."""
    settings: str = ""
    """Its settings class. Only a plugin can do without: its segmenter is then given the job's
    section as it is."""
    fitter: str = ""
    """What fits it, called with the settings and a `fit.context.FitContext`; gives the bytes of a
    segmenter file. Empty = there is nothing to fit."""
    fitted_if: str = ""
    """A setting without which there is nothing to fit either. Empty = it is always fitted."""
    after_fit: tuple[str, ...] = ()
    """Settings that say what is done with a fit: changing them does not need another one."""
    fitted_file: str = ""
    """The setting that names a file which is fitted already. All settings but those of `after_fit`
    are fixed by that file: they cannot stand beside it, and are not part of a dataset's id."""
    finish: str = ""
    """Makes the file that the segmenter reads from the fitted one, by the settings of `after_fit`;
    called with the fitted bytes, the settings and `source`, their name in errors. Empty = the fitted
    file is that file."""
    doubts: str = ""
    """Finds which classes are of little use; called with the fitted bytes and the settings, and gives
    a line for each. Empty = nothing is looked for."""
    report: str = ""
    """Draws what a fit found, for `factory fit --report`; called with the dataset, the settings, the
    generator's weights, the fitted bytes and the device, and gives files by name. Empty = only merge
    trees have a report."""
    cost: str = ""
    """A `fit.cost.FitCost`: what a fit will cost. Empty = unknown: `factory plan`
    says so, and the fit is never spread over workers."""
    files: tuple[str, ...] = ()
    """Settings that name files or folders (a path, or a list of them) which the fit reads: their
    content is part of a dataset's id, and where they lie is not."""
    inlined: tuple[str, ...] = ()
    """Settings for which a job file may name a YAML file: its content takes their place. A plugin has
    none, because job files are read without importing it."""
    needs: tuple[str, ...] = ()
    """Facts (`GeneratorFacts`) that a generator must have for the method to work on it."""
    has_tree: bool = False
    """Whether the fitted file holds a merge tree, which a person can cut and name. The method then
    has the settings `cut` and `labels`."""
    can_teach: bool = True
    """Whether `distil` can imitate it."""
    not_taught: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Settings that a teacher must leave out, with the reason."""

    def __post_init__(self) -> None:
        """Refuse an entry that contradicts itself.

        Raises:
            ValueError: If it does; the text is for the author of the entry.
        """
        for_a_fit = (
            "fitted_if",
            "after_fit",
            "fitted_file",
            "finish",
            "doubts",
            "cost",
            "files",
            "report",
        )
        useless = [name for name in for_a_fit if getattr(self, name)]
        if useless and not self.fitter:
            raise ValueError(f"a method without a fitter has no use for {useless[0]}")
        if self.has_tree and not self.fitted_file:
            raise ValueError("a method with a merge tree needs a setting for a fitted_file")

    def fit_settings(self, names: Iterable[str]) -> set[str]:
        """Those of the settings `names` that decide what a fit gives."""
        return set(names) - {"kind", "clean", "confidence", self.fitted_file, *self.after_fit}

    def named_settings(self) -> set[str]:
        """Every setting that this entry names: its settings class must have them."""
        single = {self.fitted_if, self.fitted_file} - {""}
        return single.union(self.after_fit, self.files, self.inlined, self.not_taught)


NEEDS: Mapping[str, str] = {
    "layers": "feature maps",
    "styles": "style per layer to mix",
    "spaces": "latents that can be moved",
    "has_backgrounds": "stage of 4x4 pixels that can be silenced, as StyleGAN and StyleGAN2 have",
}
"""What a generator has, by the fact that a method needs (`Method.needs`)."""

_LINEAR_HEAD = "factory.segment.linear_head:LinearHead"

METHODS: Mapping[str, Method] = {
    "kmeans": Method(
        settings="factory.spec.kmeans:KMeansSpec",
        segmenter=_LINEAR_HEAD,
        fitter="factory.fit.kmeans:fit_kmeans",
        cost="factory.fit.kmeans:COST",
        needs=("layers",),
    ),
    "klish": Method(
        settings="factory.spec.klish:KlishSpec",
        segmenter="factory.segment.tree.head:TreeHead",
        fitter="factory.fit.klish:fit_klish",
        cost="factory.fit.klish:COST",
        after_fit=("cut", "labels", "ignore_unclaimed"),
        fitted_file="fitted",
        finish="factory.segment.tree.cut:cut_tree",
        doubts="factory.segment.tree.doubts:find_doubts",
        inlined=("labels",),
        needs=("layers",),
        has_tree=True,
    ),
    "linear": Method(
        settings="factory.spec.linear:LinearSpec",
        segmenter=_LINEAR_HEAD,
        fitter="factory.fit.linear:fit_linear",
        cost="factory.fit.linear:COST",
        files=("annotations", "extractor"),
        needs=("layers",),
    ),
    "style_mixing": Method(
        settings="factory.spec.style_mixing:StyleMixingSpec",
        segmenter="factory.segment.style_mixing.segmenter:StyleMixing",
        fitter="factory.fit.prototypes:fit_prototypes",
        fitted_if="classes",
        cost="factory.fit.prototypes:COST",
        needs=("styles",),
        not_taught={"instances": "a linear head tells no objects apart"},
    ),
    "direction": Method(
        settings="factory.spec.direction:DirectionSpec",
        segmenter="factory.segment.direction.segmenter:DirectionMasks",
        fitter="factory.fit.direction.fit:fit_direction",
        cost="factory.fit.direction.fit:COST",
        after_fit=(
            *("epsilon", "foreground_share", "min_part", "two_modes", "min_roundness"),
            "min_overlap",
        ),
        doubts="factory.segment.direction.segmenter:find_doubts",
        report="factory.fit.direction.report:draw_report",
        files=("light", "dark"),
        needs=("spaces",),
    ),
    "alpha": Method(
        settings="factory.spec.alpha:AlphaSpec",
        segmenter="factory.segment.alpha.segmenter:AlphaSegmenter",
        fitter="factory.fit.alpha.fit:fit_alpha",
        cost="factory.fit.alpha.fit:COST",
        after_fit=("threshold", "weights"),
        doubts="factory.segment.alpha.segmenter:find_doubts",
        files=("images", "network"),
        needs=("layers", "has_backgrounds"),
    ),
    "distil": Method(
        settings="factory.spec.distil:DistilSpec",
        segmenter=_LINEAR_HEAD,
        fitter="factory.fit.distil:fit_distil",
        cost="factory.fit.distil:COST",
        needs=("layers",),
        can_teach=False,
    ),
}
"""Our own methods, by the `kind` that a job names."""
