"""The style of every caption and rewrite: its template, the prompts for it, and checks of the replies."""
