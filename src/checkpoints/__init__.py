"""Weights on disk: the places of a part's files, and readers that never run a file's code."""

from .places import AVERAGE as AVERAGE
from .places import DIFFUSERS as DIFFUSERS
from .places import NANO_ASSETS as NANO_ASSETS
from .places import PLACES as PLACES
from .places import TOKENIZER as TOKENIZER
from .places import Place as Place
from .places import file_sets as file_sets
from .places import find_checkpoint as find_checkpoint
from .places import find_named as find_named
from .places import layout as layout
from .places import search_checkpoint as search_checkpoint
from .places import search_named as search_named
