"""Find on a sample of a slide's tissue what holds for all of it (see :mod:`.fit`)."""

from __future__ import annotations

import numpy as np

from .activation import Scan
from .fit import ActivationFit, SlideFit
from .outputs import PromptSet, Stains
from .prototypes import Prototypes
from .reference import ReferenceMasks
from .session import Session
from .stages import Stage


def fit_of(session: Session, white: float) -> SlideFit:
    """Return what a session has found on its image, to be given to other sessions.

    Parameters
    ----------
    session
        Of a sample of the tissue; run as far as its prompts if it has not.
    white
        Mean optical density of the slide's glass (:func:`.tissue.white_level`), of which
        the sample may hold none.

    Raises
    ------
    StoppedError
        If the run is stopped.
    """
    prompts: PromptSet = session.finish(Stage.PROMPTS)
    stains: Stains = session.output(Stage.STAIN)
    reference: ReferenceMasks = session.output(Stage.REFERENCE)
    return SlideFit(
        white,
        stains.vectors,
        stains.top,
        stains.nuclear_diameter,
        reference.threshold,
        reference.limits,
        None if prompts.step is None else _activation_of(session, prompts.step),
    )


def _activation_of(session: Session, step: int) -> ActivationFit:
    scan: Scan = session.output(Stage.ACTIVATION)
    prototypes: Prototypes = session.output(Stage.PROTOTYPES)
    taken = scan.steps[step]
    return ActivationFit(
        Prototypes(prototypes.vectors.cpu(), prototypes.n_foreground),
        taken.rho,
        np.array(scan.potentials[step]),
        taken.threshold,
    )
