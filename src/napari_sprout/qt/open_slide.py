"""One slide that is open in a viewer: read, looked over and exported away from the window."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from ..core.instances import Box
from ..core.loaded import SegmenterSource
from ..core.settings import Settings
from ..errors import StoppedError
from ..io.images import LoadedImage, read_image
from ..io.slides.protocol import Slide
from ..io.slides.region_export import Exported, export_regions
from ..io.slides.region_results import RegionState, state_of
from ..io.slides.regions import Region, RegionsFacts, SlideRegions
from ..io.slides.source import SlideSource
from ..io.whole_slide.plan import Overview, overview
from ..napari_.slide_progress import progress_map
from .workers import ThreadedSubmit, ThreadJob

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Opened:
    slide: Slide
    fingerprint: str
    known: SlideRegions | None


class OpenSlide:
    """A slide, its regions on disk, and a thread that reads both.

    Every signal is emitted in the window's thread.

    Parameters
    ----------
    path
        The slide's file or folder.
    places
        Where the folder of its regions may be, the place for a new one first.
    """

    changed = Signal()
    """What is known of the slide, or what is being done, is another."""
    progress = Signal(float, str)
    """The finished share of what is being done, 0 to 1, and what it is."""
    failed = Signal(str)

    def __init__(self, path: Path, places: Sequence[Path]) -> None:
        self.path = path
        self.states: dict[Box, RegionState] = {}
        self.overview: Overview | None = None
        self.problem = ""
        self._places = tuple(places)
        self._opened: _Opened | None = None
        self._mpp: float | None = None
        self._submit = ThreadedSubmit()
        # Of its own: to see a large slide as a whole takes a while, and nobody waits for that.
        self._looking = ThreadedSubmit()
        self._map: tuple[Overview, dict[Box, RegionState], NDArray[np.uint8]] | None = None
        self._job: ThreadJob | None = None
        self._what = ""

    # What is known

    @property
    def shape(self) -> tuple[int, int] | None:
        """(H, W) of the slide; None until it has been opened."""
        return None if self._opened is None else self._opened.slide.levels[0].shape

    @property
    def begun(self) -> bool:
        """Whether there are regions: then their pixel size is the slide's."""
        return self._opened is not None and self._opened.known is not None

    @property
    def mpp(self) -> float | None:
        """Pixel size in um; None as long as neither the slide nor a person says."""
        known = None if self._opened is None else self._opened.known
        return self._mpp if known is None else known.facts.mpp

    @property
    def regions(self) -> SlideRegions | None:
        """The folder of the regions; None until the slide and its pixel size are known."""
        opened = self._opened
        if opened is None or self.mpp is None:
            return None
        if opened.known is not None:
            return opened.known
        return SlideRegions.new(self._places[0], RegionsFacts.of(opened.slide, self.mpp))

    def progress_map(self) -> NDArray[np.uint8] | None:
        """Return what has become of each place of the slide; None until the tissue is known.

        As of :func:`~napari_sprout.napari_.slide_progress.progress_map`.
        """
        seen, states = self.overview, dict(self.states)
        if seen is None:
            return None
        if self._map is None or self._map[:2] != (seen, states):
            found = progress_map(seen.tissue, seen.downsample, states.items())
            self._map = (seen, states, found)
        return self._map[2]

    @property
    def busy(self) -> str:
        """What is being done that a person waits for; "" if nothing is."""
        return self._what if self._job is not None else ""

    # What can be done

    def open(self, mpp: float | None, settings: Settings) -> None:
        """Open the slide, find its regions, and look for tissue.

        Parameters
        ----------
        mpp
            Pixel size in um as known so far.
        settings
            How tissue is told from glass.
        """

        def work() -> tuple[_Opened, dict[Box, RegionState]]:
            slide = SlideSource(self.path).open()
            try:
                fingerprint = slide.fingerprint
                known = SlideRegions.known(self._places, fingerprint)
                return _Opened(slide, fingerprint, known), _states(known)
            except BaseException:
                slide.close()
                raise

        def done(found: tuple[_Opened, dict[Box, RegionState]]) -> None:
            self._opened, self.states = found
            self.changed.emit()
            self.look_over(settings)

        def broken(error: BaseException) -> None:
            self.problem = str(error)
            self._fail(error)

        self._mpp = mpp
        self._submit(work, on_progress=lambda _: None, on_done=done, on_error=broken)

    def set_mpp(self, mpp: float | None, settings: Settings) -> None:
        """Take on the pixel size that a person gives; one that regions have stays."""
        if mpp != self._mpp:
            self._mpp = mpp
            self.look_over(settings)

    def look_over(self, settings: Settings) -> None:
        """Find the tissue, once the pixel size is known."""
        opened, mpp = self._opened, self.mpp
        if opened is None or mpp is None:
            self.overview = None
            self.changed.emit()
            return

        def done(found: Overview) -> None:
            # Another pixel size may have been given meanwhile.
            if mpp == self.mpp:
                self.overview = found
                self.changed.emit()

        self._looking(
            lambda: overview(opened.slide, mpp, settings),
            on_progress=lambda _: None,
            on_done=done,
            on_error=self._fail,
        )

    def read(self, box: Box, on_done: Callable[[Region, NDArray[np.uint8]], None]) -> None:
        """Read a region and keep its pixels.

        Parameters
        ----------
        box
            Where, within the slide.
        on_done
            Given the region and its pixels.
        """
        opened, regions = self._opened, self.regions
        if opened is None or regions is None:
            return
        region = regions.region(box)

        def work() -> Generator[float, None, NDArray[np.uint8]]:
            return regions.add(opened.slide, box)

        def done(rgb: NDArray[np.uint8]) -> None:
            self._opened = replace(opened, known=regions)
            self.states[box] = RegionState.NEW
            on_done(region, rgb)

        self._wait_for("Reading the region", work, done)

    def load(self, region: Region, on_done: Callable[[Region, NDArray[np.uint8]], None]) -> None:
        """Read a region that is kept already."""

        def done(image: LoadedImage) -> None:
            on_done(region, image.rgb)

        self._wait_for("Opening the region", lambda: read_image(region.image), done)

    def export(
        self,
        folder: Path,
        formats: Sequence[str],
        device: str,
        segmenter: SegmenterSource | None,
        on_done: Callable[[Exported], None],
    ) -> None:
        """Add up all regions, and write them.

        Parameters
        ----------
        folder, formats, device, segmenter
            As of :func:`~napari_sprout.io.slides.region_export.export_regions`.
        on_done
            Given what was written.
        """
        regions = self.regions
        if regions is None:
            return
        jobs: list[ThreadJob] = []

        def told(fraction: float, what: str) -> None:
            self._submit.post(lambda value: self.progress.emit(*value), (fraction, what))
            if jobs and jobs[0].is_cancelled():
                raise StoppedError("The export was cancelled before it had finished.")

        def work() -> Exported:
            return export_regions(
                regions, folder, formats, told, device=device, segmenter=segmenter
            )

        jobs.append(self._wait_for("Exporting", work, on_done))

    def refresh(self, box: Box, state: RegionState) -> None:
        """Take note of how far a region has come."""
        if self.states.get(box) is not state:
            self.states[box] = state
            self.changed.emit()

    def cancel(self) -> None:
        """Stop what a person waits for within one unit; nothing half done stays."""
        if self._job is not None:
            self._job.cancel()

    def close(self) -> None:
        """Stop all, without waiting."""
        self.cancel()
        looking, opened = self._looking.ended, self._opened
        self._looking.retire()

        def last() -> None:
            looking.wait()
            if opened is not None:
                opened.slide.close()

        self._submit.retire(last)

    # How it is done

    def _wait_for(
        self, what: str, work: Callable[[], Any], on_done: Callable[[_T], None]
    ) -> ThreadJob:
        """Do something that a person waits for and can cancel."""

        def done(value: _T) -> None:
            self._job = None
            on_done(value)
            self.changed.emit()

        def broken(error: BaseException) -> None:
            self._job = None
            self._fail(error)

        self._what = what
        self._job = self._submit(
            work,
            on_progress=lambda share: self.progress.emit(share, what),
            on_done=done,
            on_error=broken,
        )
        self.changed.emit()
        return self._job

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, StoppedError):
            self.failed.emit(str(error))
        self.changed.emit()


def _states(regions: SlideRegions | None) -> dict[Box, RegionState]:
    if regions is None:
        return {}
    return {region.box: state_of(region) for region in regions.regions()}
