"""The dock: tabs, forms, and the worker thread that keeps the window awake."""
