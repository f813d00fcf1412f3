"""Kill drivers, workers, nodes and stores until 200 died: `python -m tests.long.chaos`; about an hour.

It is `python -m tests.fault.chaos`, which tells its options; the suite has its short form.
"""

import sys

from tests.fault.chaos import main

if __name__ == "__main__":
    sys.exit(main())
