"""Sphinx configuration of the reading pages; `python -m book` builds them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

project = "Four metric-learning papers, read beside their code"
html_title = "Papers beside code"
author = ""
copyright = ""
extensions = ["myst_parser", "book.directives"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence", "dollarmath", "amsmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"
highlight_language = "python"
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_theme = "furo"
html_static_path = ["_static"]
html_favicon = "_static/icon.svg"
html_css_files = ["book.css"]
html_show_sourcelink = False
html_copy_source = False
html_use_index = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {"footer_icons": []}
