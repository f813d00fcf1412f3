"""The settings of splits: which part of a dataset is for training, and which is held out."""

from fractions import Fraction as Exact

from pydantic import Field, model_validator

from factory.spec.settings import Fraction, IdentityFields, Settings


class SplitsSpec(Settings):
    """Shares of the splits, which add up to 1. A whole shard is in one split, by its number alone."""

    identity_fields = IdentityFields(("train", "val", "test"))

    train: float = Field(gt=0, le=1)
    """Share of the samples that networks are trained on."""
    val: Fraction = 0.0
    """Share that a training is judged by while it runs, such as to stop it early."""
    test: Fraction = 0.0
    """Share that is scored once, at the end."""

    @model_validator(mode="after")
    def _add_up(self) -> "SplitsSpec":
        total = sum((Exact(str(share)) for share in (self.train, self.val, self.test)), Exact())
        if abs(total - 1) > Exact(1, 10**6):
            raise ValueError(f"the shares add up to {float(total):g}; they must add up to 1")
        return self
