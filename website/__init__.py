"""The course as web pages that need no kernel and no network: python -m website."""
