"""What a frozen representation knows: a linear classifier on time averages, speakers held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Inverse strength of the l2 penalty on standardised features. Chosen once, on MFCC, before any
# trained encoder was probed; a figure is comparable only at the same value.
INVERSE_PENALTY = 0.1


def leave_one_group_out(
    features: np.ndarray, labels: Sequence[int], groups: Sequence[str]
) -> dict[str, float]:
    """Accuracy on each group of a logistic regression trained on all the others.

    Parameters
    ----------
    features : np.ndarray
        `[items, dimensions]`.
    labels : sequence of int
        Class of each item.
    groups : sequence of str
        What must not be shared by training and test, such as the speaker.

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
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels, groups = np.asarray(labels), np.asarray(groups)
    if not len(features) == len(labels) == len(groups):
        raise ValueError(f"{len(features)} features, {len(labels)} labels, {len(groups)} groups")
    names = sorted(set(groups.tolist()))
    if len(names) < 2:
        raise ValueError(f"nothing to hold out: the only group is {names}")
    accuracy = {}
    for name in names:
        test = groups == name
        classifier = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
        probe = make_pipeline(StandardScaler(), classifier).fit(features[~test], labels[~test])
        accuracy[name] = float(probe.score(features[test], labels[test]))
    return accuracy
