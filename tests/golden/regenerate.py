"""Write the goldens anew: `python tests/golden/regenerate.py`. Look at the difference afterwards."""

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    sys.path.insert(0, str(HERE.parent))
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        from golden.goldens import make_goldens

        texts = make_goldens()
    kept = {HERE / name for name in texts}
    for path in (HERE / "help").glob("*.txt"):
        if path not in kept:
            path.unlink()
            print(f"removed {path.relative_to(HERE)}")
    for name, text in texts.items():
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    main()
