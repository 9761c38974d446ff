"""What a frozen representation knows: a linear classifier on time averages, speakers held out."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from wavcube.metrics.base import require

# Inverse strength of the l2 penalty on standardised features. Chosen once, on MFCC, before any
# trained encoder was probed; a figure is comparable only at the same value.
INVERSE_PENALTY = 0.1


def hold_out(groups: Sequence[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Hold out every group in turn.

    Parameters
    ----------
    groups : sequence of str
        What must not be shared by training and test, such as the speaker of each item.

    Yields
    ------
    name : str
        The group that is held out; they come sorted.
    train, test : np.ndarray
        Indices of the items to learn from and of those to test on.

    Raises
    ------
    ValueError
        If there are fewer than two groups.

    Examples
    --------
    >>> for name, train, test in hold_out(["a", "b", "a"]):
    ...     print(name, train, test)
    a [1] [0 2]
    b [0 2] [1]
    """
    of_item = np.asarray(groups)
    names = sorted(set(groups))
    if len(names) < 2:
        raise ValueError(f"nothing to hold out: the only group is {names}")
    for name in names:
        yield name, np.flatnonzero(of_item != name), np.flatnonzero(of_item == name)


def leave_one_group_out(
    features: np.ndarray, labels: Sequence[Hashable], groups: Sequence[str]
) -> dict[str, float]:
    """Accuracy on each group of a logistic regression trained on all the others.

    Parameters
    ----------
    features : np.ndarray
        `[items, dimensions]`.
    labels : sequence of int or str
        Class of each item.
    groups : sequence of str
        See :func:`hold_out`.

    Returns
    -------
    dict
        Group to accuracy in [0, 1], sorted by group. The figure to quote is their mean.

    Raises
    ------
    ValueError
        If there are fewer than two groups, or the numbers of items differ.

    Examples
    --------
    >>> features = np.array([[0.0], [1.0], [0.1], [0.9]])
    >>> leave_one_group_out(features, [0, 1, 0, 1], ["a", "a", "b", "b"])
    {'a': 1.0, 'b': 1.0}
    """
    require("sklearn", "scikit-learn", "recipes")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = np.asarray(labels)
    if not len(features) == len(classes) == len(groups):
        raise ValueError(f"{len(features)} features, {len(classes)} labels, {len(groups)} groups")
    accuracy = {}
    for name, train, test in hold_out(groups):
        classifier = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
        probe = make_pipeline(StandardScaler(), classifier).fit(features[train], classes[train])
        accuracy[name] = float(probe.score(features[test], classes[test]))
    return accuracy
