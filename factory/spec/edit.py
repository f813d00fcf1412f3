"""The settings of edits: what is changed in the masks of samples, and how latents are moved there."""

from typing import Literal

from pydantic import Field, model_validator

from factory.spec.settings import ClassKey, IdentityFields, InputPath, Settings

_OF_RULE = ("of", "to", "by_px")


class EditSpec(Settings):
    """Pairs before and after an edit of the mask: semantic image editing (Xu and Zheng 2021)."""

    identity_fields = IdentityFields(
        ("change", *_OF_RULE, "steps", "latents", "learning_rate", "stay", "prior"),
        left_out=("masks", "dataset"),
    )

    change: Literal["grow", "shrink", "shift", "relabel"] | None = None
    """What happens to the pixels of class `of`: `grow` = the class spreads by `by_px` pixels; `shrink` =
    it loses as much; `shift` = it moves by `by_px` pixels, in one of eight directions that the sample's
    index decides; `relabel` = it becomes class `to`. Samples in which that changes nothing are
    rejected."""
    of: ClassKey | None = None
    """The class that changes, by name or mask value."""
    to: ClassKey | None = None
    """The class that takes its place. Empty = for `shrink` and `shift`, the nearest other class."""
    by_px: int = Field(3, ge=1, le=1024)
    """Pixels by which it grows, shrinks or is shifted."""
    masks: InputPath | None = None
    """Folder of edited masks, used instead of `change`: files of any tool, as for painted pictures,
    named by the keys (or numbers) of samples of `dataset`; what is 255 or not painted stays. Its path is
    relative to the job's file. Each mask gives one pair."""
    dataset: InputPath | None = None
    """Address of the dataset whose samples `masks` edits. Generator, latents and segmenter must be the
    same as here."""
    steps: int = Field(50, ge=1, le=10_000)
    """Steps of Adam. Each takes as long as three images."""
    latents: Literal["per_layer", "shared"] = "per_layer"
    """`per_layer` = one latent for each style row; `shared` = one for all layers, which changes more of
    the image. A generator without style rows has one in any case."""
    learning_rate: float = Field(0.01, gt=0, le=10)
    """Learning rate of Adam."""
    stay: float = Field(1e-3, ge=0, le=1e3)
    """Weight of the squared distance from the sample's own latents in the loss."""
    prior: float = Field(1e-3, ge=0, le=1e3)
    """Weight of the squared length of the latents in the loss."""

    @model_validator(mode="after")
    def _fits_together(self) -> "EditSpec":
        if (self.change is None) == (self.masks is None):
            raise ValueError("needs `change`, a rule, or `masks`, a folder of masks, and not both")
        if (self.masks is None) != (self.dataset is None):
            raise ValueError("`masks` and `dataset` belong together: name both or none")
        if self.masks is not None:
            beside = [name for name in _OF_RULE if name in self.model_fields_set]
            if beside:
                raise ValueError(f"`{beside[0]}` is about `change`; leave it out beside `masks`")
            return self
        self._check_rule()
        return self

    def _check_rule(self) -> None:
        if self.of is None:
            raise ValueError(f"`change: {self.change}` needs `of`, the class that changes")
        if self.change == "relabel" and self.to is None:
            raise ValueError("`change: relabel` needs `to`, the class that `of` becomes")
        if self.change == "grow" and self.to is not None:
            raise ValueError(
                "`to` takes the place of what is lost, and `change: grow` loses nothing"
            )
        if self.change == "relabel" and "by_px" in self.model_fields_set:
            raise ValueError("`by_px` is about other changes; leave it out with `change: relabel`")
        if self.to is not None and self.to == self.of:
            raise ValueError(f"`to` and `of` are both {self.of!r}; name two classes")

    def check_beside(
        self, *, others: list[str], has_instances: bool, has_targets: bool, oversample: float
    ) -> None:
        """Require that the rest of the dataset's settings goes with edits.

        Raises:
            ValueError: If it does not.
        """
        if others:
            raise ValueError(
                f"`edit` changes samples as they are drawn, and `{others[0]}` makes others of "
                "them; leave one of them out"
            )
        if has_instances:
            raise ValueError(
                "`edit` is about classes of pixels, and `segmenter.instances` separates objects; leave "
                "one of them out"
            )
        if self.masks is not None and oversample != 1:
            raise ValueError(
                f"`oversample` is {oversample:g}, but each of `edit.masks` gives one pair; use 1"
            )
        if self.masks is not None and has_targets:
            raise ValueError(
                "`coverage` asks for more samples than `edit.masks` has; leave one of them out"
            )
