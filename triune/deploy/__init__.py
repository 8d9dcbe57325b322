"""One file from pixels to action, and the page that plays it."""
