from __future__ import annotations

import copy

import pytest
import torch
from training.fakes import make_net
from training.fakes import make_pictures
from training.fakes import make_supernet

from dpod_search.errors import ConfigError
from dpod_search.tasks import Classification
from dpod_search.training import TrainingSettings
from dpod_search.training.precision import compute_outputs


def test_float32_is_the_net_as_it_is():
    net, images = make_net(), make_pictures()[0]
    assert torch.equal(compute_outputs(copy.deepcopy(net), images, Classification()), net(images))


@pytest.mark.parametrize("width", ["full", "smallest"])
def test_bfloat16_is_used_inside_and_all_that_is_kept_is_float32(width):
    supernet, images = make_supernet().train(), make_pictures()[0]
    seen = []
    supernet.net.conv1.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    with supernet.active(getattr(supernet.space, width)):
        wanted = compute_outputs(copy.deepcopy(supernet), images, Classification())
        scores = compute_outputs(supernet, images, Classification(), "bfloat16")
    scores.square().sum().backward()
    assert seen[-1] == torch.bfloat16
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, wanted)
    torch.testing.assert_close(scores, wanted, rtol=0.05, atol=0.05)
    assert {p.grad.dtype for p in supernet.parameters()} == {torch.float32}
    assert {b.dtype for b in supernet.buffers()} <= {torch.float32, torch.int64}


def test_other_precisions_are_refused():
    TrainingSettings(precision="bfloat16")
    with pytest.raises(ConfigError, match="training.precision must be one of .*'float16'"):
        TrainingSettings(precision="float16")
