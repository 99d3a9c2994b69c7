"""Images that look alike and are not copies, of many kinds, with true copies among them.

Rendered and composed here from nothing but a seed and some photographs; every kind shares something a matcher loves (a
template, a scene, an object) and differs in content.
"""

from lookalikes.build import Sheet, build, kinds
from lookalikes.edits import EDITS, edit, thumbnail

__all__ = ["EDITS", "Sheet", "build", "edit", "kinds", "thumbnail"]
