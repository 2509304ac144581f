"""Coming back by itself: what a connection does, when asked, after it was lost. docs/recovery.txt is for users."""
