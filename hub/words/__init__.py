"""The words of the hub in all its languages: the lowest layer, so every face can share them.

Source strings are English and stand where they are used. Templates mark them with ``_()`` and
``ngettext()``; Python code, which cannot know its reader yet, marks them with ``N_()`` and whoever
speaks to the reader translates with a catalogue of ``hub.words.catalogues``.
"""


def N_(message: str) -> str:
    """Mark ``message`` for the catalogues and return it unchanged."""
    return message
