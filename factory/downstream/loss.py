"""The loss: soft Dice and cross entropy, over the pixels that have a class."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from factory.data import IGNORE


def segmentation_loss(
    logits: Float[Tensor, "n k h w"],
    masks: Int64[Tensor, "n h w"],
    weights: Float[Tensor, " k"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of soft Dice over classes and cross entropy; 255 in a mask is left out of both.

    Dice is that of the whole batch (Milletari et al. 2016, "V-Net", section 3, with several classes):
    of classes that no image of the batch contains, only the false pixels count.
    """
    known = masks != IGNORE
    if not bool(known.any()):
        return logits.sum() * 0  # nothing to learn, and no division by 0
    entropy = functional.cross_entropy(logits, masks, weights, ignore_index=IGNORE)
    classes = functional.one_hot(masks.where(known, 0), logits.shape[1]).permute(0, 3, 1, 2)
    truth = classes * known[:, None]
    odds = logits.softmax(dim=1) * known[:, None]
    both = (odds * truth).sum(dim=(0, 2, 3))
    either = odds.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    return entropy + (1 - (2 * both + 1) / (either + 1)).mean()
