"""The site: Sphinx, pages in MyST Markdown, the reference from docstrings."""

import sys
from pathlib import Path

import trilemma

sys.path.insert(0, str(Path(__file__).parent))

project = "trilemma"
author = "the trilemma developers"
copyright = "the trilemma developers"
release = version = trilemma.__version__

extensions = [
    "_docstrings",
    "_tables",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build", "generated/*"]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"trilemma {version}"
html_static_path: list[str] = []

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
