"""The page of edits over a sample of the toy generator, for all tests of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from small_job import small_document

import factory
from factory.care.edit import EditSettings, open_sample
from factory.care.editing.server import make_app
from factory.care.editing.session import EditSession
from factory.fit.pixels.pool import one_thread
from factory.store import open_store
from factory.web.server import bind, make_server

TOKEN = "a-secret-of-this-run"
KEY = "000000007"
QUICK = EditSettings(steps=20, learning_rate=0.1)


def toy_dataset(folder: Path) -> Path:
    """The small job with a linear head that finds the toy's parts; where it lies."""
    job = small_document(folder, {"dataset.segmenter": {"kind": "toy_head:make_toy_head"}})
    factory.run_job(job, progress=False)
    return folder / "out"


def toy_session(dataset: Path, folder: Path, settings: EditSettings = QUICK) -> EditSession:
    """A session over its sample `KEY`, which saves in `folder`."""
    with one_thread():
        sample = open_sample(open_store(str(dataset)), KEY, trust_plugins=True)
    return EditSession(sample, settings, folder)


@contextmanager
def serving(session: EditSession) -> Iterator[str]:
    """The real server over `session`, on a thread; its page's address."""
    with bind("127.0.0.1", 0) as listener:
        server = make_server(make_app(session, token=TOKEN))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/?token={TOKEN}"
        finally:
            session.stop()
            server.should_exit = True
            thread.join()
