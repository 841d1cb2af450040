"""Between napari and the core: no Qt widgets here."""
