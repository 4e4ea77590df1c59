"""An answer as terminal text or Markdown deployment document."""
