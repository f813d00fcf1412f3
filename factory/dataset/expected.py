"""What every sample of a dataset must consist of, by its plan and its label table."""

from pydantic import ValidationError

from factory.dataset.state import find_labels
from factory.errors import DamageError
from factory.manifest.paths import round_path
from factory.pack.contents import Expected
from factory.pack.packing import file_endings
from factory.plan.rounds import Plan
from factory.spec import EncodeSpec
from factory.store import Store


def find_expected(store: Store, plan: Plan) -> Expected:
    """The expected content of every sample of the dataset, for verification.

    Raises:
        StoreError: If its label table is missing or damaged.
    """
    try:
        encode = EncodeSpec.model_validate(plan.rounds[0].identity["encode"])
    except ValidationError as error:
        raise DamageError(
            f"{store.uri}/{round_path(0)}: its identity has an unknown encoding of samples; "
            "restore it, or choose another output.uri"
        ) from error
    meaning = find_labels(store)
    has_instances, is_edited = bool(meaning.instance_classes), "edit" in plan.rounds[0].identity
    endings = file_endings(encode, has_instances=has_instances, is_edited=is_edited)
    is_iou = plan.rounds[0].identity.get("segmenter", {}).get("confidence") == "agreement"
    return Expected(len(meaning.labels), endings, len(meaning.instance_classes), is_iou)
