"""Labels from what each byte of a console's memory draws."""
