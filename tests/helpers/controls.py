"""The controls of a view."""

from ipywidgets import VBox


def parts(view):
    """Every widget of a view that is not a box, by its description; the picture has none."""
    found = {}
    for child in view.children:
        found |= parts(child) if isinstance(child, VBox) else {child.description: child}
    return found
