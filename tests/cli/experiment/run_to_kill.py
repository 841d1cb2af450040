"""Run an experiment slowly with the tests' own segmenter, so that it can be killed midway.

python run_to_kill.py FAKES ARGUMENT ...
"""

from __future__ import annotations

import runpy
import sys
import time

from napari_sprout.cli.main import app
from napari_sprout.io.experiment import workers
from napari_sprout.models import weights

fake = runpy.run_path(sys.argv[1])["FakeSegmenter"]()
fake.on_decode = lambda: time.sleep(0.5)
weights.load_segmenter = lambda *_: fake
workers.cores = lambda: 1
app(sys.argv[2:])
