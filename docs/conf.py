"""Sphinx's settings: `make docs` builds the site into `docs/_build/html`, every warning an error."""

import os
import sys
from pathlib import Path

# The reference imports the CUDA kernels; Numba's simulator needs no device.
os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from tabular_fedrl import __version__  # noqa: E402

project = "tabular_fedrl"
author = "The tabular_fedrl authors"
copyright = author
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "extensions.mathematics",
    "extensions.docstrings",
    "extensions.references",
    "extensions.readme",
    "extensions.lists",
    "extensions.pages",
]
exclude_patterns = ["_build", "extensions"]
highlight_language = "text"
nitpicky = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"tabular_fedrl {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
