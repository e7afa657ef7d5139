"""A JVM compiles what is hot: what counts is how it is then."""

from typing import Callable

# A round counts as better if it gives so much more.
BETTER = 1.05


def until_stable(one_round: Callable[[], float], most: int = 8) -> bool:
    """Rounds until two in a row are no better than the best so far, or `most` of them; whether it came to that."""
    best, since = one_round(), 0
    for _ in range(most - 1):
        now = one_round()
        since = 0 if now > best * BETTER else since + 1
        best = max(best, now)
        if since == 2:
            return True
    return False
