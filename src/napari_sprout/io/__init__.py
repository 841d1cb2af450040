"""Images in; label TIFFs, tables and pictures out."""
