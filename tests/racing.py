"""Do several things at the same moment."""

import threading


def race(actions):
    """Run `actions` at the same moment; their results in order."""
    barrier = threading.Barrier(len(actions))
    results = [None] * len(actions)

    def run(position):
        barrier.wait()
        results[position] = actions[position]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
