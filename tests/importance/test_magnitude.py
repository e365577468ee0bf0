from __future__ import annotations

import numpy as np
import torch
from importance.nets import make_supernet
from torch.nn import functional

from dpod_search.importance.magnitude import score_magnitude


def score(supernet):
    return {s.layer: s for s in score_magnitude(supernet, (), functional.cross_entropy)}


def test_scores_are_the_norms_of_rows_and_biases():
    supernet = make_supernet("plain")
    conv = supernet.net.get_submodule("body.0.0")
    rows = torch.cat([conv.weight.flatten(1), conv.bias[:, None]], dim=1)
    expected = rows.norm(dim=1).detach().numpy()
    np.testing.assert_allclose(score(supernet)["body.0.0"].scores, expected, rtol=1e-5)


def test_a_transposed_convolution_has_its_outputs_on_the_second_axis():
    supernet = make_supernet("transposed")
    conv = supernet.net.get_submodule("body.0")
    squares = conv.weight.square().sum([0, 2, 3]) + conv.bias.square()
    np.testing.assert_allclose(
        score(supernet)["body.0"].scores, squares.sqrt().detach().numpy(), rtol=1e-5
    )


def test_units_of_several_channels_have_one_score():
    supernet = make_supernet("grouped")
    conv = supernet.net.get_submodule("body.1")
    squares = conv.weight.square().sum([1, 2, 3]) + conv.bias.square()
    (units,) = (s.scores for name, s in score(supernet).items() if name == "body.1")
    expected = squares.reshape(len(units), -1).sum(1).sqrt().detach().numpy()
    np.testing.assert_allclose(units, expected, rtol=1e-5)


def test_layers_in_blocks_say_so():
    supernet = make_supernet("block")
    (block,) = (i for i, group in enumerate(supernet.groups) if group.kind == "block")
    scores = score(supernet)
    assert scores["body.1.first"].blocks == scores["body.1.second"].blocks == (block,)
    assert scores["body.0.0"].blocks == ()
