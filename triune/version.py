"""The version of Triune. It stands alone so that anything may write it down."""

__version__ = "0.1.0"
