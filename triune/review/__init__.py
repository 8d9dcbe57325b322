"""`triune review`: a session (what lies before a reviewer), a server (how the page reaches it), the page itself."""
