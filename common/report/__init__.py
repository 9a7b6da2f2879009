"""The report: every result of results/ as one HTML page that needs no network. `python -m common.report`.

One file, with the overview and a page per paper inside it, because it is sent by mail, filtered over all
papers at once, and printed. CSS alone shows one page at a time (`:target`); where a browser cannot, and on
paper, all pages follow each other. Jinja2 escapes every value; a content security policy refuses whatever
script or address might get through all the same.

Read in this order: prose.py, pictures.py, intervals.py, page.py, site.py, templates/.
"""

from common.report.site import write

__all__ = ["write"]
