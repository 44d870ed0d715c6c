"""A searchable index of one's own photographs: build it, search it by sentences and pictures, serve it as a page."""

from retrieval.gallery.gallery import Gallery
from retrieval.gallery.results import Hit, Results

__all__ = ["Gallery", "Hit", "Results"]
