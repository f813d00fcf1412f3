"""Index files for NVIDIA DALI's webdataset reader, which otherwise reads each tar once to make them."""

from pathlib import Path

from factory.dataset.walk import open_shard
from factory.export.examples import Exported, write_lines


def export_dali(source: Exported, folder: Path) -> int:
    """Write `SPLIT/SHARD.idx` for each tar: a line per sample with place and size of its files.

    Samples that nearly repeat a training sample are in no line, so that DALI does not read them.

    Returns:
        The number of samples.

    Raises:
        DamageError: If a shard is missing or damaged.
        OSError: If the folder cannot be written.
    """
    count = 0
    for split in source.splits:
        for record in source.manifest.records_of(split):
            left_out = source.left_out.of(record)
            lines = []
            with open_shard(source.store, record, left_out=left_out) as shard:
                samples = shard.places()
            for key, members in samples.items():
                fields = [
                    f"{ending} {member.offset} {member.size_bytes} {key}.{ending}"
                    for ending, member in members.items()
                ]
                lines.append(" ".join(fields))
            name = Path(record.path).stem
            write_lines(folder, f"{split}/{name}.idx", [f"v1.2 {len(lines)}", *lines])
            count += len(lines)
    return count
