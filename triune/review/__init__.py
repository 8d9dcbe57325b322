"""The review page of `triune review`: a desk (what is on it), a server (how the page reaches it), the page itself."""
