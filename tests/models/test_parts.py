from __future__ import annotations

import torch

from napari_sprout.models.parts import own_copies


def test_tensors_of_a_network_are_not_those_of_the_file():
    # Those of a file are mapped: whoever writes the file anew would change them.
    given = {
        "weight": torch.ones(3),
        "half": torch.ones(3, dtype=torch.float16),
        "index": torch.arange(3),
    }
    made = own_copies(given)
    for tensor in given.values():
        tensor.zero_()
    assert {name: tensor.tolist() for name, tensor in made.items()} == {
        "weight": [1, 1, 1],
        "half": [1, 1, 1],
        "index": [0, 1, 2],
    }
    assert made["half"].dtype == torch.float32
    assert made["index"].dtype == torch.int64
