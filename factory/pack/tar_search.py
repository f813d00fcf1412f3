"""Find one sample in a tar by its key, reading a few windows of the tar instead of all of it.

Keys ascend in a tar of ours, so it can be searched like a dictionary: look somewhere, see which sample
begins next, and go on before or behind it. No index is kept or trusted.
"""

from collections.abc import Callable

from factory.pack.tar import Member, parse_header

ReadAt = Callable[[int, int], bytes]
"""Reads (offset, count) of a tar: fewer bytes only where the tar ends."""

_BLOCK = 512
_MAGIC, _MAGIC_PLACE = b"ustar\x00", 257
_SMALLEST_WINDOW, _LARGEST_WINDOW = 2**14, 2**23
_MOST_FILES = 8
"""Of a sample; ours have at most five."""
_INTERPOLATIONS = 4
"""Guesses from the keys alone; of later ones every second halves the rest, which surely ends."""


class TarSearch:
    """Looks for samples in one tar."""

    def __init__(
        self, read_at: ReadAt, size_bytes: int, first_index: int, num_indices: int, num_samples: int
    ) -> None:
        """Read nothing yet.

        Args:
            read_at: Reads a piece of the tar.
            size_bytes: The size of the tar.
            first_index: Index of the first sample that can be in it.
            num_indices: How many indices can be.
            num_samples: How many samples are.
        """
        self._read_at = read_at
        self._size_bytes = size_bytes
        self._first_index, self._num_indices = first_index, num_indices
        # A window that holds the sample before and the one that is looked for needs no second read.
        mean = size_bytes // max(1, num_samples)
        self._window = max(_SMALLEST_WINDOW, min(2 * mean, _LARGEST_WINDOW))
        self._place, self._held = 0, b""

    def find(self, index: int) -> list[tuple[str, bytes]]:
        """Find the first sample whose index is not below `index`.

        Returns:
            Its files in order, as (name, bytes); empty if there is no such sample.

        Raises:
            ValueError: If the tar ends early, or is damaged where it was read.
        """
        found = self._find_start(index)
        files: list[tuple[str, bytes]] = []
        while (member := self._header_at(found)) is not None:
            if files and not files[0][0].startswith(f"{member.key}."):
                break  # the next sample
            if len(files) == _MOST_FILES:
                raise ValueError(f"sample {member.key} has more than {_MOST_FILES} files")
            files.append((member.name, self._read(member.offset, member.size_bytes)))
            found = member.end
        return files

    def _find_start(self, index: int) -> int:
        """Where the sample's first header begins: `low` <= it, and no header from `limit` on is it."""
        low, low_index = 0, self._first_index
        limit, limit_index = self._size_bytes, self._first_index + self._num_indices
        num_guesses = 0
        while True:
            num_guesses += 1
            is_halved = num_guesses > _INTERPOLATIONS and num_guesses % 2 == 0
            share = 0.5 if is_halved else (index - low_index) / max(1, limit_index - low_index)
            guess = low + int(share * (limit - low)) - self._window // 2
            place = max(low, min(guess, limit - _BLOCK) // _BLOCK * _BLOCK)
            member = self._header_at(low) if place == low else self._next_header(place, limit)
            if member is not None and _index_of(member) < index:
                low = self._walk(member, index)
                low_member = self._header_at(low)
                if low_member is None or _index_of(low_member) >= index:
                    return low
                low_index = _index_of(low_member)
            elif place == low:
                return low
            else:
                limit = place
                limit_index = limit_index if member is None else _index_of(member)

    def _walk(self, member: Member, index: int) -> int:
        """Where the next header begins after `member`, or after those that follow in the window."""
        while member.end + _BLOCK <= self._place + len(self._held):
            following = self._header_at(member.end)
            if following is None or _index_of(following) >= index:
                break
            member = following
        return member.end

    def _header_at(self, place: int) -> Member | None:
        block = self._read(place, _BLOCK)
        if not any(block):
            return None  # the end of the archive
        member = parse_header(block, place)
        if member.end > self._size_bytes:
            there = max(0, self._size_bytes - member.offset)
            raise ValueError(f"{member.name} ends after {there} of {member.size_bytes} bytes")
        return member

    def _next_header(self, place: int, limit: int) -> Member | None:
        """The first member whose header begins at `place` or after it, before `limit`."""
        while place < limit:
            piece = self._read(place, min(self._window, limit - place))
            hit = piece.find(_MAGIC)
            while hit >= 0:
                start, rest = divmod(hit - _MAGIC_PLACE, _BLOCK)
                if not rest and start >= 0:
                    try:
                        return self._header_at(place + start * _BLOCK)
                    except ValueError:
                        pass  # the content of a file that looks like a header
                hit = piece.find(_MAGIC, hit + 1)
            place += len(piece)
        return None

    def _read(self, place: int, size_bytes: int) -> bytes:
        """Bytes of the tar, from the window that is held, or one that is read anew from `place`."""
        first = place - self._place
        if first < 0 or first + size_bytes > len(self._held):
            wanted = max(size_bytes, min(self._window, self._size_bytes - place))
            self._place, self._held, first = place, self._read_at(place, wanted), 0
        piece = self._held[first : first + size_bytes]
        if len(piece) < size_bytes:
            raise ValueError(f"ends at byte {place + len(piece)}")
        return piece


def _index_of(member: Member) -> int:
    """The sample's index, which its key is.

    Raises:
        ValueError: If the key is not a number.
    """
    if not (member.key.isascii() and member.key.isdigit()):
        raise ValueError(f"{member.name} belongs to no sample")
    return int(member.key)
